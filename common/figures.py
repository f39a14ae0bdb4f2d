"""Figures of reconstructed cases, drawn without any global matplotlib state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from common.io.atomic import atomic_path
from common.metrics import Protocol, get_protocol
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from torch import Tensor

Image = np.ndarray | Tensor

RECONSTRUCTION = "reconstruction"

_PANEL_INCHES = 2.4  # the longer side of one panel
_GAP = 0.08
_MARGIN = 0.12
_TITLE = 0.40
_HEADING = 0.24
_CAPTION = 0.26
_LINE = 0.17
_LETTER = 0.075  # a wide one at size 9
_BAR = 0.72  # colour bar and its numbers
_BAR_WIDTH = 0.14


@dataclass(frozen=True)
class CaseImages:
    """The images of one slice, each `(height, width)`.

    Attributes:
        path: the data file.
        slice_index: the slice in it.
        mask: 1 where k-space was sampled, perhaps of another size than the images, which may be cropped; None where it
            was not about k-space.
        methods: name to image, complex or real: what is compared, in the order of drawing.
        target: complex or real; None where there is no truth.
        zoom: how many times larger the part with the most detail is shown besides; 1 shows none.
        plane: which plane along the last axis this is, if the file was compared as a volume.
        std: real; how far samples of a reconstruction differ, pixel by pixel. Needs a mask.
        n_samples: how many samples `std` is of, if that is known.
        reconstruction: which of the methods is to be judged.
    """

    path: str
    slice_index: int
    mask: Image | None
    methods: Mapping[str, Image]
    target: Image | None = None
    zoom: int = 1
    plane: int | None = None
    std: Image | None = None
    n_samples: int | None = None
    reconstruction: str = RECONSTRUCTION

    @property
    def title(self) -> str:
        """File and slice, in words."""
        place = f"slice {self.slice_index}" if self.plane is None else f"plane {self.plane}"
        return f"{Path(self.path).name}, {place}"


def enlarged_case(
    path: str, slice_index: int, methods: Mapping[str, Tensor], target: Tensor | None, zoom: int
) -> CaseImages:
    """The images of a super-resolution: clipped to [0, 1] as they are measured, of volumes the middle plane.

    Args:
        path: the data file.
        slice_index: the slice in it.
        methods: name to image `(1, height, width[, depth])`, on the CPU.
        target: the truth, if there is one.
        zoom: of the part with the most detail.
    """

    def shown(image: Tensor) -> Tensor:
        plane = image[0] if image.dim() == 3 else image[0, ..., image.shape[-1] // 2]
        return plane.clamp(0, 1)

    volumes = [image.shape[-1] // 2 for image in methods.values() if image.dim() == 4]
    return CaseImages(
        path=path,
        slice_index=slice_index,
        mask=None,
        methods={name: shown(image) for name, image in methods.items()},
        target=None if target is None else shown(target),
        zoom=zoom,
        plane=volumes[0] if volumes else None,
    )


def detailed_part(image: np.ndarray, zoom: int) -> tuple[slice, slice]:
    """Rows and columns of the part, `1 / zoom` as high and wide, whose neighbouring pixels differ most on average."""
    gradient = np.zeros(image.shape, np.float64)
    gradient[1:] += np.abs(np.diff(image, axis=0))
    gradient[:, 1:] += np.abs(np.diff(image, axis=1))
    sums = np.pad(gradient.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = (max(1, n // zoom) for n in image.shape)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = (int(place) for place in np.unravel_index(inside.argmax(), inside.shape))
    return slice(top, top + height), slice(left, left + width)


def case_figure(
    cases: CaseImages | Sequence[CaseImages],
    *,
    protocol: str = "magnitude_slice",
    error_scale: float | None = None,
    std_scale: float | None = None,
) -> Figure:
    """Draw cases, one below the other: mask | each method | target, and below them the methods' error maps.

    With `zoom`, a row in between shows the part of each image where the target has the most detail; a frame shows where
    it lies. The magnitudes of a case share one window, from 0 to the largest of the target. Without a target, the last
    method stands for it in both. The errors |magnitude - target's magnitude| of all cases share one scale, which is
    written beside them, with a colour bar. Under the errors are PSNR and SSIM by the named protocol. The standard
    deviation of samples, where there is one, is below the target, beside the errors it should tell of; its scale is its
    own, and that of all cases.

    Args:
        cases: one, or several; those without a target are drawn without errors.
        protocol: name of a per-slice protocol.
        error_scale: end of the scale of the error maps; None: `error_scale_of` these cases.
        std_scale: end of the scale of the standard deviations; None: `std_scale_of` these cases.

    Raises:
        ValueError: there is no case, shapes of a case differ, a value is not finite, or the protocol is unknown or
            for volumes.
    """
    chosen = slice_protocol(protocol)
    cases = [cases] if isinstance(cases, CaseImages) else list(cases)
    if not cases:
        raise ValueError("a figure needs at least one case, got none; evaluate data first")
    scales = _Scales(
        error_scale_of(cases) if error_scale is None else error_scale,
        std_scale_of(cases) if std_scale is None else std_scale,
    )
    blocks = [_Block(case) for case in cases]
    width, height = max(block.width for block in blocks), sum(block.height for block in blocks)
    figure = Figure(figsize=(width, height), facecolor="white")
    top = 0.0
    for block in blocks:
        block.draw(_Page(figure, top), chosen, scales)
        top += block.height
    return figure


def error_scale_of(cases: Sequence[CaseImages]) -> float:
    """Where the one scale of the error maps of these cases ends, in image units; 0 if none has a target.

    The largest 99th percentile of all error maps: a few bright edges of the worst image must not make all other
    errors black.

    Raises:
        ValueError: as `case_figure`.
    """
    ends = [
        float(np.quantile(error, 0.99))
        for case in cases
        if case.target is not None
        for error in _errors(_magnitudes(case), list(case.methods)).values()
    ]
    return max(ends, default=0.0)


def std_scale_of(cases: Sequence[CaseImages]) -> float:
    """Where the one scale of the standard deviations of these cases ends, as `error_scale_of` finds it; 0 without any.

    Raises:
        ValueError: as `case_figure`.
    """
    ends = [float(np.quantile(_magnitude("std", case.std), 0.99)) for case in cases if case.std is not None]
    return max(ends, default=0.0)


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 120) -> None:
    """Write a figure; the file appears whole or not at all, missing folders are made."""
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a file name in letters the font lacks
        figure.savefig(temporary, dpi=dpi)


def slice_protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        ValueError: it is unknown, or measures volumes rather than slices.
    """
    protocol = get_protocol(name)
    if protocol.scope == "volume":
        raise ValueError(f"a panel shows one slice and protocol {name!r} measures volumes; use 'magnitude_slice'")
    return protocol


