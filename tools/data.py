"""`python -m tools data`: data sets to begin with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.data.synthetic import make_brain_set
from tools.command import command


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


DATA_SETS: dict[str, Callable[..., Any]] = {"brain_mri": make_brain_mri}
"""Data sets that `python -m tools data make NAME` can make."""

COMMANDS = {"make": DATA_SETS}
