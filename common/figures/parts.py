"""Parts that figures of slices and of series have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from common.metrics.case import Case
from common.metrics.cases import case_name, label
from common.metrics.protocols import Protocol
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.text import Text

PANEL_INCHES = 2.3
GREY, ERROR, STD = "gray", "inferno", "viridis"


class Drawing:
    """A grid of panels whose images and texts can be replaced by those of another case of the same layout.

    Args:
        figure: empty figure, or a part of one.
        n_rows: rows of the grid.
        n_columns: columns of the grid.
        options: further ones of ``Figure.subplots``.
    """

    def __init__(self, figure: Figure | SubFigure, n_rows: int, n_columns: int, **options: Any) -> None:
        self.figure = figure
        self.grid: np.ndarray = figure.subplots(n_rows, n_columns, squeeze=False, **options)
        self._images: dict[Axes, AxesImage] = {}
        self._head: Text | None = None
        for axes in self.grid.flat:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)

    def show(self, axes: Axes, image: np.ndarray, cmap: str, end: float, **options: Any) -> AxesImage:
        """Draw an image from 0 to `end`, or replace the one in these axes."""
        if axes not in self._images:
            self._images[axes] = axes.imshow(image, cmap=cmap, **options)
        drawn = self._images[axes]
        drawn.set_data(image)
        drawn.set_clim(0, end or 1e-6)
        return drawn

    def title(self, axes: Axes, text: str) -> None:
        """Write above a panel."""
        room = int(13.5 * self.figure.bbox.width / self.figure.dpi / self.grid.shape[1])
        axes.set_title(shorten(text, room), loc="left", fontsize=9, parse_math=False)

    def below(self, axes: Axes, text: str) -> None:
        """Write below a panel."""
        axes.set_xlabel(text, loc="left", fontsize=8, labelpad=2)

    def bar(self, image: AxesImage, axes: Axes, place: tuple[float, float, float, float]) -> None:
        """Draw a colour bar at (left, bottom, width, height) of axes, if none is there."""
        if not axes.child_axes:
            bar = self.figure.colorbar(image, cax=axes.inset_axes(place), extend="max")
            bar.ax.tick_params(labelsize=8)

    def head(self, case: Case, notes: str, middle_plane: bool = False) -> None:
        """Write the name of a case and a line of notes above all panels."""
        room = int(12 * self.figure.bbox.width / self.figure.dpi)
        place = case_name((case.path, case.slice_index)) + (", middle plane" if middle_plane else "")
        title = f"{shorten(place, room)}\n{notes}"
        if self._head is None:
            self._head = self.figure.suptitle(title, x=0.01, ha="left", fontsize=9, parse_math=False)
        self._head.set_text(title)  # stays where the layout has put it


def method_title(case: Case, method: str) -> str:
    """Name of a method of a case in words; a mean of samples says so."""
    if method != case.reconstruction or case.std is None:
        return label(method)
    return f"{label(method)} (mean of {case.n_samples or 'samples'})"


def quality(case: Case, method: str, protocol: Protocol) -> str:
    """PSNR and SSIM of a method in words."""
    values = case.values(protocol, method)
    return f"PSNR {values['psnr']:.2f} dB   SSIM {values['ssim']:.4f}"


def shorten(text: str, room: int) -> str:
    """Text of at most `room` letters; of a longer one the middle is left out."""
    return text if len(text) <= room else f"{text[: room // 2 - 2]} ... {text[4 - (room + 1) // 2 :]}"
