"""Many figures of cases, written quickly."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common.figures.case import CaseDrawing
from common.figures.case import figure_size as case_size
from common.figures.series import SeriesDrawing
from common.figures.series import figure_size as series_size
from common.io.atomic import atomic_path
from common.metrics.case import Case
from common.metrics.protocols import get_protocol
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

COMPRESSION = 1
"""Level of the PNG files: a fifth larger than by the usual 6, written in a third of the time."""


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 120) -> None:
    """Write a figure as PNG; the file appears whole or not at all, missing folders are made."""
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a file name in letters the font lacks
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # once, where Figure.savefig draws twice
        Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(temporary, "PNG", compress_level=COMPRESSION)


@dataclass
class CaseDrawer:
    """Writes figures of cases; cases of one layout share a figure, which is laid out once.

    Attributes:
        protocol: name of the protocol of PSNR and SSIM.
        zoom: magnification of the detailed part, see :func:`common.figures.case_figure`.
        error_scale: end of the scale of all error maps, in image units.
        std_scale: end of the scale of all standard deviations, in image units.
    """

    protocol: str
    zoom: int = 1
    error_scale: float = 0.0
    std_scale: float = 0.0
    _drawn: dict[Any, tuple[Figure, CaseDrawing | SeriesDrawing]] = field(default_factory=dict, repr=False)

    def save(self, case: Case, path: str | Path) -> None:
        """Write the figure of a case."""
        shape = tuple(next(iter(case.methods.values())).shape)
        parts = (case.target is None, case.mask is None, case.std is None, case.series)
        layout = (shape, *case.methods, *parts)
        if new := layout not in self._drawn:
            size = series_size(case) if case.series else case_size(case, self.zoom)
            figure = Figure(figsize=size, layout="constrained", facecolor="white")
            drawing = SeriesDrawing(figure, case) if case.series else CaseDrawing(figure, case, self.zoom)
            self._drawn[layout] = figure, drawing
        figure, drawing = self._drawn[layout]
        if isinstance(drawing, SeriesDrawing):
            drawing.show(case, get_protocol(self.protocol), self.error_scale)
        else:
            drawing.show(case, get_protocol(self.protocol), self.error_scale, self.std_scale)
        save_figure(figure, path)
        if new:
            figure.set_layout_engine("none")  # keeps the places that were found