def _magnitudes(case: CaseImages) -> dict[str, np.ndarray]:
    """The panels of a case: "mask" if there is one, the methods, and "target" if there is one."""
    images = {**case.methods} if case.mask is None else {"mask": case.mask, **case.methods}
    if case.target is not None:
        images["target"] = case.target
    panels = {name: _magnitude(name, image) for name, image in images.items()}
    shapes = {name: list(panel.shape) for name, panel in panels.items() if name != "mask"}
    if case.std is not None:
        shapes["std"] = list(case.std.shape)
    if len({tuple(shape) for shape in shapes.values()}) > 1:
        raise ValueError(f"a case figure needs images of one size, got {shapes}; crop or pad them first")
    return panels


def _magnitude(name: str, image: Image) -> np.ndarray:
    values = np.abs(_tensor(image).numpy()).astype(np.float32)
    if values.ndim != 2:
        raise ValueError(f"{name} must be an image [height, width], got shape {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity; look at the network or its training")
    return values


def _errors(panels: Mapping[str, np.ndarray], methods: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: np.abs(panels[name] - panels["target"]) for name in methods}


def _tensor(image: Image) -> Tensor:
    return torch.as_tensor(image).detach().cpu().as_subclass(Tensor)


def _quality(protocol: Protocol, image: Image, target: Image) -> str:
    values = protocol.evaluate(_tensor(image)[None], _tensor(target)[None], metrics=["psnr", "ssim"])
    return f"PSNR {values['psnr'].item():.2f} dB   SSIM {values['ssim'].item():.4f}"


