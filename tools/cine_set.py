"""Synthetic cardiac cine series on disk, with aliased images and known areas of the left ventricle."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from common.operators.masks.kt import KtMasks
from common.phantoms.heart_phantom import heart_phantom
from common.phantoms.set_folder import SetFile, check_counts, check_integers, make_set
from common.transforms.acquire_cine import PrepareCine

# the name stays: sets on disk are known by it
GENERATOR = "common.data.cine_set, version 1"


def make_cine_set(
    directory: str | Path,
    *,
    n_train: int = 24,
    n_valid: int = 4,
    n_test: int = 10,
    n_slices: int = 3,
    size: int = 96,
    n_frames: int = 16,
    seed: int = 0,
    workers: int = 0,
) -> bool:
    """Write series of random synthetic hearts into `directory`/train, /valid and /test.

    A file is one heart, its series are short-axis sections from base to apex (`heart_phantom`), and no heart is in two
    files. Each has, as float32 ``[n_slices, H, W, n_frames]``: `imagesTrue`, magnitudes in [0, 1]; `phaseTrue`, in
    radians; `imagesRecon`, the aliased magnitudes of 13 golden-angle spokes a frame, zero-filled, with the mask that an
    evaluation of this file draws (`PrepareCine`, `by_file`). Known truth is in `lv_area_mm2` ``[n_slices, n_frames]``,
    `lv_center_px` ``[n_slices, n_frames, 2]`` (row, column) and in the attributes `ejection_fraction`,
    `pixel_size_mm`, `slice_distance_mm` and `frame_interval_s`; `synthetic` is True. The same arguments give the same
    bytes. The folder appears whole or not at all, with a `dataset.json` that says that it is synthetic, and how it was
    made; a set that is there already is kept.

    Args:
        directory: a folder that does not exist yet, is empty, or holds just this set.
        n_train: number of hearts to train on.
        n_valid: number of hearts to choose a checkpoint by.
        n_test: number of hearts to report on.
        n_slices: sections of a heart.
        size: height and width in pixels, 32 or more.
        n_frames: frames of a series, 2 or more, which span a beat or somewhat more.
        seed: another seed, other hearts.
        workers: processes that draw; 0 draws in this one.

    Returns:
        Whether the set was made (True) or was there already (False).

    Raises:
        ValueError: for a number out of range.
        FileExistsError: `directory` holds something else; nothing is changed.
    """
    counts = check_counts(n_train, n_valid, n_test, "heart")
    check_integers({"size": size}, 32)
    check_integers({"n_frames": n_frames}, 2)
    check_integers({"n_slices": n_slices}, 1)
    description: dict[str, Any] = {
        "name": "cardiac_cine",
        "synthetic": True,
        "description": "Random synthetic beating hearts, drawn by a program. No measured data; not for diagnosis.",
        "generator": GENERATOR,
        "hearts": counts,
        "n_slices": n_slices,
        "size": size,
        "n_frames": n_frames,
        "aliased_by": repr(KtMasks()),
    }
    write = partial(_write_heart, size, n_frames, n_slices)
    return make_set(
        directory, description, seed, write, what="synthetic hearts", workers=workers, suffix=".h5", unit="heart"
    )


def _write_heart(size: int, n_frames: int, n_slices: int, path: Path, file: SetFile, seed: int) -> None:
    heart = heart_phantom(seed, size, n_frames, n_slices)
    series = {
        "imagesTrue": np.abs(heart.images),
        "phaseTrue": np.angle(heart.images),
        "imagesRecon": _aliased(heart.images, path),
    }
    with h5py.File(path, "w") as data:
        for name, values in series.items():
            data.create_dataset(name, data=values.astype(np.float32), track_times=False)
        data.create_dataset("lv_area_mm2", data=heart.lv_area_mm2, track_times=False)
        data.create_dataset("lv_center_px", data=heart.lv_center_px, track_times=False)
        data.attrs["ejection_fraction"] = heart.ejection_fraction
        data.attrs["pixel_size_mm"] = heart.pixel_size_mm
        data.attrs["slice_distance_mm"] = heart.slice_distance_mm
        data.attrs["frame_interval_s"] = heart.frame_interval_s
        data.attrs["synthetic"] = True


def _aliased(images: np.ndarray, path: Path) -> np.ndarray:
    """What an evaluation of the file gives the network."""
    truth = torch.from_numpy(np.ascontiguousarray(images))[:, None]
    batch = {"truth": truth, "path": [str(path)] * len(truth), "slice": range(len(truth))}
    aliased, _ = PrepareCine(KtMasks(), by_file=True)(batch, torch.device("cpu"))
    return aliased[:, 0].numpy()
