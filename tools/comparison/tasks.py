"""Tasks of the methods; all methods of a comparison have the same task."""

from __future__ import annotations

from pathlib import Path

from tools.zoo.layout import read_json

RECONSTRUCTION, SUPER_RESOLUTION, SERIES = "reconstruction", "super-resolution", "reconstruction of series"


def task_of(bundle: Path) -> str:
    """Find the task of a bundle from its inference.json.

    Super-resolution has the key `upscale`. Reconstruction of series reads frames with `CineDataset`; the number of axes
    of the network's input does not tell, because volumes have as many.

    Raises:
        ValueError: the file is missing or damaged.
    """
    config = read_json(bundle / "configs" / "inference.json")
    if "upscale" in config:
        return SUPER_RESOLUTION
    dataset = config.get("dataset")
    reader = str(dataset.get("_target_")) if isinstance(dataset, dict) else ""
    return SERIES if reader.endswith(".CineDataset") else RECONSTRUCTION
