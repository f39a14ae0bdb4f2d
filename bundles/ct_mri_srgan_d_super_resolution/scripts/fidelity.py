"""Ignite handler: by spatial frequency, what enlarged images keep of the truth and what they add; errors by window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from common.handlers import CaseTableHandler
from common.handlers.cases import EnlargedCase
from common.handlers.super_resolution import KERNELS
from common.metrics import Protocol
from common.metrics.protocols import Measure
from torch import Tensor

BANDS = {"low": (0.0, 1.0), "middle": (1.0, 2.0), "high": (2.0, 4.0)}
"""Lower and upper limit of each band, in multiples of the highest frequency of the low-resolution image."""


class FidelityTable(CaseTableHandler):
    """Write ``fidelity.csv``: rows ``bicubic`` and ``reconstruction`` of every image; see :func:`fidelity_protocol`.

    Args:
        output_dir: folder of the file; made if need be.
        upscale: ratio of the sizes.
        intensity_range: stored values of 0 and 1; if it is no pair of numbers, errors are in units of the data range.
        windows: ranges of stored values of the truth by name, see :func:`fidelity_protocol`.

    Raises:
        ValueError: for windows without a pair of numbers as ``intensity_range``.
    """

    def __init__(
        self,
        output_dir: str | Path,
        upscale: int,
        intensity_range: str | Sequence[float] = "auto",
        windows: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        known = not isinstance(intensity_range, str)
        if windows and not known:
            raise ValueError(
                f"fidelity#windows are stored values, and what they are in [0, 1] does not follow from intensity_range "
                f"{intensity_range!r}; give two numbers, for example --intensity_range '[-1000, 2000]'"
            )
        low, high = (float(value) for value in intensity_range) if known else (0.0, 1.0)
        protocols = [fidelity_protocol(upscale, low, high, windows or {})]
        make = EnlargedCase(KERNELS)
        rows = ("bicubic", "reconstruction")
        super().__init__(output_dir, protocols, "fidelity.csv", make, baseline="bicubic", methods=rows)


def fidelity_protocol(upscale: int, low: float, high: float, windows: Mapping[str, Sequence[float]]) -> Protocol:
    r"""Transfer and added power by band of frequencies, and mean absolute errors in stored units.

    With the spectra :math:`S` of an image and :math:`T` of its truth, both less their mean and in a Hann window, a
    band's ``transfer`` is :math:`H = \text{Re} \sum S \bar T / \sum |T|^2`, the modulation transfer relative to the
    truth: 1 where edges are as sharp. ``added`` is :math:`\sum |S - H T|^2 / \sum |T|^2`, the noise power relative to
    the power of the truth: what is in the image and not in the truth. An image of zeros has 0 and 0.

    Args:
        upscale: ratio of the sizes; the highest frequency of the low-resolution image is ``0.5 / upscale`` cycles a
            pixel, and the bands of :data:`BANDS` are multiples of it.
        low: stored value of 0.
        high: stored value of 1; of CT, errors in units of ``high - low`` HU.
        windows: each name adds the mean absolute error ``error_<name>`` of the pixels whose truth is in this range of
            stored values; NaN where there is none. ``error`` is that of all pixels.
    """
    measures: dict[str, Measure] = {}
    for name, (start, stop) in BANDS.items():
        measures[f"transfer_{name}"] = _Band(start * 0.5 / upscale, stop * 0.5 / upscale).transfer
        measures[f"added_{name}"] = _Band(start * 0.5 / upscale, stop * 0.5 / upscale).added
    measures["error"] = _WindowedError(high - low, 0.0, 1.0)
    for name, (start, stop) in windows.items():
        measures[f"error_{name}"] = _WindowedError(
            high - low, (start - low) / (high - low), (stop - low) / (high - low)
        )
    return Protocol(
        name=f"fidelity_x{upscale}",
        description="transfer and added power relative to the truth, by band of frequencies; errors in stored units",
        scope="image",
        prepare=lambda prediction, target: (prediction.double(), target.double()),
        measures=measures,
    )


class _Band:
    """A band of frequencies, in cycles a pixel: above ``start``, up to ``stop``, in all directions."""

    def __init__(self, start: float, stop: float) -> None:
        self.start, self.stop = start, stop

    def transfer(self, image: Tensor, truth: Tensor) -> Tensor:
        return self._compare(image, truth)[0]

    def added(self, image: Tensor, truth: Tensor) -> Tensor:
        return self._compare(image, truth)[1]

    def _compare(self, image: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        spectrum, true = self._spectrum(image), self._spectrum(truth)
        power = true.abs().square().sum(dim=1)
        transfer = (spectrum * true.conj()).real.sum(dim=1) / power
        added = (spectrum - transfer[:, None] * true).abs().square().sum(dim=1) / power
        return transfer, added

    def _spectrum(self, image: Tensor) -> Tensor:
        """Return the coefficients of the band, ``(batch, coefficients)``."""
        height, width = image.shape[1:]
        window = torch.hann_window(height, dtype=image.dtype, device=image.device)[:, None] * torch.hann_window(
            width, dtype=image.dtype, device=image.device
        )
        frequencies = torch.hypot(
            torch.fft.fftfreq(height, dtype=image.dtype, device=image.device)[:, None],
            torch.fft.fftfreq(width, dtype=image.dtype, device=image.device),
        )
        inside = (frequencies > self.start) & (frequencies <= self.stop)
        return torch.fft.fft2((image - image.mean(dim=(1, 2), keepdim=True)) * window)[:, inside]


class _WindowedError:
    """Mean absolute error, times ``scale``, of the pixels whose truth lies between ``low`` and ``high``."""

    def __init__(self, scale: float, low: float, high: float) -> None:
        self.scale, self.low, self.high = scale, low, high

    def __call__(self, image: Tensor, truth: Tensor) -> Tensor:
        inside = (truth >= self.low) & (truth <= self.high)
        error = (image - truth).abs().where(inside, 0).sum(dim=(1, 2))
        return self.scale * error / inside.sum(dim=(1, 2))
