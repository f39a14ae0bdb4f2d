"""Ignite handlers that show what a super-resolution evaluates: a table of metrics, figures, images in TensorBoard.

See :class:`common.handlers.cases.EnlargedCase` for what the evaluator's items hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import require_at_least
from common.handlers.case_table import CaseTableHandler
from common.handlers.cases import EnlargedCase
from common.handlers.panels import PanelHandler, TensorBoardPanelHandler
from common.metrics.super_resolution import Distance, super_resolution_protocol

KERNELS = ("nearest", "bicubic")


class SuperResolutionTable(CaseTableHandler):
    """Write the metrics of every image or volume, rows of the enlargements and ``reconstruction``, and log their table.

    Items whose label is None are left out.

    Args:
        output_dir: folder of ``metrics.csv``; made if need be.
        upscale: ratio of the sizes; the protocol is ``super_resolution_x<upscale>``.
        baselines: kernels of the enlargements, see :func:`common.operators.degradation.resize`; the last is the row
            that ``reconstruction`` is compared with.
        perceptual: function of the column ``perceptual``, see :class:`common.metrics.PerceptualDistance`.
        no_reference: True adds the column ``piqe``, see :func:`common.metrics.piqe`.
    """

    def __init__(
        self,
        output_dir: str | Path,
        upscale: int,
        baselines: Sequence[str] = KERNELS,
        perceptual: Distance | None = None,
        no_reference: bool = True,
    ) -> None:
        protocol = super_resolution_protocol(upscale, perceptual, no_reference)
        make = _make(baselines)
        super().__init__(output_dir, [protocol], make=make, baseline=make.kernels[-1])


class SuperResolutionPanels(PanelHandler):
    """Draw enlargements, reconstruction, target and error maps of cases at the end of an evaluation.

    A row of zoomed parts is where the target has the most detail. Of volumes the middle plane is drawn; PSNR and SSIM
    are those of the volume.

    Args:
        output_dir, max_cases, n_extremes: arguments of :class:`common.handlers.PanelHandler`.
        upscale: ratio of the sizes; the protocol is ``super_resolution_x<upscale>``.
        zoom: magnification of the parts; 1 leaves their row out.
        baselines: kernels of the enlargements, as for :class:`SuperResolutionTable`.
    """

    def __init__(
        self,
        output_dir: str | Path,
        upscale: int,
        max_cases: int | None = None,
        zoom: int = 4,
        baselines: Sequence[str] = KERNELS,
        n_extremes: int = 2,
    ) -> None:
        require_at_least(1, zoom=zoom)
        protocol = super_resolution_protocol(upscale).name
        super().__init__(output_dir, max_cases, protocol, n_extremes, make=_make(baselines), zoom=zoom)


class TensorBoardSuperResolution(TensorBoardPanelHandler):
    """Log a grid of images at each validation: bicubic, reconstruction, target, error times five.

    Of volumes the middle plane is logged. Arguments are those of :class:`common.handlers.TensorBoardPanelHandler`.
    """

    def __init__(
        self, log_dir: str | Path, n_cases: int = 4, tag: str = "validation/bicubic_reconstruction_target_error-x5"
    ) -> None:
        super().__init__(log_dir, n_cases, tag, make=EnlargedCase(("bicubic",)))


def _make(kernels: Sequence[str]) -> EnlargedCase:
    return EnlargedCase(kernels if isinstance(kernels, str) else tuple(kernels))  # type: ignore[arg-type]
