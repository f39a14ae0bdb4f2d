"""Synthetic cine series on disk, with the truth about the left ventricle."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch
from common.operators.fourier import fft2c, ifft2c
from common.operators.masks.kt import KtMasks
from common.phantoms.heart_phantom import HeartPhantom, heart_phantom
from common.phantoms.heart_scan import write_scan
from common.phantoms.set_folder import SetFile
from numpy.typing import NDArray


def write_heart(
    path: Path, file: SetFile, seed: int, *, n_slices: int, size: int, n_frames: int, trajectory: str = ""
) -> None:
    """Write one heart, its series short-axis sections from base to apex (`heart_phantom`).

    The data sets are float32 ``[n_slices, H, W, n_frames]``: ``imagesTrue``, magnitudes in [0, 1]; ``phaseTrue``, in
    radians; ``imagesRecon``, the aliased magnitudes of 13 golden-angle spokes a frame, zero-filled, with the mask that
    an evaluation of this file draws (:class:`~common.transforms.PrepareCine` with ``by_file``). Known truth is in
    ``lv_area_mm2`` ``[n_slices, n_frames]``, ``lv_center_px`` ``[n_slices, n_frames, 2]`` (row, column) and in the
    attributes ``ejection_fraction``, ``pixel_size_mm``, ``slice_distance_mm`` and ``frame_interval_s``; ``synthetic``
    is True.

    With a trajectory, the file is an ISMRMRD scan, see :func:`~common.phantoms.heart_scan.write_scan`, and has
    ``imagesTrue``, ``phaseTrue`` and what is known beside it.

    Args:
        path: file to write.
        file: place of the file in its set.
        seed: seed of the heart.
        n_slices: sections of the heart.
        size: height and width in pixels.
        n_frames: frames of a series, which span a beat or somewhat more.
        trajectory: "" or "radial": golden-angle spokes of 8 coils.

    Raises:
        ValueError: for another trajectory, or where a package for it is missing.
    """
    if trajectory not in ("", "radial"):
        raise ValueError(f"cardiac_cine: trajectory must be 'radial', or left out for images, got {trajectory!r}")
    heart = heart_phantom(seed, size, n_frames, n_slices)
    series = {"imagesTrue": np.abs(heart.images), "phaseTrue": np.angle(heart.images)}
    if trajectory:
        write_scan(path, heart, seed)
    else:
        series["imagesRecon"] = _aliased(heart.images, path.name)
    with h5py.File(path, "a") as data:
        for name, values in series.items():
            data.create_dataset(name, data=values.astype(np.float32), track_times=False)
        _write_truth(data, heart)


def _write_truth(data: h5py.File, heart: HeartPhantom) -> None:
    """Write what is known about a heart."""
    data.create_dataset("lv_area_mm2", data=heart.lv_area_mm2, track_times=False)
    data.create_dataset("lv_center_px", data=heart.lv_center_px, track_times=False)
    data.attrs["ejection_fraction"] = heart.ejection_fraction
    data.attrs["pixel_size_mm"] = heart.pixel_size_mm
    data.attrs["slice_distance_mm"] = heart.slice_distance_mm
    data.attrs["frame_interval_s"] = heart.frame_interval_s
    data.attrs["synthetic"] = True


def _aliased(images: NDArray[np.complexfloating], name: str) -> NDArray[np.float32]:
    """Zero-filled magnitudes of series ``(n_slices, H, W, n_frames)``."""
    seeds = [f"{name}:{index}" for index in range(len(images))]
    masks = KtMasks()(images.shape[1:], seeds, len(images))[:, 0]  # as PrepareCine draws them by file
    frames = torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, 1)
    return ifft2c(fft2c(frames) * masks.movedim(-1, 1)).abs().movedim(1, -1).numpy()
