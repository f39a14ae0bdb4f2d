"""Named protocols: what exactly a PSNR, SSIM or NMSE was computed on.

A protocol prepares the two images (magnitude, offset, crop) and names a measure per metric. A further
one, with a task metric say, is one more entry of ``PROTOCOLS``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from common.metrics.measures import ImageTooSmallError, gaussian_window, mse, nmse, psnr, ssim, uniform_window
from torch import Tensor

logger = logging.getLogger("recon")

Measure = Callable[[Tensor, Tensor], Tensor]

_SHAPES = {"image": ((3, 4), "height, width[, depth]"), "cine": ((4,), "height, width, frames")}  # others: slices


@dataclass(frozen=True)
class Protocol:
    """How image quality is measured, under a name to print beside each number.

    Attributes:
        name: the key in ``PROTOCOLS``.
        description: one line.
        scope: "slice" gives a value per slice; "volume" takes the batch as one volume and gives one; "image" gives a
            value per item of the batch, slices or whole volumes; "cine" a value per series of frames.
        prepare: maps (prediction, target), complex or real, to the real images that are compared.
        measures: metric name to function of the prepared images.
    """

    name: str
    description: str
    scope: Literal["slice", "volume", "image", "cine"]
    prepare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    measures: Mapping[str, Measure]

    @property
    def units(self) -> str:
        """Plural name of the things that get a value each, such as "slices"."""
        return "series" if self.scope == "cine" else f"{self.scope}s"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order they are printed."""
        return tuple(self.measures)

    def with_measures(self, **measures: Measure) -> Protocol:
        """Return a copy with further metrics; it keeps its name."""
        return replace(self, measures={**self.measures, **measures})

    def require(self, metrics: Iterable[str]) -> tuple[str, ...]:
        """Return ``metrics`` as a tuple.

        Raises:
            ValueError: if one is not a metric of this protocol.
        """
        chosen = tuple(metrics)
        if unknown := [metric for metric in chosen if metric not in self.measures]:
            raise ValueError(f"protocol {self.name!r} has the metrics {list(self.metrics)}, got {unknown}")
        return chosen

    @torch.no_grad()
    def evaluate(self, prediction: Tensor, target: Tensor, metrics: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Measure a batch, on its device and in float64.

        Args:
            prediction: complex or real, ``(batch, height, width)``, magnitudes in [0, 1]; with scope "image" also
                ``(batch, height, width, depth)``, with scope "cine" ``(batch, height, width, frames)``.
            target: the same shape.
            metrics: names to compute; None for all.

        Returns:
            metric name to float64 ``(batch,)``, or ``(1,)`` for a volume. PSNR of identical images is
            infinite, and that of a series with one identical frame. A metric is NaN where it is undefined: NMSE and
            NRMSE for a target of zeros, all three of ``fastmri_volume`` for a volume of zeros, and with a note in the
            log the metrics that need larger images, such as SSIM for images smaller than its window.

        Raises:
            ValueError: for unknown metrics, shapes that differ, and values that are not finite.
        """
        chosen = self.metrics if metrics is None else self.require(metrics)
        prediction, target = prediction.as_subclass(Tensor), target.as_subclass(Tensor)
        dims, shape = _SHAPES.get(self.scope, ((3,), "height, width"))
        if prediction.shape != target.shape or prediction.dim() not in dims or prediction.shape[0] == 0:
            raise ValueError(
                f"protocol {self.name!r} expects prediction and target of one shape (batch, {shape}), "
                f"got {list(prediction.shape)} and {list(target.shape)}; convert channels to complex first"
            )
        for word, image in (("prediction", prediction), ("target", target)):
            # the sum is finite if all values are, but for an overflow: a fiftieth of the time of the full check
            total = (torch.view_as_real(image) if image.is_complex() else image).sum()
            if not total.isfinite() and not torch.isfinite(image).all():
                bad = [i for i, ok in enumerate(torch.isfinite(image).flatten(1).all(1).tolist()) if not ok]
                raise ValueError(
                    f"protocol {self.name!r} expects finite images, got NaN or infinity in the {word}, batch items "
                    f"{bad}; check the network (or its training) if it is the prediction, the file if the target"
                )
        undefined = target.new_full((1 if self.scope == "volume" else len(target),), torch.nan, dtype=torch.float64)
        try:
            images = self.prepare(prediction, target)
        except ImageTooSmallError as error:
            _note_once(f"{', '.join(chosen)} of {self.name}: undefined, {error}")
            return dict.fromkeys(chosen, undefined)
        values = {}
        for metric in chosen:
            try:
                values[metric] = self.measures[metric](*images)
            except ImageTooSmallError as error:
                _note_once(f"{metric} of {self.name}: undefined, {error}")
                values[metric] = undefined
        return values


@cache
def _note_once(text: str) -> None:
    logger.warning(text)


def magnitude(image: Tensor) -> Tensor:
    """Magnitude in float64; of a real image, its absolute value in its own type."""
    if not image.is_complex():
        return image.abs()
    # a third of the time of abs(), which guards against the overflow that float64 does not have here
    real, imaginary = image.real.double(), image.imag.double()
    return torch.addcmul(real.square(), imaginary, imaginary).sqrt()


def _magnitudes(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return magnitude(prediction), magnitude(target)


def _shifted_magnitudes(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    shifted_prediction, shifted_target = (image.to(torch.complex128) + 0.5j for image in (prediction, target))
    return magnitude(shifted_prediction), magnitude(shifted_target).clamp(max=1.0)


def _inside(border: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images without their border; complex ones as their magnitude, real ones clipped to [0, 1]."""

    def inside(image: Tensor) -> Tensor:
        if min(image.shape[1:]) <= 2 * border:
            raise ImageTooSmallError(
                f"expected images larger than {2 * border} pixels, {border} of them cropped at each side, got "
                f"{list(image.shape[1:])}; use another protocol"
            )
        real = magnitude(image) if image.is_complex() else image.double()
        return real.clamp(0, 1)[(slice(None), *[slice(border, -border)] * (real.dim() - 1))]

    return lambda prediction, target: (inside(prediction), inside(target))


def _ssim_gaussian(prediction: Tensor, target: Tensor) -> Tensor:
    return ssim(prediction, target, gaussian_window())


def _peak(target: Tensor) -> Tensor:
    """Maximum of a volume; NaN for a volume of zeros, which makes each metric NaN."""
    peak = target.max().double()
    return torch.where(peak > 0, peak, torch.nan)


def _volume_psnr(prediction: Tensor, target: Tensor) -> Tensor:
    return psnr(prediction[None], target[None], data_range=_peak(target))


def _volume_ssim(prediction: Tensor, target: Tensor) -> Tensor:
    slices = ssim(prediction, target, uniform_window(), data_range=_peak(target), sample_covariance=True)
    return slices.mean(0, keepdim=True)


def _volume_nmse(prediction: Tensor, target: Tensor) -> Tensor:
    return nmse(prediction[None], target[None])


def _nrmse(prediction: Tensor, target: Tensor) -> Tensor:
    return nmse(prediction, target).sqrt()


def series_frames(series: Tensor) -> Tensor:
    """``(batch, height, width, frames)`` to ``(batch * frames, height, width)``."""
    return series.movedim(-1, 1).flatten(0, 1)


def _frame_mean(measure: Measure) -> Measure:
    """The mean over a series' frames of a measure of images."""

    def of_series(prediction: Tensor, target: Tensor) -> Tensor:
        return measure(series_frames(prediction), series_frames(target)).unflatten(0, (len(target), -1)).mean(1)

    return of_series


_SLICE_MEASURES: dict[str, Measure] = {"psnr": psnr, "ssim": _ssim_gaussian, "nmse": nmse}
_FRAME_MEASURES: dict[str, Measure] = {"psnr": psnr, "ssim": _ssim_gaussian, "mse": mse, "nrmse": _nrmse}

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="magnitude_slice",
            description="magnitudes, data range 1, a value per slice; SSIM in a Gaussian window (11, sigma 1.5)",
            scope="slice",
            prepare=_magnitudes,
            measures=_SLICE_MEASURES,
        ),
        Protocol(
            name="refinegan_shifted",
            description="as magnitude_slice, of |prediction + 0.5j| and min(|target + 0.5j|, 1), as RefineGAN's tables",
            scope="slice",
            prepare=_shifted_magnitudes,
            measures=_SLICE_MEASURES,
        ),
        Protocol(
            name="fastmri_volume",
            description="magnitudes, data range the target volume's maximum, a value per volume, as fastmri.evaluate",
            scope="volume",
            prepare=_magnitudes,
            measures={"psnr": _volume_psnr, "ssim": _volume_ssim, "nmse": _volume_nmse},
        ),
        Protocol(
            name="cine_frame",
            description="magnitudes, data range 1, a value per frame; SSIM in a Gaussian window (11, sigma 1.5), NRMSE "
            "|x - y| / |y|",
            scope="slice",
            prepare=_magnitudes,
            measures=_FRAME_MEASURES,
        ),
        Protocol(
            name="cine_series",
            description="magnitudes, data range 1, a value per series: the mean of its frames' PSNR and 2-D SSIM "
            "(Gaussian window, 11, sigma 1.5), MSE and NRMSE |x - y| / |y| over all of it",
            scope="cine",
            prepare=_magnitudes,
            measures={**_FRAME_MEASURES, "psnr": _frame_mean(psnr), "ssim": _frame_mean(_ssim_gaussian)},
        ),
        *(
            Protocol(
                name=f"super_resolution_x{upscale}",
                description=f"clipped to [0, 1], data range 1, {upscale} pixels cropped at each border; SSIM in a "
                "Gaussian window (11, sigma 1.5)",
                scope="image",
                prepare=_inside(border=upscale),
                measures=_SLICE_MEASURES,
            )
            for upscale in (2, 4, 8)
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """Look a protocol up.

    Raises:
        ValueError: for an unknown name; lists the choices.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; choose one of {sorted(PROTOCOLS)}")
    return PROTOCOLS[name]
