"""Noise of each sample's own strength: Gaussian, Poisson (photon counts), Rician (MR magnitude)."""

from __future__ import annotations

import math

import torch
from common.operators.degradation.strength import Strength, drawn, per_sample, strength_range
from torch import Tensor


class GaussianNoise:
    """``y = x + std n``, n standard normal.

    Args:
        std: standard deviation of the noise in image units, a number or a range.
    """

    upscale = 1

    def __init__(self, std: Strength) -> None:
        self.std = strength_range("std", std)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Add noise to a batch of any shape; values below 0 and above 1 stay."""
        return image + per_sample(drawn(self.std, image, generator), image) * _normal(image, generator)


class PoissonNoise:
    """Counting noise ``y = Poisson(photons x) / photons``: mean x, variance ``x / photons``.

    At 1000 photons the standard deviation is 0.032 where the intensity is 1, and 0.016 where it is 0.25.

    Args:
        photons: counts at intensity 1, a number or a range; the logarithm is drawn evenly. Above 0.
    """

    upscale = 1

    def __init__(self, photons: Strength) -> None:
        low, high = strength_range("photons", photons, above=0)
        self.log_photons = (math.log(low), math.log(high))

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Add counting noise to a batch of any shape; negative intensities count as 0."""
        photons = per_sample(drawn(self.log_photons, image, generator).exp(), image)
        return torch.poisson(image.clamp(min=0) * photons, generator=generator) / photons


class RicianNoise:
    """``y = |x + std (n1 + i n2)|``: the magnitude of a complex image with Gaussian noise in both parts.

    ``E[y^2] = x^2 + 2 std^2``; the background (x = 0) is Rayleigh, with mean ``1.253 std`` and standard deviation
    ``0.655 std``; far above the noise, y is Gaussian about ``sqrt(x^2 + std^2)``. See Gudbjartsson and Patz 1995,
    doi:10.1002/mrm.1910340618.

    Args:
        std: standard deviation of the noise of each part in image units, a number or a range.
    """

    upscale = 1

    def __init__(self, std: Strength) -> None:
        self.std = strength_range("std", std)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Add noise to a batch of any shape; the result is not negative."""
        std = per_sample(drawn(self.std, image, generator), image)
        return torch.hypot(image + std * _normal(image, generator), std * _normal(image, generator))


def _normal(image: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
