"""Ignite handlers that show evaluated cine series: as PNG figures, and as images in TensorBoard.

For an evaluator that decollates (MONAI's default). Per item, ``engine.state.output`` has "image" (what the network got:
aliased magnitudes, or a measurement, see :func:`common.metrics.aliased_series`), "pred" and "label" (which may be
None), ``(1 or 2, height, width, frames)``, and ``engine.state.batch`` has "path" and "slice".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from common.figures import RECONSTRUCTION, CaseImages, save_figure
from common.handlers.panels import PanelHandler, TensorBoardPanelHandler, on_cpu
from common.metrics import aliased_series
from common.metrics.protocol_metric import image_from_channels
from common.panel_files import PanelIndex
from common.series_figure import SeriesImages, frame_over_profile, series_error_scale, series_figure
from torch import Tensor

ALIASED = "aliased"


class CinePanels(PanelHandler):
    """Draw series at the end of an evaluation: those spread evenly over it, the best and the worst.

    A figure per series: aliased, reconstruction, target and the error of the reconstruction, at two frames far apart
    and along a row of pixels over time; errors have one scale in all figures. See :class:`common.handlers.PanelHandler`
    and :func:`common.series_figure.series_figure`. The series are kept in memory until the end.

    Args:
        output_dir: folder of the figures; made if need be.
        max_cases: figures per process and run, spread over its series.
        protocol: one that gives a value per series.
        n_extremes: how many of the best and how many of the worst series, by PSNR gain over the aliased one, are drawn
            besides.
    """

    baseline = ALIASED

    def __init__(
        self, output_dir: str | Path, max_cases: int = 8, protocol: str = "cine_series", n_extremes: int = 3
    ) -> None:
        super().__init__(output_dir, max_cases, protocol, n_extremes)

    def _case(self, where: dict[str, Any], images: dict[str, Any]) -> CaseImages:
        return _case(where, images)

    def _scales(self, cases: Sequence[CaseImages]) -> tuple[float, float]:
        return series_error_scale(cast("Sequence[SeriesImages]", cases)), 0.0

    def _write(self, index: PanelIndex, cases: Sequence[CaseImages]) -> None:
        for case in cast("Sequence[SeriesImages]", cases):
            figure = series_figure(case, index.protocol, index.error_scale)
            save_figure(figure, self.output_dir / index.pictures[case.path, case.slice_index])


class TensorBoardCine(TensorBoardPanelHandler):
    """Log, at each validation, a grid of images: aliased, reconstruction, target, error times five.

    A row per series: one of its two most distant frames, and below it a row of pixels over time. See
    :class:`common.handlers.TensorBoardPanelHandler`.

    Args:
        log_dir: of the TensorBoard files; a writer is opened at the first image.
        n_cases: rows of the grid.
        tag: name of the image in TensorBoard.
    """

    def __init__(
        self, log_dir: str | Path, n_cases: int = 4, tag: str = "validation/aliased_reconstruction_target_error-x5"
    ) -> None:
        super().__init__(log_dir, n_cases, tag)

    def _case(self, where: dict[str, Any], images: dict[str, Any]) -> CaseImages:
        return _case(where, images)

    def _row(self, case: CaseImages) -> list[np.ndarray]:
        series = cast("SeriesImages", case)
        return [frame_over_profile(panel, series.frames[-1], series.row) for panel in super()._row(case)]


def _case(where: dict[str, Any], images: dict[str, Any]) -> SeriesImages:
    label = images.get("label")
    aliased = aliased_series(on_cpu(images["image"])[None])[0]
    return SeriesImages(
        path=str(where["path"]),
        slice_index=int(where["slice"]),
        mask=None,
        methods={ALIASED: _magnitudes(aliased), RECONSTRUCTION: _magnitudes(images["pred"])},
        target=None if label is None else _magnitudes(label),
    )


def _magnitudes(channels: Tensor) -> Tensor:
    """Of ``(1 or 2, height, width, frames)``, the magnitudes ``(height, width, frames)``."""
    return image_from_channels(on_cpu(channels)[None])[0].abs()
