"""Ignite handlers that show what a super-resolution evaluates: a table of metrics, figures, images in TensorBoard.

For an evaluator that decollates (MONAI's default). Per item, ``engine.state.output`` has "image" (the low-resolution
image), "pred" and "label", ``(1, height, width[, depth])``, and ``engine.state.batch`` has "path" and "slice".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.figures import CaseImages, enlarged_case
from common.handlers.case_table import CaseTableHandler
from common.handlers.panels import RECONSTRUCTION, PanelHandler, TensorBoardPanelHandler, on_cpu
from common.metrics.super_resolution import Distance, super_resolution_protocol
from common.operators.degradation.resize import KERNELS, resize
from torch import Tensor


class SuperResolutionTable(CaseTableHandler):
    """Write the metrics of every image or volume, rows of the enlargements and ``reconstruction``, and log their table.

    Items whose label is None are left out.

    Args:
        output_dir: where ``metrics.csv`` goes; made if need be.
        upscale: ratio of the sizes; the protocol is ``super_resolution_x<upscale>``.
        baselines: kernels of the enlargements, see :func:`common.operators.degradation.resize`; the last is the row
            that ``reconstruction`` is compared with.
        perceptual: adds the column ``perceptual``, see :class:`common.metrics.PerceptualDistance`.
        no_reference: adds the column ``piqe``, see :func:`common.metrics.piqe`.
    """

    def __init__(
        self,
        output_dir: str | Path,
        upscale: int,
        baselines: Sequence[str] = ("nearest", "bicubic"),
        perceptual: Distance | None = None,
        no_reference: bool = True,
    ) -> None:
        super().__init__(output_dir, [super_resolution_protocol(upscale, perceptual, no_reference)])
        self.baselines = _checked_kernels(baselines)
        self.baseline = self.baselines[-1]

    def _baselines(self, measured: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {kernel: resize(measured.float(), target.shape[1:], kernel)[:, 0] for kernel in self.baselines}


class SuperResolutionPanels(PanelHandler):
    """Draw cases at the end of an evaluation: those spread evenly over it, the best and the worst.

    A figure per case: enlargements, reconstruction and target, a row of zoomed parts where the target has the most
    detail, and error maps of one scale in all figures. Of volumes the middle plane is drawn, and measured. See
    :class:`common.handlers.PanelHandler`.

    Args:
        output_dir: folder of the figures; made if need be.
        upscale: ratio of the sizes; the protocol is ``super_resolution_x<upscale>``.
        max_cases: figures per process and run, spread over its images.
        zoom: how many times larger the parts are shown; 1 leaves their row out.
        baselines: kernels of the enlargements, as for :class:`SuperResolutionTable`.
        n_extremes: how many of the best and how many of the worst cases, by PSNR gain over the last baseline, are drawn
            besides.
    """

    def __init__(
        self,
        output_dir: str | Path,
        upscale: int,
        max_cases: int = 8,
        zoom: int = 4,
        baselines: Sequence[str] = ("nearest", "bicubic"),
        n_extremes: int = 3,
    ) -> None:
        if zoom < 1:
            raise ValueError(f"zoom must be 1 or more, got {zoom}")
        self.zoom = zoom
        self.baselines = _checked_kernels(baselines)
        self.baseline = self.baselines[-1]
        super().__init__(output_dir, max_cases, super_resolution_protocol(upscale).name, n_extremes)

    def _case(self, where: dict[str, Any], images: dict[str, Any]) -> CaseImages:
        return _case(where, images, self.baselines, self.zoom)


class TensorBoardSuperResolution(TensorBoardPanelHandler):
    """Log, at each validation, a grid of images: bicubic, reconstruction, target, error times five.

    See :class:`common.handlers.TensorBoardPanelHandler`; of volumes the middle plane is shown.

    Args:
        log_dir: of the TensorBoard files; a writer is opened at the first image.
        n_cases: rows of the grid.
        tag: name of the image in TensorBoard.
    """

    def __init__(
        self, log_dir: str | Path, n_cases: int = 4, tag: str = "validation/bicubic_reconstruction_target_error-x5"
    ) -> None:
        super().__init__(log_dir, n_cases, tag)

    def _case(self, where: dict[str, Any], images: dict[str, Any]) -> CaseImages:
        return _case(where, images, ["bicubic"], zoom=1)


def _case(where: dict[str, Any], images: dict[str, Any], kernels: Sequence[str], zoom: int) -> CaseImages:
    lr_image, sr_image = on_cpu(images["image"]).float(), on_cpu(images["pred"]).float()
    label = images.get("label")
    enlarged = {kernel: resize(lr_image[None], sr_image.shape[1:], kernel)[0] for kernel in kernels}
    return enlarged_case(
        path=str(where["path"]),
        slice_index=int(where["slice"]),
        methods={**enlarged, RECONSTRUCTION: sr_image},
        target=None if label is None else on_cpu(label).float(),
        zoom=zoom,
    )


def _checked_kernels(kernels: Sequence[str]) -> list[str]:
    if isinstance(kernels, str) or not kernels or not set(kernels) <= set(KERNELS):
        raise ValueError(f"baselines must be a list of {', '.join(KERNELS)}, got {kernels!r}")
    return list(kernels)
