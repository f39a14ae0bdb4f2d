"""The figure of a reconstructed cine series: two frames far apart, and a line of pixels over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from common.figures import CaseImages
from common.metrics import get_protocol
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

_PANEL_INCHES = 2.2


class SeriesImages(CaseImages):
    """The magnitudes of one series, each ``(height, width, frames)`` on the CPU; without a mask."""

    @property
    def reference(self) -> np.ndarray:
        """What frames and line are chosen by: the target, or the reconstruction where there is none."""
        return _array(self.methods[self.reconstruction] if self.target is None else self.target)

    @property
    def frames(self) -> tuple[int, ...]:
        """The two frames that differ most, earlier first: of a heart, about end-diastole and end-systole."""
        return distant_frames(self.reference)

    @property
    def row(self) -> int:
        """The row with the most motion."""
        return moving_row(self.reference)


def distant_frames(series: np.ndarray) -> tuple[int, ...]:
    """Which two frames of ``(height, width, frames)`` have the largest distance; of a single frame, that one."""
    frames = series.reshape(-1, series.shape[-1]).astype(np.float64)
    products = frames.T @ frames
    squares = np.diag(products)
    distances = squares[:, None] + squares[None] - 2 * products
    return tuple(sorted({int(index) for index in np.unravel_index(distances.argmax(), distances.shape)}))


def moving_row(series: np.ndarray) -> int:
    """The row of ``(height, width, frames)`` whose values have the largest variance over time."""
    return int(series.astype(np.float64).var(axis=2).sum(axis=1).argmax())


def series_error_scale(cases: Sequence[SeriesImages]) -> float:
    """Where the one scale of the error maps of these series ends: as :func:`common.figures.error_scale_of`."""
    errors = [_error(case) for case in cases if case.target is not None]
    return max((float(np.quantile(error, 0.99)) for error in errors), default=0.0)


def series_figure(case: SeriesImages, protocol: str = "cine_series", error_scale: float | None = None) -> Figure:
    """Draw a series: its methods, the target and the error of the reconstruction in columns.

    The rows are two frames, see :attr:`SeriesImages.frames`, and a row of pixels (dashed in the frames) over time,
    which runs downwards. All images share one window, from 0 to the largest value of the target (without one, of the
    reconstruction). PSNR and SSIM are those of the whole series.

    Args:
        case: without a target, the error and the values are left out.
        protocol: one that gives a value per series.
        error_scale: end of the scale of the errors; None: :func:`series_error_scale` of this series.

    Raises:
        ValueError: shapes differ, a value is not finite, or the protocol is unknown.
    """
    images = {name: _array(image) for name, image in case.methods.items()}
    headings = {name: name + _quality(protocol, case, name) for name in images}
    window = float(case.reference.max()) or 1.0
    if case.target is not None:
        images["target"], headings["target"] = _array(case.target), "target"
    frames, row, columns = case.frames, case.row, len(images) + (case.target is not None)
    height, width, _ = case.reference.shape
    ratios = [*[height / width] * len(frames), 0.6]
    size = (columns * _PANEL_INCHES + 0.9, sum(ratios) * _PANEL_INCHES + 1.1)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    grid = figure.subplots(len(ratios), columns, squeeze=False, height_ratios=ratios)
    for column, (name, image) in enumerate(images.items()):
        _draw_column(grid[:, column].tolist(), image, frames, row, {"cmap": "gray", "vmin": 0, "vmax": window})
        grid[0, column].set_title(headings[name], fontsize=9)
    if case.target is not None:
        end = (series_error_scale([case]) if error_scale is None else error_scale) or 1e-6
        _draw_column(grid[:, -1].tolist(), _error(case), frames, row, {"cmap": "inferno", "vmin": 0, "vmax": end})
        grid[0, -1].set_title(f"|{case.reconstruction} - target|", fontsize=9)
        figure.colorbar(grid[0, -1].images[0], ax=grid[:, -1].tolist(), extend="max", shrink=0.6).ax.tick_params(
            labelsize=8
        )
    for axes, label in zip(grid[:, 0], [*(f"frame {frame}" for frame in frames), f"row {row} over time"], strict=True):
        axes.set_ylabel(label, fontsize=9)
    notes = f"grey window 0 to {window:.3g}" + ("" if case.target is None else f"; PSNR, SSIM by protocol {protocol}")
    figure.suptitle(f"{Path(case.path).name}, slice {case.slice_index}\n{notes}", fontsize=9, parse_math=False)
    return figure


def frame_over_profile(series: np.ndarray, frame: int, row: int) -> np.ndarray:
    """A frame ``(height, width)`` and below it a row of its pixels over time, downwards and about half as high."""
    height, _, n_frames = series.shape
    profile = series[row].T.repeat(max(1, round(height / 2 / n_frames)), axis=0)
    return np.concatenate([series[..., frame], profile])


def _draw_column(
    column: Sequence[Axes], series: np.ndarray, frames: Sequence[int], row: int, look: Mapping[str, object]
) -> None:
    for axes, frame in zip(column, frames, strict=False):
        axes.imshow(series[..., frame], **look)  # type: ignore[arg-type]
        axes.axhline(row, color="orange", linewidth=0.7, linestyle="--")
    column[-1].imshow(series[row].T, aspect="auto", interpolation="nearest", **look)  # type: ignore[arg-type]
    for axes in column:
        axes.set_xticks([])
        axes.set_yticks([])


def _array(image: np.ndarray | Tensor) -> np.ndarray:
    return np.abs(np.asarray(image))


def _error(case: SeriesImages) -> np.ndarray:
    assert case.target is not None  # for the type checker
    return np.abs(_array(case.methods[case.reconstruction]) - _array(case.target))


def _quality(protocol: str, case: SeriesImages, name: str) -> str:
    if case.target is None:
        return ""
    prediction, target = (torch.as_tensor(image)[None] for image in (case.methods[name], case.target))
    values = get_protocol(protocol).evaluate(prediction, target, ["psnr", "ssim"])
    return f"\nPSNR {values['psnr'].item():.2f} dB  SSIM {values['ssim'].item():.4f}"
