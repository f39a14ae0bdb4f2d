"""Strengths of degradations: given as a number or a range, checked once, drawn per sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Strength = float | Sequence[float]


def strength_range(name: str, strength: Strength, above: float | None = None) -> tuple[float, float]:
    """Return the lowest and highest strength; a number is both.

    Args:
        name: name of the option in the error message.
        strength: a number, or two in rising order.
        above: a bound that strengths exceed; by default they are at least 0.

    Raises:
        ValueError: for anything else.
    """
    values = [float(value) for value in strength] if isinstance(strength, Sequence) else [float(strength)] * 2
    bound = "at least 0" if above is None else f"above {above:g}"
    if (
        len(values) == 2
        and values[0] <= values[1] < float("inf")
        and (values[0] >= 0 if above is None else values[0] > above)
    ):
        return values[0], values[1]
    raise ValueError(f"{name} must be a number or [lowest, highest], finite and {bound}, got {strength}")


def drawn(limits: tuple[float, float], image: Tensor, generator: torch.Generator, each: int = 1) -> Tensor:
    """Uniform strengths of each sample, ``(batch, each)``, on the image's device and of its dtype."""
    low, high = limits
    unit = torch.rand((image.shape[0], each), generator=generator, device=image.device, dtype=image.dtype)
    return low + (high - low) * unit


def per_sample(strength: Tensor, image: Tensor) -> Tensor:
    """``(batch, 1)`` in a shape that multiplies the image: ``(batch, 1, 1, 1[, 1])``."""
    return strength.reshape(-1, *[1] * (image.ndim - 1))


def checked_upscale(upscale: int) -> int:
    """A whole factor of at least 2.

    Raises:
        ValueError: for anything else.
    """
    if int(upscale) != upscale or upscale < 2:
        raise ValueError(f"upscale must be a whole number of at least 2 (the bundles use 2, 4, 8), got {upscale}")
    return int(upscale)


def reduced_size(size: Sequence[int], upscale: int) -> tuple[int, ...]:
    """Spatial size of the low-resolution image.

    Raises:
        ValueError: for a size that is not a multiple of ``upscale``.
    """
    if any(n % upscale for n in size):
        multiple = " x ".join(str(n - n % upscale) for n in size)
        raise ValueError(
            f"expected spatial sizes that are multiples of {upscale=}, got {' x '.join(map(str, size))}; "
            f"crop the image, for instance to {multiple}"
        )
    return tuple(n // upscale for n in size)
