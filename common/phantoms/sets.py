"""Synthetic data sets by name: data for a first run without measured data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from common.operators.masks.kt import KtMasks
from common.phantoms.brain_phantom import brain_phantom
from common.phantoms.ct_phantom import WINDOW, chest_ct_phantom
from common.phantoms.heart_set import write_heart
from common.phantoms.knee_set import write_knee
from common.phantoms.rock_phantom import rock_phantom
from common.phantoms.scanned_rock import cut_rock, scanned_rock
from common.phantoms.set_folder import SPLITS, SetFile, write_set
from common.phantoms.texture_phantom import TEXTURES, texture_phantom
from numpy.typing import NDArray
from PIL import Image

ROCK_GRAIN_SIZES = {2: (10.0, 28.0), 3: (9.0, 20.0)}
"""Mean diameter of the grains in voxels, of sections and of volumes: from, to."""
ROCK_POROSITIES = (0.17, 0.30)


@dataclass(frozen=True)
class SyntheticSet:
    """A kind of synthetic data set.

    Args:
        content: contents of the files in words, for ``dataset.json`` and messages.
        version: module of the phantom and its version, for ``dataset.json``.
        write: function that writes one file; called with the path, the file, its seed, and the options.
        counts: numbers of files to train on, to choose a checkpoint by, and to report on.
        options: options of `write` with their defaults.
        least: smallest value of each option.
        tiny: options of a set that is made in a second or two.
        unit: name of the thing that one file holds, such as "volume".
        suffix: suffix of the files.
        folders: folders within each split.
        facts: further entries of ``dataset.json``.
    """

    content: str
    version: str
    write: Callable[..., None]
    counts: tuple[int, int, int]
    options: Mapping[str, int | str]
    least: Mapping[str, int]
    tiny: Mapping[str, int]
    unit: str = "image"
    suffix: str = ".png"
    folders: Sequence[str] = ("",)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, int | str]:
        """All options with their defaults, without ``seed`` and ``workers``."""
        return {**{f"n_{split}": n for split, n in zip(SPLITS, self.counts, strict=True)}, **self.options}


def make_set(name: str, directory: str | Path, *, seed: int = 0, workers: int = 0, **options: int | str) -> bool:
    """Write a synthetic data set into ``directory``/train, /valid and /test.

    No file has the content of another. The same arguments give the same bytes. The folder appears whole or not at all,
    with a ``dataset.json`` that says that it is synthetic, and how it was made; a set that is there already is kept.

    Args:
        name: key of :data:`SETS`.
        directory: a folder that does not exist yet, is empty, or holds just this set.
        seed: seed of the set; another one gives other content.
        workers: processes that draw; 0 draws in this one.
        options: ``n_train``, ``n_valid`` and ``n_test``, the numbers of files, and the options of the set.

    Returns:
        True if the set was made, False if it was there already.

    Raises:
        ValueError: for an unknown name or option, or a number out of range.
        FileExistsError: ``directory`` holds something else; nothing is changed.
    """
    if name not in SETS:
        raise ValueError(f"{name!r}: no such synthetic set, expected one of {', '.join(SETS)}; correct the name")
    kind = SETS[name]
    if unknown := [key for key in options if key not in kind.defaults]:
        raise ValueError(f"{name}: unknown option {unknown[0]!r}, expected one of {', '.join(kind.defaults)}")
    values: dict[str, Any] = {**kind.defaults, **options}
    for key, value in {**values, "seed": seed, "workers": workers}.items():
        least = kind.least.get(key, 0)
        if isinstance(kind.options.get(key), str):
            values[key] = str(value)
        elif not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}: {key} must be an integer of {least} or more, got {value!r}")
    counts = {split: values.pop(f"n_{split}") for split in SPLITS}
    if not sum(counts.values()):
        raise ValueError(f"{name}: expected at least one {kind.unit}, got n_train, n_valid and n_test of 0")
    description = {
        "name": name,
        "synthetic": True,
        "description": f"Random {kind.content}, drawn by a program. No measured data; not for diagnosis.",
        "generator": kind.version,
        f"{kind.unit}s": counts,
        **kind.facts,
        **{key: value for key, value in values.items() if value != ""},
        "seed": seed,
    }
    if values.get("pores"):
        # by its content: another file of the same name gives another set
        description["pores"] = f"{Path(values['pores']).name}, SHA-256 {_digest(values['pores'])}"
        description["description"] = "Grey values of micro-CT, drawn by a program on the pores of a measured volume."
    files = [
        SetFile(split, folder, index, kind.suffix)
        for split, n in counts.items()
        for folder in kind.folders
        for index in range(n)
    ]
    return write_set(Path(directory), description, files, partial(kind.write, **values), kind.unit, workers)


def make_tiny_set(name: str, directory: str | Path) -> None:
    """Make a very small synthetic set: train/, valid/ and test/ with a few files, in a second or two.

    Args:
        name: key of :data:`SETS`.
        directory: new or empty folder for the set, see :func:`make_set`.
    """
    make_set(name, directory, n_train=4, n_valid=2, n_test=2, **(SETS[name].tiny if name in SETS else {}))


def _digest(path: str) -> str:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; give the segmented volume, .npz with solid_bits and shape")
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_image(draw: Callable[..., NDArray[Any]], path: Path, file: SetFile, seed: int, **options: int) -> None:
    values = draw(file, seed, **options)
    if file.suffix == ".png":
        Image.fromarray(values).save(path)
    else:  # volumes; a page is a slice
        tifffile.imwrite(path, values, photometric="minisblack", metadata=None, software=False)


def _draw_head(file: SetFile, seed: int, size: int) -> NDArray[np.uint8]:
    return np.rint(brain_phantom(seed, size, phase=False).real * 255).astype(np.uint8)


def _draw_chest(file: SetFile, seed: int, size: int) -> NDArray[np.uint16]:
    return np.rint(chest_ct_phantom(seed, size) * 65535).astype(np.uint16)


def _draw_rock(dims: int, file: SetFile, seed: int, size: int, pores: str) -> NDArray[np.uint8]:
    """Draw a pack, or a scan of measured pores; brightness, sharpness and noise differ, and the packs."""
    rng = np.random.default_rng((seed, dims))
    if pores:
        scan = {"blur": rng.uniform(0.35, 0.7), "noise": rng.uniform(0.008, 0.03)}
        return np.rint(scanned_rock(cut_rock(pores, file.split, seed, size, dims), seed, **scan) * 255).astype(np.uint8)
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


def _draw_texture(file: SetFile, seed: int, size: int) -> NDArray[np.uint8]:
    return np.rint(texture_phantom(seed, file.folder, size) * 255).astype(np.uint8)


_ROCK = SyntheticSet(
    content="synthetic sandstone as in micro-CT",
    version="common.phantoms.rock_phantom, version 1",
    write=partial(_write_image, partial(_draw_rock, 2)),
    counts=(200, 20, 20),
    options={"size": 256, "pores": ""},
    least={"size": 32},
    tiny={"size": 64},
)

SETS = {
    "brain_mri": SyntheticSet(
        content="synthetic head phantoms",
        version="common.phantoms.brain_phantom, version 1",
        write=partial(_write_image, _draw_head),
        counts=(200, 20, 20),
        options={"size": 256},
        least={"size": 32},
        tiny={"size": 64},
    ),
    "cardiac_cine": SyntheticSet(
        content="synthetic beating hearts",
        version="common.phantoms.heart_set, version 1",
        write=write_heart,
        counts=(24, 4, 10),
        options={"n_slices": 3, "size": 96, "n_frames": 16, "trajectory": ""},
        least={"n_slices": 1, "size": 32, "n_frames": 2},
        tiny={"n_slices": 2, "size": 64, "n_frames": 6},
        unit="heart",
        suffix=".h5",
        facts={"aliased_by": repr(KtMasks())},
    ),
    "chest_ct": SyntheticSet(
        content="synthetic chest CT phantoms",
        version="common.phantoms.ct_phantom, version 1",
        write=partial(_write_image, _draw_chest),
        counts=(200, 20, 20),
        options={"size": 512},
        least={"size": 32},
        tiny={"size": 64},
        facts={"hounsfield_of_lowest_and_highest_value": list(WINDOW)},
    ),
    "knee_mri": SyntheticSet(
        content="synthetic knee phantoms",
        version="common.phantoms.knee_set, version 1",
        write=write_knee,
        counts=(32, 4, 4),
        options={"n_slices": 5, "size": 256, "n_coils": 1},
        least={"n_slices": 1, "size": 32, "n_coils": 1},
        tiny={"n_slices": 2, "size": 64},
        unit="volume",
        suffix=".h5",
    ),
    "rock": _ROCK,
    "rock_3d": SyntheticSet(
        content=_ROCK.content,
        version=_ROCK.version,
        write=partial(_write_image, partial(_draw_rock, 3)),
        counts=(40, 4, 4),
        options={"size": 96, "pores": ""},
        least={"size": 32},
        tiny={"size": 48},
        unit="volume",
        suffix=".tif",
    ),
    "textures": SyntheticSet(
        content="synthetic textures in folders by class",
        version="common.phantoms.texture_phantom, version 1",
        write=partial(_write_image, _draw_texture),
        counts=(200, 20, 0),
        options={"size": 128},
        least={"size": 32},
        tiny={"size": 64},
        folders=tuple(TEXTURES),
        facts={"classes": list(TEXTURES)},
    ),
}
"""The synthetic sets.

Heads and textures are 8-bit PNG, chests 16-bit PNG (0 is -1000 HU, 65535 is 1000 HU, the width is
400 mm), rock 8-bit PNG sections or TIFF volumes, knees k-space in fastMRI's HDF5 layout, hearts HDF5 series."""