def _shorten(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room // 2 - 2]} ... {text[4 - (room + 1) // 2 :]}"


@dataclass(frozen=True)
class _Scales:
    """Ends of the colour scales of a figure, in image units."""

    error: float
    std: float


class _Page:
    """A figure measured in inches from the left edge and from a line below its top."""

    def __init__(self, figure: Figure, top: float) -> None:
        self.figure = figure
        self.top = top
        self.width, self.height = figure.get_size_inches()

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - self.top - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def write(self, left: float, baseline: float, text: str, size: float) -> None:
        """Put a line of text; "$" is no formula."""
        x, y = left / self.width, 1 - (self.top + baseline) / self.height
        self.figure.text(x, y, text, fontsize=size, color="black", parse_math=False)


class _Block:
    """One case: panels of one size in a row, one below it with the zoomed parts, and one with the errors."""

    def __init__(self, case: CaseImages) -> None:
        if case.zoom < 1:
            raise ValueError(f"{case.title}: zoom must be 1 or more, got {case.zoom}")
        if case.std is not None and case.mask is None:
            raise ValueError(f"{case.title}: a standard deviation is drawn beside a mask, got none; give the mask")
        self.case = case
        self.panels = _magnitudes(case)
        self.std = None if case.std is None else _magnitude("std", case.std)
        self.with_errors = case.target is not None
        height, width = list(self.panels.values())[-1].shape
        self.panel_height = _PANEL_INCHES * min(1.0, height / width)
        # a narrow panel still has to hold the caption under it, and beside a colour bar the notes
        notes_by_bar = case.mask is None or self.std is not None
        self.panel_width = _PANEL_INCHES * max(1.0 if notes_by_bar else 0.8, min(1.0, width / height))
        below = 0.10 if self.with_errors or case.mask is None else _CAPTION
        self.row_height = _HEADING + self.panel_height + below
        self.zoom_height = self.panel_height + _GAP if case.zoom > 1 else 0.0
        # below the target; without one, right of all else
        self.std_place = (1, len(self.panels) - 1) if self.with_errors else (0, len(self.panels))
        columns = len(self.panels) if self.std is None else self.std_place[1] + 1
        self.width = 2 * _MARGIN + columns * self.panel_width + (columns - 1) * _GAP
        self.width += 0.0 if self.std is None else _BAR
        rows = 2 if self.with_errors else 1
        bottom = _CAPTION if self.with_errors else 0.05
        self.height = _TITLE + rows * self.row_height + self.zoom_height + bottom

    def draw(self, page: _Page, protocol: Protocol, scales: _Scales) -> None:
        page.write(_MARGIN, 0.24, _shorten(self.case.title, int(10 * self.width)), size=11)
        shown = list(self.panels.values())[-1]
        window = float(shown.max()) or 1.0
        part = detailed_part(shown, self.case.zoom)
        for column, (name, panel) in enumerate(self.panels.items()):
            axes = self._panel(page, column, self._top(0), _shorten(name, self._room))
            axes.imshow(panel, cmap="gray", vmin=0, vmax=1 if name == "mask" else window)
            if self.case.zoom > 1 and name != "mask":
                axes.add_patch(_frame(part))
                zoomed = self._panel(page, column, self._top(0) + self.panel_height + _GAP)
                zoomed.imshow(panel[part], cmap="gray", vmin=0, vmax=window)
        sampled = []
        if self.case.mask is not None:
            sampled = [f"{float((self.panels['mask'] > 0).mean()):.1%} of k-space sampled"]
        if self.std is not None:
            self._draw_std(page, self.std, scales.std)
        if self.with_errors:
            self._draw_errors(page, protocol, scales.error)
            notes = [
                *sampled,
                f"grey window 0 to {window:.3g}",
                f"errors 0 to {scales.error:.3g}",
                *([] if self.std is None else [f"deviation 0 to {scales.std:.3g}"]),
                "PSNR and SSIM by protocol",
                protocol.name,
            ]
            # under the mask; without one right of the colour bar, under the target
            left = self._left(0) if sampled else self._left(len(self.panels) - 1) + _BAR
            for line, text in enumerate(notes, start=1):
                page.write(left, self._top(1) + _LINE * line, text, size=8)
        elif sampled:
            page.write(self._left(0), self._top(0) + self.panel_height + _LINE, sampled[0], size=8)

    def _draw_errors(self, page: _Page, protocol: Protocol, scale: float) -> None:
        errors = _errors(self.panels, list(self.case.methods))
        assert self.case.target is not None  # for the type checker
        first = len(self.panels) - len(errors) - 1
        for column, (name, error) in enumerate(errors.items(), start=first):
            axes = self._panel(page, column, self._top(1), f"|{_shorten(name, self._room - 11)} - target|")
            drawn = axes.imshow(error, cmap="inferno", vmin=0, vmax=scale or 1e-6)
            quality = _quality(protocol, self.case.methods[name], self.case.target)
            page.write(self._left(column), self._top(1) + self.panel_height + _LINE, quality, size=8)
        if self.std is None:
            self._bar(page, drawn, self._left(len(self.panels) - 1) + 0.05, self._top(1))
        else:  # left of the errors, since the deviation is right of them
            self._bar(page, drawn, self._left(first) - _GAP - 0.05 - _BAR_WIDTH, self._top(1), ticks="left")

    def _draw_std(self, page: _Page, std: np.ndarray, scale: float) -> None:
        row, column = self.std_place
        number = "" if self.case.n_samples is None else f"{self.case.n_samples} "
        heading = _shorten(f"standard deviation of {number}samples", self._room)
        drawn = self._panel(page, column, self._top(row), heading).imshow(
            std, cmap="viridis", vmin=0, vmax=scale or 1e-6
        )
        image_width = min(self.panel_width, self.panel_height * std.shape[1] / std.shape[0])
        self._bar(page, drawn, self._left(column) + image_width + 0.05, self._top(row))

    def _bar(
        self, page: _Page, drawn: AxesImage, left: float, top: float, ticks: Literal["left", "right"] = "right"
    ) -> None:
        bar = page.figure.colorbar(drawn, cax=page.axes(left, top, _BAR_WIDTH, self.panel_height), extend="max")
        bar.ax.yaxis.set_ticks_position(ticks)
        bar.ax.tick_params(labelsize=8)

    @property
    def _room(self) -> int:
        """Letters in the heading of a panel."""
        return int(self.panel_width / _LETTER)

    def _left(self, column: int) -> float:
        return _MARGIN + column * (self.panel_width + _GAP)

    def _top(self, row: int) -> float:
        """Of the images (row 0) or the errors (row 1)."""
        return _TITLE + _HEADING + row * (self.row_height + self.zoom_height)

    def _panel(self, page: _Page, column: int, top: float, heading: str = "") -> Axes:
        axes = page.axes(self._left(column), top, self.panel_width, self.panel_height)
        axes.set_axis_off()
        axes.set_anchor("W")
        if heading:
            page.write(self._left(column), top - 0.07, heading, size=9)
        return axes


def _frame(part: tuple[slice, slice]) -> Rectangle:
    """About rows and columns of an image."""
    rows, columns = part
    corner = columns.start - 0.5, rows.start - 0.5
    size = columns.stop - columns.start, rows.stop - rows.start
    return Rectangle(corner, *size, fill=False, edgecolor="orange", linewidth=1)
