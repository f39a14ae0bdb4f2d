"""`python -m tools data`: data sets to begin with, and what readers see of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from common.phantoms.knee_set import make_knee_set
from common.phantoms.synthetic import make_brain_set, make_chest_ct_set, make_rock_set, make_texture_set
from common.phantoms.texture_phantom import TEXTURES
from tools.cine_set import make_cine_set
from tools.command import command
from tools.data_check import check

ROCK_SECTIONS = {"n_train": 200, "n_valid": 20, "n_test": 20, "size": 256}
ROCK_VOLUMES = {"n_train": 40, "n_valid": 4, "n_test": 4, "size": 96}


@command
def make_brain_mri(
    directory: str,
    n_train: int = 200,
    n_valid: int = 20,
    n_test: int = 20,
    size: int = 256,
    seed: int = 0,
    workers: int = 0,
) -> str:
    """Write synthetic heads (random phantoms, no measured data) as PNG images into DIRECTORY/train, /valid, /test.

    A set that is there already is kept; a folder that holds anything else is refused.

    Args:
        directory: folder to make.
        n_train: number of images to train on.
        n_valid: number of images to choose a checkpoint by.
        n_test: number of images to report on.
        size: height and width in pixels, 32 or more.
        seed: another seed, other heads.
        workers: processes that draw; 0 draws in this one.
    """
    counts = {"n_train": n_train, "n_valid": n_valid, "n_test": n_test}
    made = make_brain_set(str(directory), **counts, size=size, seed=seed, workers=workers)
    return _told(directory, made, sum(counts.values()), "images")


@command
def make_chest_ct(
    directory: str,
    n_train: int = 200,
    n_valid: int = 20,
    n_test: int = 20,
    size: int = 512,
    seed: int = 0,
    workers: int = 0,
) -> str:
    """Write synthetic CT slices of chests (random phantoms, no measured data) as 16-bit PNG images.

    They go to DIRECTORY/train, /valid and /test; 0 is -1000, 65535 is 1000 Hounsfield units. A set that is there
    already is kept; a folder that holds anything else is refused.

    Args:
        directory: folder to make.
        n_train: number of images to train on.
        n_valid: number of images to choose a checkpoint by.
        n_test: number of images to report on.
        size: height and width in pixels, 32 or more.
        seed: another seed, other chests.
        workers: processes that draw; 0 draws in this one.
    """
    counts = {"n_train": n_train, "n_valid": n_valid, "n_test": n_test}
    made = make_chest_ct_set(str(directory), **counts, size=size, seed=seed, workers=workers)
    return _told(directory, made, sum(counts.values()), "images")


@command
def make_rock(
    directory: str,
    dims: int = 2,
    n_train: int | None = None,
    n_valid: int | None = None,
    n_test: int | None = None,
    size: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> str:
    """Write synthetic sandstone as in micro-CT (random grain packs, no measured data).

    It goes to DIRECTORY/train, /valid and /test: sections as 8-bit PNG images, volumes as 8-bit TIFF stacks. A set
    that is there already is kept; a folder that holds anything else is refused.

    Args:
        directory: folder to make.
        dims: 2 for sections, 3 for volumes.
        n_train: number of them to train on; 200 sections or 40 volumes if not given.
        n_valid: number of them to choose a checkpoint by; 20 sections or 4 volumes if not given.
        n_test: number of them to report on; 20 sections or 4 volumes if not given.
        size: pixels or voxels per side, 32 or more; 256 for sections, 96 for volumes if not given.
        seed: another seed, other rock.
        workers: processes that draw; 0 draws in this one.
    """
    usual = ROCK_VOLUMES if dims == 3 else ROCK_SECTIONS
    given = {"n_train": n_train, "n_valid": n_valid, "n_test": n_test, "size": size}
    numbers = {name: usual[name] if value is None else value for name, value in given.items()}
    made = make_rock_set(str(directory), dims=dims, **numbers, seed=seed, workers=workers)
    total = sum(count for name, count in numbers.items() if name != "size")
    return _told(directory, made, total, "volumes" if dims == 3 else "images")


@command
def make_textures(
    directory: str,
    n_train: int = 200,
    n_valid: int = 20,
    n_test: int = 0,
    size: int = 128,
    seed: int = 0,
    workers: int = 0,
) -> str:
    """Write synthetic textures of sixteen classes (no measured data) as 8-bit PNG images, a folder for each class.

    They go to DIRECTORY/train, /valid and /test, for example DIRECTORY/train/cells/00001.png. A set that is there
    already is kept; a folder that holds anything else is refused.

    Args:
        directory: folder to make.
        n_train: number of images of each class to train on.
        n_valid: number of images of each class to choose a checkpoint by.
        n_test: number of images of each class to report on.
        size: height and width in pixels, 32 or more.
        seed: another seed, other textures.
        workers: processes that draw; 0 draws in this one.
    """
    counts = {"n_train": n_train, "n_valid": n_valid, "n_test": n_test}
    made = make_texture_set(str(directory), **counts, size=size, seed=seed, workers=workers)
    return _told(directory, made, len(TEXTURES) * sum(counts.values()), "images")


@command
def make_knee_mri(
    directory: str,
    n_train: int = 32,
    n_valid: int = 4,
    n_test: int = 4,
    n_slices: int = 5,
    size: int = 256,
    n_coils: int = 1,
    seed: int = 0,
    workers: int = 0,
) -> str:
    """Write scans of synthetic knees (random phantoms, no measured data) as k-space in fastMRI's HDF5 layout.

    They go to DIRECTORY/train, /valid and /test, a volume per file, single-coil, or multi-coil from 2 coils on. A set
    that is there already is kept; a folder that holds anything else is refused.

    Args:
        directory: folder to make.
        n_train: number of volumes to train on.
        n_valid: number of volumes to choose a checkpoint by.
        n_test: number of volumes to report on.
        n_slices: neighbouring sections in a volume, 3 mm apart.
        size: height and width in pixels, 32 or more.
        n_coils: receive coils.
        seed: another seed, other knees.
        workers: processes that draw; 0 draws in this one.
    """
    counts = {"n_train": n_train, "n_valid": n_valid, "n_test": n_test}
    options = {"n_slices": n_slices, "size": size, "n_coils": n_coils, "seed": seed, "workers": workers}
    made = make_knee_set(str(directory), **counts, **options)
    return _told(directory, made, sum(counts.values()), "volumes")


@command
def make_cardiac_cine(
    directory: str,
    n_train: int = 24,
    n_valid: int = 4,
    n_test: int = 10,
    n_slices: int = 3,
    size: int = 96,
    n_frames: int = 16,
    seed: int = 0,
    workers: int = 0,
) -> str:
    """Write series of synthetic beating hearts (random phantoms, no measured data) as HDF5.

    They go to DIRECTORY/train, /valid and /test, a heart per file, with the true and the aliased images and the areas
    of the left ventricle. A set that is there already is kept; a folder that holds anything else is refused.

    Args:
        directory: folder to make.
        n_train: number of hearts to train on.
        n_valid: number of hearts to choose a checkpoint by.
        n_test: number of hearts to report on.
        n_slices: short-axis sections of a heart, from base to apex.
        size: height and width in pixels, 32 or more.
        n_frames: frames of a series, which span a beat or somewhat more.
        seed: another seed, other hearts.
        workers: processes that draw; 0 draws in this one.
    """
    counts = {"n_train": n_train, "n_valid": n_valid, "n_test": n_test}
    options = {"n_slices": n_slices, "size": size, "n_frames": n_frames, "seed": seed, "workers": workers}
    made = make_cine_set(str(directory), **counts, **options)
    return _told(directory, made, sum(counts.values()), "hearts")


def _told(directory: str, made: bool, total: int, what: str) -> str:
    if made:
        return f"made {total} synthetic {what} in {directory}"
    return f"{directory} holds these {total} synthetic {what} already"


_FEW: dict[str, Any] = {"n_train": 4, "n_valid": 2, "n_test": 2}
TINY_SETS: dict[str, Callable[[Path], Any]] = {
    "brain_mri": partial(make_brain_set, **_FEW, size=64),
    "cardiac_cine": partial(make_cine_set, **_FEW, n_slices=2, size=64, n_frames=6),
    "chest_ct": partial(make_chest_ct_set, **_FEW, size=64),
    "knee_mri": partial(make_knee_set, **_FEW, n_slices=2, size=64),
    "rock": partial(make_rock_set, **_FEW, size=64),
    "rock_3d": partial(make_rock_set, **_FEW, dims=3, size=48),
    "textures": partial(make_texture_set, **_FEW, size=64),
}
"""By the same names, the smallest sets on which a bundle can be tried; `rock_3d` is `rock` with dims 3."""


def make_tiny_set(name: str, folder: Path) -> None:
    """Make a very small synthetic set in a second or two: train/, valid/ and test/ with a few images of 64 pixels.

    Args:
        name: as `python -m tools data make` knows it, or `rock_3d` for volumes of 48 voxels a side.
        folder: where; must be free.

    Raises:
        ValueError: for an unknown name.
        FileExistsError: the folder holds something else.
    """
    if name not in TINY_SETS:
        raise ValueError(f"{name!r}: no such synthetic set, expected one of {', '.join(TINY_SETS)}; correct the name")
    TINY_SETS[name](folder)


DATA_SETS: dict[str, Callable[..., Any]] = {
    "brain_mri": make_brain_mri,
    "cardiac_cine": make_cardiac_cine,
    "chest_ct": make_chest_ct,
    "knee_mri": make_knee_mri,
    "rock": make_rock,
    "textures": make_textures,
}
"""Data sets that `python -m tools data make NAME` can make."""

COMMANDS = {"make": DATA_SETS, "check": check}
