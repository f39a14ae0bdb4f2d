"""Ignite handlers that show evaluated cine series: as PNG figures, and as images in TensorBoard."""

from __future__ import annotations

from pathlib import Path

from common.handlers.cases import series_case
from common.handlers.panels import PanelHandler, TensorBoardPanelHandler


class CinePanels(PanelHandler):
    """Draw series at the end of an evaluation: the best, the worst, and further ones spread evenly over it.

    A figure per series: aliased, view sharing where k-space was measured, reconstruction, target and the error of the
    reconstruction, at two frames far apart and along a row of pixels over time; errors have one scale in all figures.
    See :class:`common.handlers.PanelHandler` and :func:`common.figures.series_figure`. The series are kept in memory
    until the end.

    Args:
        output_dir: folder of the figures; made if need be.
        max_cases: most figures of a run; None: 8, of series with a target alone.
        protocol: protocol that gives a value per series.
        n_extremes: number of the best and of the worst series, by PSNR gain over the aliased one, among these.
    """

    def __init__(
        self, output_dir: str | Path, max_cases: int | None = None, protocol: str = "cine_series", n_extremes: int = 2
    ) -> None:
        super().__init__(output_dir, max_cases, protocol, n_extremes, make=series_case)


class TensorBoardCine(TensorBoardPanelHandler):
    """Log, at each validation, a grid of images: input, baseline, reconstruction, target, error times five.

    A row per series: one of its two most distant frames, and below it a row of pixels over time. See
    :class:`common.handlers.TensorBoardPanelHandler`.

    Args:
        log_dir: folder of the TensorBoard files; a writer is opened at the first image.
        n_cases: rows of the grid.
        tag: name of the image in TensorBoard.
    """

    def __init__(
        self, log_dir: str | Path, n_cases: int = 4, tag: str = "validation/input_reconstruction_target_error-x5"
    ) -> None:
        super().__init__(log_dir, n_cases, tag, make=series_case)
