"""What the methods of a comparison do: all of them the same."""

from __future__ import annotations

from pathlib import Path

from tools.zoo.layout import read_json

RECONSTRUCTION, SUPER_RESOLUTION = "reconstruction", "super-resolution"


def task_of(bundle: Path) -> str:
    """The task of a bundle: super-resolution if its inference.json has the key `upscale`.

    Raises:
        ValueError: the file is missing or damaged.
    """
    return SUPER_RESOLUTION if "upscale" in read_json(bundle / "configs" / "inference.json") else RECONSTRUCTION
