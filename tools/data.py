"""`python -m tools data`: data sets to begin with, and what readers see of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.data.synthetic import make_brain_set
from tools.command import command
from tools.data_check import check


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
    total = sum(counts.values())
    if made:
        return f"made {total} synthetic images in {directory}"
    return f"{directory} holds these {total} synthetic images already"


def _tiny_brain_mri(folder: Path) -> None:
    make_brain_set(folder, n_train=4, n_valid=2, n_test=2, size=64)


TINY_SETS: dict[str, Callable[[Path], None]] = {"brain_mri": _tiny_brain_mri}
"""By the same names, the smallest sets on which a bundle can be tried."""


def make_tiny_set(name: str, folder: Path) -> None:
    """Make a very small synthetic set: train/, valid/ and test/ with a few images of 64 pixels, in about a second.

    Args:
        name: as `python -m tools data make` knows it.
        folder: where; must be free.

    Raises:
        ValueError: for an unknown name.
        FileExistsError: the folder holds something else.
    """
    if name not in TINY_SETS:
        raise ValueError(f"{name!r}: no such synthetic set, expected one of {', '.join(TINY_SETS)}; correct the name")
    TINY_SETS[name](folder)


DATA_SETS: dict[str, Callable[..., Any]] = {"brain_mri": make_brain_mri}
"""Data sets that `python -m tools data make NAME` can make."""

COMMANDS = {"make": DATA_SETS, "check": check}
