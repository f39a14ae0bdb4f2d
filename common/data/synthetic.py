"""Synthetic data sets on disk: what a first run needs when there is no data yet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from common.data.brain_phantom import brain_phantom
from common.data.ct_phantom import WINDOW, chest_ct_phantom
from common.data.rock_phantom import rock_phantom
from common.data.texture_phantom import TEXTURES, texture_phantom

DESCRIPTION_FILE = "dataset.json"
GENERATOR = "common.data.brain_phantom, version 1"
CHEST_GENERATOR = "common.data.ct_phantom, version 1"
ROCK_GENERATOR = "common.data.rock_phantom, version 1"
TEXTURE_GENERATOR = "common.data.texture_phantom, version 1"

SPLITS = ("train", "valid", "test")
ROCK_GRAIN_SIZES = {2: (10.0, 28.0), 3: (9.0, 20.0)}
"""Mean diameter of the grains in voxels, of sections and of volumes: from, to."""
ROCK_POROSITIES = (0.17, 0.30)

Draw = Callable[[int], NDArray[np.unsignedinteger[Any]]]
"""Draws the image of a seed, as it is stored."""

Job = tuple[str, str, int]
"""Split, folder in it ("" is the split's own) and number of an image."""


def make_brain_set(
    directory: str | Path,
    *,
    n_train: int = 200,
    n_valid: int = 20,
    n_test: int = 20,
    size: int = 256,
    seed: int = 0,
    workers: int = 0,
) -> bool:
    """Write random synthetic heads as 8-bit PNG magnitude images into `directory`/train, /valid and /test.

    No head is in two of the folders. The same arguments give the same bytes. The folder appears whole or not at all,
    with a `dataset.json` that says that it is synthetic, and how it was made; a set that is there already is kept.

    Args:
        directory: a folder that does not exist yet, is empty, or holds just this set.
        n_train: number of images to train on.
        n_valid: number of images to choose a checkpoint by.
        n_test: number of images to report on.
        size: height and width in pixels, 32 or more.
        seed: another seed, other heads.
        workers: processes that draw; 0 draws in this one.

    Returns:
        Whether the set was made (True) or was there already (False).

    Raises:
        ValueError: for a number out of range.
        FileExistsError: `directory` holds something else; nothing is changed.
    """
    counts = _checked_counts(n_train, n_valid, n_test)
    _check_integers({"size": size}, 32)
    description: dict[str, Any] = {
        "name": "brain_mri",
        "synthetic": True,
        "description": "Random synthetic head phantoms, drawn by a program. No measured data; not for diagnosis.",
        "generator": GENERATOR,
        "images": counts,
        "size": size,
    }
    return _make_set(directory, description, seed, partial(_draw_head, size), "synthetic heads", workers)


def make_chest_ct_set(
    directory: str | Path,
    *,
    n_train: int = 200,
    n_valid: int = 20,
    n_test: int = 20,
    size: int = 512,
    seed: int = 0,
    workers: int = 0,
) -> bool:
    """Write random synthetic CT slices of chests as 16-bit PNG images.

    The stored value v of 0 to 65535 is ``2000 v / 65535 - 1000`` Hounsfield units; `size` is 400 mm. Arguments, result
    and errors are those of `make_brain_set`.
    """
    counts = _checked_counts(n_train, n_valid, n_test)
    _check_integers({"size": size}, 32)
    description: dict[str, Any] = {
        "name": "chest_ct",
        "synthetic": True,
        "description": "Random synthetic chest CT phantoms, drawn by a program. No measured data; not for diagnosis.",
        "generator": CHEST_GENERATOR,
        "hounsfield_of_lowest_and_highest_value": list(WINDOW),
        "images": counts,
        "size": size,
    }
    return _make_set(directory, description, seed, partial(_draw_chest, size), "synthetic chests", workers)


def make_rock_set(
    directory: str | Path,
    *,
    dims: int = 2,
    n_train: int = 200,
    n_valid: int = 20,
    n_test: int = 20,
    size: int = 256,
    seed: int = 0,
    workers: int = 0,
) -> bool:
    """Write random synthetic sandstone: 8-bit PNG sections, or volumes as 8-bit TIFF stacks (a page is a slice).

    Packs differ in grain size, porosity, brightness, sharpness and noise. Arguments, result and errors are those of
    `make_brain_set`; `dims` is 2 for sections, 3 for volumes, and `size` counts pixels or voxels per side.
    """
    if isinstance(dims, bool) or not isinstance(dims, int) or dims not in ROCK_GRAIN_SIZES:
        raise ValueError(f"dims must be 2 (sections) or 3 (volumes), got {dims!r}")
    counts = _checked_counts(n_train, n_valid, n_test)
    _check_integers({"size": size}, 32)
    description: dict[str, Any] = {
        "name": "rock",
        "synthetic": True,
        "description": "Random synthetic sandstone as in micro-CT, drawn by a program. No measured data.",
        "generator": ROCK_GENERATOR,
        "dims": dims,
        "images": counts,
        "size": size,
    }
    suffix = ".png" if dims == 2 else ".tif"
    return _make_set(directory, description, seed, partial(_draw_rock, size, dims), "synthetic rock", workers, suffix)


def make_texture_set(
    directory: str | Path,
    *,
    n_train: int = 200,
    n_valid: int = 20,
    n_test: int = 0,
    size: int = 128,
    seed: int = 0,
    workers: int = 0,
) -> bool:
    """Write random textures as 8-bit PNG images, those of a class in a folder: ``directory/train/cells/00001.png``.

    The classes are those of `common.data.texture_phantom`. Arguments, result and errors are those of
    `make_brain_set`, but that `n_train`, `n_valid` and `n_test` count the images of each class.
    """
    counts = _checked_counts(n_train, n_valid, n_test)
    _check_integers({"size": size}, 32)
    description: dict[str, Any] = {
        "name": "textures",
        "synthetic": True,
        "description": "Random textures in folders by class, drawn by a program. No measured data.",
        "generator": TEXTURE_GENERATOR,
        "classes": list(TEXTURES),
        "images": counts,
        "size": size,
    }
    draw = {texture: partial(_draw_texture, size, texture) for texture in TEXTURES}
    return _make_set(directory, description, seed, draw, "synthetic textures", workers)


def _checked_counts(n_train: int, n_valid: int, n_test: int) -> dict[str, int]:
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    _check_integers({f"n_{split}": count for split, count in counts.items()}, 0)
    if not sum(counts.values()):
        raise ValueError("a data set needs at least one image, got n_train, n_valid and n_test of 0")
    return counts


def _make_set(
    directory: str | Path,
    description: dict[str, Any],
    seed: int,
    draw: Draw | Mapping[str, Draw],
    what: str,
    workers: int,
    suffix: str = ".png",
) -> bool:
    """Write the set that `description` tells of, whole or not at all; False if it is there already.

    Args:
        directory: where.
        description: content of `dataset.json`, whose "images" are the numbers by split; `seed` is added.
        seed: of the set; each image has its own, drawn from this, its split and its number.
        draw: function of an image's seed, or one for each folder of images in a split; picklable for `workers`.
        what: the set's content, for the progress bar.
        workers: processes that draw.
        suffix: of the files: ".png" or ".tif".
    """
    _check_integers({"seed": seed, "workers": workers}, 0)
    description = {**description, "seed": seed}
    counts = description["images"]
    directory = Path(directory)
    draws = draw if isinstance(draw, Mapping) else {"": draw}
    jobs = [(split, folder, index) for split, n in counts.items() for folder in draws for index in range(n)]
    if _holds_set(directory, description, [_file_name(*job, suffix) for job in jobs]):
        return False
    temporary = directory.absolute().parent / f".{directory.name}.{uuid4().hex}"
    try:
        for split, folder in product(counts, draws):
            (temporary / split / folder).mkdir(parents=True)
        write = partial(_write_image, temporary, suffix, seed, draws)
        # disable=None: a bar on a terminal, silence elsewhere
        for _ in tqdm(_run(write, jobs, workers), total=len(jobs), desc=what, unit="image", disable=None):
            pass
        (temporary / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _check_integers(values: dict[str, Any], least: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}")


def _holds_set(directory: Path, description: dict[str, Any], files: list[str]) -> bool:
    """Whether the set is there in full; False if the folder is free.

    Raises:
        FileExistsError: something else is there.
    """
    if not directory.exists():
        return False
    if not directory.is_dir():
        raise FileExistsError(f"{directory} is a file; name a folder that does not exist yet")
    if not any(directory.iterdir()):
        return False
    way_out = "name another folder, or remove this one"
    try:
        found = json.loads((directory / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileExistsError(f"{directory} holds files that are no synthetic data set; {way_out}") from None
    except ValueError:  # not JSON, or not text
        raise FileExistsError(f"{directory / DESCRIPTION_FILE} does not describe a data set; {way_out}") from None
    if not isinstance(found, dict) or found != description:
        other = found if isinstance(found, dict) else {}
        differences = [
            f"{key} {other.get(key)!r} instead of {value!r}"
            for key, value in description.items()
            if other.get(key) != value
        ]
        listed = ", ".join(differences) or "more entries than expected"
        raise FileExistsError(f"{directory} holds another data set ({listed}); {way_out}")
    missing = sorted(name for name in files if not (directory / name).is_file())
    if missing:
        raise FileExistsError(f"{directory} lacks {len(missing)} of its images, first {missing[0]}; {way_out}")
    return True


def _file_name(split: str, folder: str, index: int, suffix: str) -> str:
    return "/".join(part for part in (split, folder, f"{index + 1:05d}{suffix}") if part)


def _run(write: partial[None], jobs: list[Job], workers: int) -> Iterator[None]:
    if workers == 0:
        yield from map(write, jobs)
        return
    # spawn: a forked copy of a process that runs PyTorch's threads may hang
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(write, jobs, chunksize=8)


def _write_image(directory: Path, suffix: str, seed: int, draws: Mapping[str, Draw], job: Job) -> None:
    split, folder, index = job
    stream = np.random.SeedSequence((seed, SPLITS.index(split), index))
    values = draws[folder](int(stream.generate_state(1, np.uint64)[0]))
    path = directory / _file_name(*job, suffix)
    if suffix == ".png":
        Image.fromarray(values).save(path)
    else:
        tifffile.imwrite(path, values, photometric="minisblack", metadata=None, software=False)


def _draw_head(size: int, seed: int) -> NDArray[np.uint8]:
    return np.rint(brain_phantom(seed, size, phase=False).real * 255).astype(np.uint8)


def _draw_chest(size: int, seed: int) -> NDArray[np.uint16]:
    return np.rint(chest_ct_phantom(seed, size) * 65535).astype(np.uint16)


def _draw_rock(size: int, dims: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng((seed, dims))
    fine, coarse = ROCK_GRAIN_SIZES[dims]
    pack = rock_phantom(
        seed,
        size,
        dims=dims,
        porosity=rng.uniform(*ROCK_POROSITIES),
        grain_size=fine * (coarse / fine) ** rng.uniform(),
        blur=rng.uniform(0.35, 0.7),
        noise=rng.uniform(0.008, 0.03),
    )
    return np.rint(pack * 255).astype(np.uint8)


def _draw_texture(size: int, texture: str, seed: int) -> NDArray[np.uint8]:
    return np.rint(texture_phantom(seed, texture, size) * 255).astype(np.uint8)
