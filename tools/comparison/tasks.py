"""What the methods of a comparison do: all of them the same."""

from __future__ import annotations

from pathlib import Path

from tools.zoo.layout import read_json

RECONSTRUCTION, SUPER_RESOLUTION, SERIES = "reconstruction", "super-resolution", "reconstruction of series"


def task_of(bundle: Path) -> str:
    """The task of a bundle, by its inference.json.

    Super-resolution has the key `upscale`; reconstruction of series of frames reads them with `CineDataset`, for its
    network's input has as many axes as one for volumes.

    Raises:
        ValueError: the file is missing or damaged.
    """
    config = read_json(bundle / "configs" / "inference.json")
    if "upscale" in config:
        return SUPER_RESOLUTION
    dataset = config.get("dataset")
    reader = str(dataset.get("_target_")) if isinstance(dataset, dict) else ""
    return SERIES if reader.endswith(".CineDataset") else RECONSTRUCTION
