"""The figure of a reconstructed cine series: two frames far apart, and a row of pixels over time."""

from __future__ import annotations

from common.figures.parts import ERROR, GREY, PANEL_INCHES, Drawing, method_title, quality
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
from common.metrics.protocols import Protocol, get_protocol
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

_PROFILE = 0.55
"""Height of a profile relative to that of a frame."""


def series_figure(case: Case, protocol: str = "cine_series", error_scale: float | None = None) -> Figure:
    """Draw a series: its methods, the target and the error of the reconstruction in columns.

    The rows are the two frames that differ most, cut to the part that moves, and one row of pixels over time, to the
    right, which is drawn as a line in the frames. All images share one grey window. PSNR and SSIM are those of the
    whole series.

    Args:
        case: a series; without a target, the error and the values are left out.
        protocol: name of a protocol of series.
        error_scale: end of the scale of the errors; None: `error_scale_of` this series.

    Raises:
        ValueError: shapes differ, a value is not finite, or the protocol is unknown.
    """
    figure = Figure(figsize=figure_size(case), layout="constrained", facecolor="white")
    scale = error_scale_of([case]) if error_scale is None else error_scale
    SeriesDrawing(figure, case).show(case, get_protocol(protocol), scale)
    return figure


def n_columns(case: Case) -> int:
    """Number of panels in a row."""
    return len(case.methods) + 2 * (case.target is not None)


def n_frames(case: Case) -> int:
    """Number of frames that are drawn."""
    return min(2, next(iter(case.methods.values())).shape[-1])


def figure_size(case: Case) -> tuple[float, float]:
    """Width and height of the figure in inches."""
    height, width, _ = next(iter(case.methods.values())).shape
    ratio = n_frames(case) * height / width + _PROFILE
    return n_columns(case) * PANEL_INCHES + 0.8, ratio * PANEL_INCHES + 1.0


class SeriesDrawing:
    """The figure of one series, which can show others of the same methods and size.

    Args:
        figure: empty figure.
        case: the first series.
    """

    def __init__(self, figure: Figure | SubFigure, case: Case) -> None:
        height, width, _ = next(iter(case.methods.values())).shape
        ratios = [*[height / width] * n_frames(case), _PROFILE]
        self._drawing = Drawing(figure, len(ratios), n_columns(case), height_ratios=ratios)
        self._lines: list[Line2D] = [
            axes.axhline(0, color="orange", linewidth=0.8, linestyle="--") for axes in self._drawing.grid[:-1].flat
        ]

    def show(self, case: Case, protocol: Protocol, error_scale: float) -> None:
        """Draw a series; arguments as for :func:`series_figure`."""
        drawing, images = self._drawing, planes(case)
        reference = reference_of(case, images)
        frames, row, window = distant_frames(reference), moving_row(reference), grey_window(reference)
        frames = frames if len(frames) == n_frames(case) else (0, 1)  # of a series without motion
        rows, columns = moving_part(reference)
        differences = errors(case, images)
        shown = [(method_title(case, name), images[name], GREY, window) for name in images if name in case.methods]
        if differences:
            shown += [("target", images["target"], GREY, window)]
            shown += [("difference to the target", differences[case.reconstruction], ERROR, error_scale)]
        for panels, (title, series, cmap, end) in zip(drawing.grid.T, shown, strict=True):
            for axes, frame in zip(panels, frames, strict=False):
                drawing.show(axes, series[rows, columns, frame], cmap, end)
            drawn = drawing.show(panels[-1], series[row, columns], cmap, end, aspect="auto", interpolation="nearest")
            drawing.title(panels[0], title)
        if differences:
            for panels, method in zip(drawing.grid.T, case.methods, strict=False):
                drawing.below(panels[-1], quality(case, method, protocol))
            drawing.below(drawing.grid[-1, -2], "time to the right")
            drawing.bar(drawn, drawing.grid[0, -1], (1.04, 0.02, 0.07, 0.9))
        for line in self._lines:
            line.set_ydata([row - rows.start] * 2)
        names = [*(f"frame {frame}" for frame in frames), f"row {row} in time"]
        for axes, name in zip(drawing.grid[:, 0], names, strict=True):
            axes.set_ylabel(name, fontsize=9)
        notes = [f"grey 0 to {window:.3g}"]
        notes += [f"PSNR and SSIM of all frames by protocol {protocol.name}"] if differences else []
        drawing.head(case, "; ".join(notes))
