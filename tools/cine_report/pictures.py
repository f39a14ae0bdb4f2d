"""Pictures of a series: the beating heart, and one line through it in time."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from common.errors import DataError
from common.handlers.ejection_fraction import read_contour
from tools.cine_report.result_file import INPUT, RESULT, TRUTH, FloatArray, Series
from tools.report import ReportImage

ByteArray = NDArray[np.uint8]

PANEL = 300
"""Pixels that a panel is to be wide: smaller images are enlarged, larger ones stay unless they are twice as wide."""
GAP = 4
GREY = 128
MOST_PIXELS = 12_000_000
"""Pixels of an animation before they are enlarged; of longer series some frames are left out."""
FRAME_MS = (50, 200)
"""Fewest and most milliseconds a frame is shown."""
UNKNOWN_MS = 80


@dataclass(frozen=True)
class Moving:
    """A looping picture, and its first frame for those who do not want motion; both have the caption.

    Attributes:
        heads: what the panels show, from left to right.
        animation: animated PNG.
        still: PNG.
        note: how fast it plays, and its scales of grey.
    """

    heads: Sequence[str]
    animation: ReportImage
    still: ReportImage
    note: str


def window(series: Series) -> float:
    """Grey value shown white: nearly the largest of the truth, or of the result."""
    return float(np.quantile(series.images.get(TRUTH, series.images[RESULT]), 0.999)) or 1.0


def error_scale(chosen: Sequence[Series]) -> float:
    """Error shown white in all series: the largest 99.5th percentile of the results' errors; 0 without a truth."""
    return max((float(np.quantile(_error(series), 0.995)) for series in chosen if TRUTH in series.images), default=0.0)


def moving(series: Series, caption: str, error_end: float) -> Moving:
    """Input | result | truth | error, side by side in one animation.

    Args:
        series: at least input and result.
        caption: of the picture, and its text for those who cannot see it.
        error_end: error shown white.
    """
    end = window(series)
    panels = {name: series.images[name] / end for name in (INPUT, RESULT, TRUTH) if name in series.images}
    if TRUTH in series.images:
        panels["error"] = _error(series) / (error_end or 1.0)
    heads = [f"|{RESULT} - {TRUTH}|" if name == "error" else name for name in panels]
    shrink = max(1, next(iter(panels.values())).shape[1] // PANEL)
    if shrink > 1:
        panels = {name: _shrink(panel, shrink) for name, panel in panels.items()}
    first = next(iter(panels.values()))
    n_frames = first.shape[-1]
    step = -(-first.size * len(panels) // MOST_PIXELS)
    interval = series.frame_interval_s
    milliseconds = UNKNOWN_MS if interval is None else round(1000 * interval)
    shown = step * min(max(milliseconds, FRAME_MS[0]), FRAME_MS[1])
    factor = max(1, round(PANEL / first.shape[1]))
    frames = [
        _side_by_side([_enlarge(_grey(panel[..., i]), factor, factor) for panel in panels.values()])
        for i in range(0, n_frames, step)
    ]
    still = ReportImage(caption, _png(frames[:1]))
    animation = still if len(frames) == 1 else ReportImage(caption, _png(frames, shown))
    known = "" if interval is None else f", measured every {1000 * interval:.0f} ms"
    told = [f"{n_frames} frames{known}, {f'one in {step}' if step > 1 else 'each'} shown for {shown} ms"]
    told += [f"shrunk to {first.shape[0]} x {first.shape[1]} pixels"] if shrink > 1 else []
    told += [f"grey from 0 to {end:.3g}", *([f"errors from 0 to {error_end:.3g}"] if TRUTH in series.images else [])]
    return Moving(heads, animation, still, "; ".join(told) + ".")


def profile_row(series: Series) -> tuple[int, str]:
    """The row that is followed in time, and why: the left ventricle's centre, or where most moves."""
    height = series.images[RESULT].shape[0]
    path, _, index = series.source.rpartition(":")
    try:
        contour = read_contour(path, int(index)) if path and index.isdigit() else None
    except DataError:  # the source has changed since
        contour = None
    if contour is not None and len(contour.center_px) == series.images[RESULT].shape[-1]:
        row = round(float(contour.center_px[:, 0].mean()))
        if 0 <= row < height:
            return row, "the centre of the left ventricle"
    # of the truth, or else the result: in the input aliasing varies more than the heart
    variance = series.images.get(TRUTH, series.images[RESULT]).var(axis=-1)
    smooth = ndimage.uniform_filter(variance, 5)
    return int(np.unravel_index(smooth.argmax(), smooth.shape)[0]), "the place that varies most in time"


def profiles(series: Series, row: int) -> Mapping[str, ReportImage]:
    """One row in time: the position in it downwards, time to the right."""
    end = window(series)
    shown = {}
    for name in (INPUT, RESULT, TRUTH):
        if name in series.images:
            lines = _grey(series.images[name][row] / end)
            down, right = (max(1, round(PANEL / n)) for n in lines.shape)
            shown[name] = ReportImage(
                f"{name} of {series.name}: row {row} in time", _png([_enlarge(lines, down, right)])
            )
    return shown


def _error(series: Series) -> FloatArray:
    return np.abs(series.images[RESULT] - series.images[TRUTH])


def _grey(image: FloatArray) -> ByteArray:
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8)


def _enlarge(image: ByteArray, down: int, right: int) -> ByteArray:
    return image.repeat(down, axis=0).repeat(right, axis=1)


def _shrink(series: FloatArray, factor: int) -> FloatArray:
    """Means of blocks; what is left over at the end is cut."""
    height, width = (size // factor for size in series.shape[:2])
    cut = series[: height * factor, : width * factor]
    return cut.reshape(height, factor, width, factor, -1).mean(axis=(1, 3))


def _side_by_side(panels: Sequence[ByteArray]) -> ByteArray:
    gap = np.full((panels[0].shape[0], GAP), GREY, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)]
    return np.concatenate(parts[1:], axis=1)


def _png(frames: Sequence[ByteArray], milliseconds: int = 0) -> bytes:
    """A PNG; of several frames an animated one, which all browsers of today play, without loss."""
    images = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    if len(images) == 1:
        images[0].save(buffer, "PNG", optimize=True)
    else:
        images[0].save(buffer, "PNG", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    return buffer.getvalue()
