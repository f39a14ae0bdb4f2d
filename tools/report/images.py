"""Images of cases for a page: a viewer of each, and of series a moving picture and a profile in time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from common.figures.parts import ERROR, STD
from common.figures.scales import (
    distant_frames,
    error_scale_of,
    errors,
    grey_window,
    moving_part,
    moving_row,
    planes,
    reference_of,
)
from common.metrics.case import Case
from common.metrics.cases import label
from tools.report.page import Picture, Strip, Viewer

ByteArray = NDArray[np.uint8]

LARGEST = 640
"""Pixels of the longer side of an image on a page; larger ones are shrunk by whole factors."""
MOST_FRAMES = 40
"""Frames of a moving picture; of longer series some are left out."""
FRAME_MS = (50, 200)
"""Fewest and most milliseconds a frame is shown."""
UNKNOWN_MS = 80
GAP = 3
GREY = 128


def case_viewer(case: Case, name: str, error_scale: float, std_scale: float = 0.0) -> Viewer:
    """Images of a case for a divider, all in one grey window, and their error maps in one scale.

    Of a series the later of the two frames that differ most is shown.
    """
    images = planes(case)
    reference = reference_of(case, images)
    window, differences = grey_window(reference), errors(case, images)
    if case.series:
        frame = distant_frames(reference)[-1]
        name = f"{name}, frame {frame}"
        images = {key: image[..., frame] for key, image in images.items()}
        differences = {key: image[..., frame] for key, image in differences.items()}
    titles = {method: label(method) for method in case.methods}
    pictures = [Picture(title, [_grey(images[key], window)]) for key, title in titles.items()]
    notes = [f"grey 0 to {window:.3g}"]
    if "target" in images:
        error_scale = error_scale or error_scale_of([case])
        pictures.append(Picture("target", [_grey(images["target"], window)]))
        pictures += [
            Picture(f"error of {titles[key]}", [_coloured(image, ERROR, error_scale)], error=True)
            for key, image in differences.items()
        ]
        notes.append(f"errors 0 to {error_scale:.3g}")
    if "std" in images:
        pictures.append(Picture("deviation of samples", [_coloured(images["std"], STD, std_scale)], error=True))
        notes.append(f"deviation 0 to {std_scale:.3g}")
    if "mask" in images:
        pictures.append(Picture("mask of k-space", [_grey(images["mask"], 1.0)], error=True))
    before = titles[case.baseline if case.baseline in titles else next(iter(titles))]
    return Viewer(name, pictures, before, titles[case.reconstruction], f"{'; '.join(notes)}.")


def series_strip(case: Case, name: str, interval_s: float | None = None) -> Strip:
    """The part of a series that moves, beating, and below it one row of pixels in time."""
    images = planes(case)
    reference = reference_of(case, images)
    window, differences, part = grey_window(reference), errors(case, images), moving_part(reference)
    row = moving_row(reference)
    panels = {label(key): _grey(images[key], window) for key in case.methods}
    if "target" in images:
        panels["target"] = _grey(images["target"], window)
        panels["error"] = _grey(differences[case.reconstruction], error_scale_of([case]) or 1.0)
    n_frames = reference.shape[-1]
    step = -(-n_frames // MOST_FRAMES)
    milliseconds = UNKNOWN_MS if interval_s is None else round(1000 * interval_s)
    frame_ms = step * min(max(milliseconds, FRAME_MS[0]), FRAME_MS[1])
    frames = [
        _side_by_side({key: image[part][..., i] for key, image in panels.items()}) for i in range(0, n_frames, step)
    ]
    stretch = max(1, round(0.5 * (part[1].stop - part[1].start) / n_frames))
    lines = {key: image[row, part[1]].repeat(stretch, axis=1) for key, image in panels.items()}
    known = "" if interval_s is None else f", measured every {1000 * interval_s:.0f} ms"
    note = (
        f"From left to right: {', '.join(panels)}. {n_frames} frames{known}, each for {frame_ms} ms. Below: row "
        f"{row} in time, to the right."
    )
    pictures = [
        Picture(f"{name}: {', '.join(panels)}", frames, frame_ms),
        Picture(f"{name}: row {row} in time", [_side_by_side(lines)], flat=True),
    ]
    return Strip(name, pictures, note)


def _grey(image: np.ndarray, end: float) -> ByteArray:
    return np.rint(255 * (_shrunk(image) / end).clip(0, 1)).astype(np.uint8)


def _coloured(image: np.ndarray, name: str, end: float) -> ByteArray:
    found: ByteArray = colormaps[name](_shrunk(image) / (end or 1.0), bytes=True)[..., :3]
    return found


def _shrunk(image: np.ndarray) -> np.ndarray:
    """Means of blocks of an image or a series that is larger than `LARGEST`."""
    factor = -(-max(image.shape[:2]) // LARGEST)
    if factor == 1:
        return image
    height, width = (size // factor for size in image.shape[:2])
    blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor, *image.shape[2:])
    return blocks.mean(axis=(1, 3))


def _side_by_side(panels: Mapping[str, ByteArray]) -> ByteArray:
    height = next(iter(panels.values())).shape[0]
    gap = np.full((height, GAP), GREY, np.uint8)
    return np.concatenate([part for panel in panels.values() for part in (gap, panel)][1:], axis=1)
