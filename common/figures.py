"""Figures of reconstructed cases, drawn without any global matplotlib state."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from common.data.atomic import atomic_path
from common.metrics import Protocol, get_protocol

Image = np.ndarray | Tensor

_PANEL_INCHES = 2.4  # the longer side of one panel
_GAP = 0.08
_MARGIN = 0.12
_TITLE = 0.40
_HEADING = 0.24
_CAPTION = 0.26


def case_figure(
    mask: Image,
    zero_filled: Image,
    reconstruction: Image,
    target: Image | None = None,
    *,
    title: str = "",
    protocol: str = "magnitude_slice",
) -> Figure:
    """Draw one case: mask | zero-filled | reconstruction | target, and below the two error maps.

    The magnitudes share one window, from 0 to the largest of the target (of the reconstruction without a target);
    the errors |magnitude - target's magnitude| share one scale, with a colour bar. Under the errors are PSNR and SSIM
    by the named protocol.

    Args:
        mask: 1 where sampled, `(height, width)`.
        zero_filled: complex or real, same size.
        reconstruction: complex or real, same size.
        target: complex or real, same size; None: only the images are drawn.
        title: of the figure, printed as it is.
        protocol: name of a per-slice protocol.

    Raises:
        ValueError: shapes differ, a value is not finite, or the protocol is unknown or for volumes.
    """
    chosen = slice_protocol(protocol)
    images = {"mask": mask, "zero-filled": zero_filled, "reconstruction": reconstruction}
    if target is not None:
        images["target"] = target
    panels = {name: _magnitude(name, image) for name, image in images.items()}
    shape = panels["mask"].shape
    if len({panel.shape for panel in panels.values()}) > 1:
        shapes = {name: list(panel.shape) for name, panel in panels.items()}
        raise ValueError(f"a case figure needs images of one size, got {shapes}; crop or pad them first")

    layout = _Layout(shape, n_columns=len(panels), with_errors=target is not None)
    figure = layout.figure
    if title:
        room = int(10 * layout.width)  # characters
        shown = title if len(title) <= room else f"{title[: room // 2 - 3]} ... {title[3 - room // 2 :]}"
        layout.write(0, 0.24, shown, size=11)
    window = float(panels["reconstruction" if target is None else "target"].max()) or 1.0
    for column, (name, panel) in enumerate(panels.items()):
        axes = layout.axes(column, row=0, heading=name)
        axes.imshow(panel, cmap="gray", vmin=0, vmax=1 if name == "mask" else window)
    sampled = f"{float((panels['mask'] > 0).mean()):.1%} of k-space sampled"
    if target is None:
        layout.caption(0, 0, sampled)
        return figure

    errors = {name: np.abs(panels[name] - panels["target"]) for name in ("zero-filled", "reconstruction")}
    # the 99.8th percentile: one bright vessel must not make all other errors black
    scale = max(float(np.quantile(error, 0.998)) for error in errors.values()) or 1e-6
    for column, (name, error) in enumerate(errors.items(), start=1):
        axes = layout.axes(column, row=1, heading=f"|{name} - target|")
        drawn = axes.imshow(error, cmap="inferno", vmin=0, vmax=scale)
        layout.caption(column, 1, _quality(chosen, images[name], images["target"]))
    bar = figure.colorbar(drawn, cax=layout.bar_axes(column=3, row=1), extend="max")
    bar.ax.tick_params(labelsize=8)
    layout.note(0, 1, [sampled, f"grey window 0 to {window:.3g}", "PSNR and SSIM by protocol", chosen.name])
    return figure


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
    if protocol.scope != "slice":
        raise ValueError(f"a panel shows one slice and protocol {name!r} measures volumes; use 'magnitude_slice'")
    return protocol


def _magnitude(name: str, image: Image) -> np.ndarray:
    values = np.abs(_tensor(image).numpy()).astype(np.float32)
    if values.ndim != 2:
        raise ValueError(f"{name} must be an image [height, width], got shape {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity; look at the network or its training")
    return values


def _tensor(image: Image) -> Tensor:
    return torch.as_tensor(image).detach().cpu().as_subclass(Tensor)


def _quality(protocol: Protocol, image: Image, target: Image) -> str:
    values = protocol.evaluate(_tensor(image)[None], _tensor(target)[None], metrics=["psnr", "ssim"])
    return f"PSNR {values['psnr'].item():.2f} dB   SSIM {values['ssim'].item():.4f}"


class _Layout:
    """Panels of one size in one or two rows, placed in inches from the upper left corner."""

    def __init__(self, shape: tuple[int, ...], n_columns: int, with_errors: bool) -> None:
        height, width = shape
        # a narrow panel still has to hold the caption under it
        self.panel_height = _PANEL_INCHES * min(1.0, height / width)
        self.panel_width = _PANEL_INCHES * max(0.8, min(1.0, width / height))
        self.row_height = _HEADING + self.panel_height + (0.10 if with_errors else _CAPTION)
        self.width = 2 * _MARGIN + n_columns * self.panel_width + (n_columns - 1) * _GAP
        self.height = _TITLE + (2 if with_errors else 1) * self.row_height + (_CAPTION if with_errors else 0.05)
        self.figure = Figure(figsize=(self.width, self.height), facecolor="white")

    def _left(self, column: int) -> float:
        return _MARGIN + column * (self.panel_width + _GAP)

    def _add_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def _top(self, row: int) -> float:
        return _TITLE + row * self.row_height + _HEADING

    def axes(self, column: int, row: int, heading: str) -> Axes:
        axes = self._add_axes(self._left(column), self._top(row), self.panel_width, self.panel_height)
        axes.set_axis_off()
        axes.set_anchor("W")
        self.write(column, self._top(row) - 0.07, heading, size=9)
        return axes

    def bar_axes(self, column: int, row: int) -> Axes:
        return self._add_axes(self._left(column) + 0.05, self._top(row), 0.14, self.panel_height)

    def caption(self, column: int, row: int, text: str) -> None:
        self.write(column, self._top(row) + self.panel_height + 0.17, text, size=8)

    def note(self, column: int, row: int, lines: list[str]) -> None:
        for index, line in enumerate(lines):
            self.write(column, self._top(row) + 0.17 * (index + 1), line, size=8)

    def write(self, column: int, baseline: float, text: str, size: float) -> None:
        """Put a line of text at the left edge of a column, `baseline` inches below the top; "$" is no formula."""
        x, y = self._left(column) / self.width, 1 - baseline / self.height
        self.figure.text(x, y, text, fontsize=size, color="black", parse_math=False)
