"""The figure of a reconstructed slice or plane: mask, methods, target, details and error maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from common.figures.parts import ERROR, GREY, PANEL_INCHES, STD, Drawing, method_title, quality
from common.figures.scales import detailed_part, error_scale_of, errors, grey_window, planes, reference_of, std_scale_of
from common.metrics.case import Case, require_slice_protocol
from common.metrics.protocols import Protocol, get_protocol
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

MASK, TARGET, DEVIATION = "mask", "target", "std"


def case_figure(
    cases: Case | Sequence[Case],
    *,
    protocol: str = "magnitude_slice",
    zoom: int = 1,
    error_scale: float | None = None,
    std_scale: float | None = None,
) -> Figure:
    """Draw cases, one below the other: mask | each method | target, and below them the methods' error maps.

    The magnitudes of a case share one grey window, see :func:`common.figures.scales.grey_window`, of the target, or of
    the reconstruction where there is none. The errors |magnitude - target's magnitude| of all cases share one scale.
    Under the errors are PSNR and SSIM by the named protocol; those of a volume, of which the middle plane is drawn, are
    the volume's. The standard deviation of samples, where there is one, is below the target in a scale of its own.

    Args:
        cases: one, or several; those without a target are drawn without errors.
        protocol: name of a protocol of slices or images.
        zoom: magnification of the part with the most detail, in a row of its own; 1 leaves it out.
        error_scale: end of the scale of the error maps; None: `error_scale_of` these cases.
        std_scale: end of the scale of the standard deviations; None: `std_scale_of` these cases.

    Raises:
        ValueError: there is no case, shapes of a case differ, a value is not finite, or the protocol is unknown or
            for volumes.
    """
    chosen = require_slice_protocol(get_protocol(protocol))
    cases = [cases] if isinstance(cases, Case) else list(cases)
    if not cases:
        raise ValueError("a figure needs at least one case, got none; evaluate data first")
    scales = (
        error_scale_of(cases) if error_scale is None else error_scale,
        std_scale_of(cases) if std_scale is None else std_scale,
    )
    sizes = [figure_size(case, zoom) for case in cases]
    size = max(width for width, _ in sizes), sum(height for _, height in sizes)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    blocks = figure.subfigures(len(cases), 1, height_ratios=[height for _, height in sizes], squeeze=False)[:, 0]
    for block, case in zip(blocks, cases, strict=True):
        CaseDrawing(block, case, zoom).show(case, chosen, *scales)
    return figure


def figure_size(case: Case, zoom: int) -> tuple[float, float]:
    """Width and height in inches of the figure of one case."""
    height, width = next(iter(case.methods.values())).shape[:2]
    panel_width, panel_height = (
        PANEL_INCHES * ratio for ratio in (max(0.9, min(1, width / height)), min(1, height / width))
    )
    n_rows = 1 + (zoom > 1) + (case.target is not None)
    bar = 0.5 if case.std is not None else 0.1
    return len(_columns(case)) * panel_width + bar, n_rows * (panel_height + 0.25) + 0.5


def _columns(case: Case) -> list[str]:
    """Panels of the first row; a deviation has a column of its own where no target stands above it."""
    mask = [] if case.mask is None else [MASK]
    deviation = [DEVIATION] if case.std is not None and case.target is None else []
    return [*mask, *case.methods, *([] if case.target is None else [TARGET]), *deviation]


class CaseDrawing:
    """The figure of one case, which can show others of the same columns and size.

    Args:
        figure: empty figure, or a part of one.
        case: the first case.
        zoom: magnification of the detailed part, see :func:`case_figure`.
    """

    def __init__(self, figure: Figure | SubFigure, case: Case, zoom: int = 1) -> None:
        if zoom < 1:
            raise ValueError(f"zoom must be 1 or more, got {zoom}")
        self.zoom = zoom
        self._drawing = Drawing(figure, 1 + (zoom > 1) + (case.target is not None), len(_columns(case)))
        self._frames: dict[Axes, Rectangle] = {}

    def show(self, case: Case, protocol: Protocol, error_scale: float, std_scale: float) -> None:
        """Draw a case; arguments as for :func:`case_figure`."""
        drawing, images, columns = self._drawing, planes(case), _columns(case)
        reference = reference_of(case, images)
        window, differences = grey_window(reference), errors(case, images)
        for axes, name in zip(drawing.grid[0], columns, strict=True):
            if name == DEVIATION:
                self._show_deviation(axes, case, images[name], std_scale)
                continue
            drawing.show(axes, images[name], GREY, 1.0 if name == MASK else window)
            drawing.title(axes, method_title(case, name))
        if self.zoom > 1:
            part = detailed_part(reference, self.zoom)
            for (whole, axes), name in zip(drawing.grid[:2].T, columns, strict=True):
                if name not in (MASK, DEVIATION):
                    drawing.show(axes, images[name][part], GREY, window)
                    self._frame(whole, part)
        for method, difference in differences.items():
            axes = drawing.grid[-1, columns.index(method)]
            drawn = drawing.show(axes, difference, ERROR, error_scale)
            drawing.title(axes, "difference to the target")
            drawing.below(axes, quality(case, method, protocol))
        notes = [f"{(images[MASK] > 0).mean():.1%} of k-space sampled"] if MASK in images else []
        notes += [f"grey 0 to {window:.3g}"]
        if differences:
            beside = drawing.grid[-1, columns.index(TARGET)]
            if DEVIATION in images:
                notes += [f"standard deviation 0 to {std_scale:.3g}"]
                self._show_deviation(beside, case, images[DEVIATION], std_scale)
                beside = drawing.grid[-1, 0]
            drawing.bar(drawn, beside, (0.1, 0.02, 0.07, 0.9))
            notes += [f"errors 0 to {error_scale:.3g}", f"PSNR and SSIM by protocol {protocol.name}"]
        is_volume = next(iter(case.methods.values())).ndim == 3
        drawing.head(case, "; ".join(notes), middle_plane=is_volume)

    def _show_deviation(self, axes: Axes, case: Case, std: np.ndarray, std_scale: float) -> None:
        drawn = self._drawing.show(axes, std, STD, std_scale)
        number = "" if case.n_samples is None else f"{case.n_samples} "
        self._drawing.title(axes, f"deviation of {number}samples")
        self._drawing.bar(drawn, axes, (1.02, 0.02, 0.07, 0.9))

    def _frame(self, axes: Axes, part: tuple[slice, slice]) -> None:
        """Draw a frame around rows and columns of an image, or move it there."""
        rows, columns = part
        if axes not in self._frames:
            self._frames[axes] = Rectangle((0, 0), 1, 1, fill=False, edgecolor="orange", linewidth=1)
            axes.add_patch(self._frames[axes])
        size = columns.stop - columns.start, rows.stop - rows.start
        self._frames[axes].set_bounds(columns.start - 0.5, rows.start - 0.5, *size)
