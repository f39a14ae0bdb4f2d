"""Resizing as PIL does it, in 2-D and 3-D, with a kernel of each sample's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from common.operators.degradation.strength import checked_upscale, reduced_size
from torch import Tensor


def _box(x: np.ndarray) -> np.ndarray:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _bilinear(x: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(x), 0, None)


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Cubic convolution with a = -0.5 (Keys 1981, doi:10.1109/TASSP.1981.1163711)."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    """Lanczos window of three lobes."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


# each with the reach of its kernel, in pixels of the smaller image
_FILTERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1.0),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}
KERNELS = ("nearest", *_FILTERS)


@lru_cache(maxsize=32)
def resampling_matrix(size: int, new_size: int, kernel: str) -> np.ndarray:
    """Return the linear map of one axis, as PIL's ``Image.resize`` computes it.

    Pixel centres lie at ``i + 0.5``, and the first and last edges of both grids coincide. A kernel is stretched by
    the factor of reduction (which is the antialiasing), cut off at the image's edge, and its weights are scaled to a
    sum of 1. ``nearest`` takes one pixel, ``floor((i + 0.5) size / new_size)``, without antialiasing; reduced by an
    even factor it therefore lies half a pixel of the large image further than the other kernels do.

    Args:
        size: pixels before.
        new_size: pixels after.
        kernel: one of ``KERNELS``. ``bicubic`` has a = -0.5, ``lanczos`` three lobes, ``box`` is the mean of a block.

    Returns:
        float64 ``(new_size, size)``; rows sum to 1.

    Raises:
        ValueError: for an unknown kernel or an empty axis.
    """
    if kernel != "nearest" and kernel not in _FILTERS:
        raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
    if min(size, new_size) < 1:
        raise ValueError(f"expected sizes of at least one pixel, got {size} and {new_size}")
    step = size / new_size
    if kernel == "nearest":
        # summed up as PIL does it, whose rounding decides where a centre falls on the edge of two pixels
        return np.eye(size)[np.cumsum([step / 2] + [step] * (new_size - 1)).astype(int)]
    stretch = max(step, 1.0)
    function, reach = _FILTERS[kernel]
    centres = (np.arange(new_size)[:, None] + 0.5) * step
    pixels = np.arange(size)
    weights = function((pixels - centres + 0.5) / stretch)
    first, end = ((centres + side * reach * stretch + 0.5).astype(int) for side in (-1, 1))
    weights *= (first <= pixels) & (pixels < end)  # decides for box, where an edge falls on a pixel's centre
    return weights / weights.sum(axis=1, keepdims=True)


def resize(image: Tensor, size: Sequence[int], kernel: str = "bicubic") -> Tensor:
    """Reduce or enlarge images as PIL does with mode F: equal to a few 1e-7 of the largest value.

    The maps are dense matrices, quick for patches and slices; 4000 x 4000 pixels take seconds on a CPU. In 2-D,
    ``torch.nn.functional.interpolate(antialias=True)`` gives the same numbers for ``bilinear``, ``bicubic`` and, in
    torch 2.13, ``lanczos``, and ``nearest-exact`` those of ``nearest``; it has no antialiasing in 3-D.

    Args:
        image: real, ``(batch, channels, height, width[, depth])``, any range.
        size: new spatial size.
        kernel: name of the resampling kernel, one of ``KERNELS``, see :func:`resampling_matrix`.

    Returns:
        images of the new size, same dtype; bicubic and Lanczos overshoot at edges.
    """
    if len(size) != image.ndim - 2:
        raise ValueError(f"expected a size for each of {image.ndim - 2} spatial axes, got {list(size)}")
    for axis, new_size in enumerate(size, start=2):
        matrix = resampling_matrix(image.shape[axis], new_size, kernel)
        image = _along(image, torch.as_tensor(matrix, dtype=image.dtype, device=image.device), axis)
    return image


class Downscale:
    """Reduce images to ``1 / upscale`` of their size, each sample with a kernel drawn from those given.

    Args:
        upscale: whole factor of reduction.
        kernels: one of ``KERNELS``, or several; several are drawn with equal probability.

    Raises:
        ValueError: for an unknown kernel; at a call, for sizes that are not multiples of ``upscale``.
    """

    def __init__(self, upscale: int, kernels: str | Sequence[str] = "bicubic") -> None:
        self.upscale = checked_upscale(upscale)
        self.kernels = (kernels,) if isinstance(kernels, str) else tuple(kernels)
        unknown = [kernel for kernel in self.kernels if kernel not in KERNELS]
        if unknown or not self.kernels:
            raise ValueError(f"kernels must be of {', '.join(KERNELS)}, got {', '.join(unknown) or 'none'}")

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """``(batch, channels, height, width[, depth])`` to the reduced size."""
        size = reduced_size(image.shape[2:], self.upscale)
        if len(self.kernels) == 1:
            return resize(image, size, self.kernels[0])
        chosen = torch.randint(len(self.kernels), (image.shape[0],), generator=generator, device=image.device)
        for axis, new_size in enumerate(size, start=2):
            choices = np.stack([resampling_matrix(image.shape[axis], new_size, kernel) for kernel in self.kernels])
            matrices = torch.as_tensor(choices, dtype=image.dtype, device=image.device)
            image = _along(image, matrices[chosen], axis)
        return image


def _along(image: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Apply a matrix ``([batch,] new size, size)`` to one axis."""
    lines = image.movedim(axis, -1)
    mapped = lines.flatten(1, -2) @ matrix.transpose(-2, -1)
    return mapped.unflatten(1, lines.shape[1:-1]).movedim(-1, axis)
