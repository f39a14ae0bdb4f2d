"""Synthetic data sets on disk: what a first run needs when there is no data yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from common.phantoms.brain_phantom import brain_phantom
from common.phantoms.ct_phantom import WINDOW, chest_ct_phantom
from common.phantoms.rock_phantom import rock_phantom
from common.phantoms.set_folder import SetFile, check_counts, check_integers, make_set
from common.phantoms.texture_phantom import TEXTURES, texture_phantom
from numpy.typing import NDArray
from PIL import Image

# the names stay: sets on disk are known by them
GENERATOR = "common.data.brain_phantom, version 1"
CHEST_GENERATOR = "common.data.ct_phantom, version 1"
ROCK_GENERATOR = "common.data.rock_phantom, version 1"
TEXTURE_GENERATOR = "common.data.texture_phantom, version 1"

ROCK_GRAIN_SIZES = {2: (10.0, 28.0), 3: (9.0, 20.0)}
"""Mean diameter of the grains in voxels, of sections and of volumes: from, to."""
ROCK_POROSITIES = (0.17, 0.30)

Draw = Callable[[int], NDArray[np.unsignedinteger[Any]]]
"""Draws the image of a seed, as it is stored."""


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
    counts = check_counts(n_train, n_valid, n_test)
    check_integers({"size": size}, 32)
    description: dict[str, Any] = {
        "name": "brain_mri",
        "synthetic": True,
        "description": "Random synthetic head phantoms, drawn by a program. No measured data; not for diagnosis.",
        "generator": GENERATOR,
        "images": counts,
        "size": size,
    }
    return _make_images(directory, description, seed, partial(_draw_head, size), "synthetic heads", workers)


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
    counts = check_counts(n_train, n_valid, n_test)
    check_integers({"size": size}, 32)
    description: dict[str, Any] = {
        "name": "chest_ct",
        "synthetic": True,
        "description": "Random synthetic chest CT phantoms, drawn by a program. No measured data; not for diagnosis.",
        "generator": CHEST_GENERATOR,
        "hounsfield_of_lowest_and_highest_value": list(WINDOW),
        "images": counts,
        "size": size,
    }
    return _make_images(directory, description, seed, partial(_draw_chest, size), "synthetic chests", workers)


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
    counts = check_counts(n_train, n_valid, n_test)
    check_integers({"size": size}, 32)
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
    return _make_images(
        directory, description, seed, partial(_draw_rock, size, dims), "synthetic rock", workers, suffix
    )


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

    The classes are those of `common.phantoms.texture_phantom`. Arguments, result and errors are those of
    `make_brain_set`, but that `n_train`, `n_valid` and `n_test` count the images of each class.
    """
    counts = check_counts(n_train, n_valid, n_test)
    check_integers({"size": size}, 32)
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
    return _make_images(directory, description, seed, draw, "synthetic textures", workers)


def _make_images(
    directory: str | Path,
    description: dict[str, Any],
    seed: int,
    draw: Draw | Mapping[str, Draw],
    what: str,
    workers: int,
    suffix: str = ".png",
) -> bool:
    """`make_set` of images: `draw` gives that of a seed, or there is one for each folder in a split."""
    draws = draw if isinstance(draw, Mapping) else {"": draw}
    write = partial(_write_image, draws)
    return make_set(directory, description, seed, write, what=what, workers=workers, suffix=suffix, folders=list(draws))


def _write_image(draws: Mapping[str, Draw], path: Path, file: SetFile, seed: int) -> None:
    values = draws[file.folder](seed)
    if file.suffix == ".png":
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
