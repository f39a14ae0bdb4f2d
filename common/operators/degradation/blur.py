"""Blur with a kernel of each sample's own, in 2-D and 3-D: a Gaussian of any shape and direction, a detector's box."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from common.operators.degradation.strength import Strength, drawn, strength_range
from torch import Tensor


def blur(image: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each image with its kernel; beyond the edge, the edge's pixels go on.

    By FFT, padded so that nothing wraps around: the cost does not depend on the kernel's size. Exact zeros come out
    as about 1e-8.

    Args:
        image: real, ``(batch, channels, height, width[, depth])``.
        kernels: one kernel of odd size for each image, ``(batch, height, width[, depth])``. Kernels that sum to 1
            keep intensities.

    Returns:
        the image's shape and dtype.
    """
    axes = tuple(range(2, image.ndim))
    sides = [side for n in reversed(kernels.shape[1:]) for side in (n // 2, n // 2)]
    padded = F.pad(image, sides, mode="replicate")
    size = padded.shape[2:]
    spectrum = torch.fft.rfftn(padded, dim=axes) * torch.fft.rfftn(kernels[:, None], s=size, dim=axes)
    blurred = torch.fft.irfftn(spectrum, s=size, dim=axes)
    for axis, n in zip(axes, kernels.shape[1:], strict=True):
        blurred = blurred.narrow(axis, n - 1, image.shape[axis])
    return blurred


def gaussian_kernels(sigma: Tensor, axes: Tensor, radius: int) -> Tensor:
    """Gaussian kernels ``exp(-sum_i (a_i . x)^2 / (2 sigma_i^2))`` sampled at whole pixels, scaled to a sum of 1.

    Args:
        sigma: standard deviations along the principal axes, in pixels, ``(batch, dims)``; 0 leaves the axis sharp.
        axes: the principal axes ``a_i``, orthonormal rows, ``(batch, dims, dims)``.
        radius: the kernel reaches from ``-radius`` to ``radius``.

    Returns:
        ``(batch, 2 radius + 1, ...)`` with ``dims`` spatial axes.
    """
    dims = sigma.shape[1]
    side = torch.arange(-radius, radius + 1, device=sigma.device, dtype=sigma.dtype)
    places = torch.stack(torch.meshgrid([side] * dims, indexing="ij")).flatten(1)
    # 0.01 pixel is as good as none, and 0 would divide by zero
    along = (axes @ places) / sigma.clamp(min=0.01)[..., None]
    weights = torch.exp(-0.5 * along.square().sum(dim=1))
    return (weights / weights.sum(dim=1, keepdim=True)).unflatten(1, [2 * radius + 1] * dims)


def box_kernels(width: Tensor, dims: int, radius: int) -> Tensor:
    """Means over boxes: each pixel weighs by how much of it the box about the centre covers; sums are 1.

    Args:
        width: sides, the same along all axes, in pixels, ``(batch,)``; fractions count, 1 or less changes nothing.
        dims: spatial axes.
        radius: the kernel reaches from ``-radius`` to ``radius``; ``ceil((width - 1) / 2)`` holds the box.

    Returns:
        ``(batch, 2 radius + 1, ...)`` with ``dims`` spatial axes. A width of 2 is 1/4, 1/2, 1/4 along each axis.
    """
    side = torch.arange(-radius, radius + 1, device=width.device, dtype=width.dtype)
    line = (width[:, None] / 2 + 0.5 - side.abs()).clamp(min=0, max=1)
    line = line / line.sum(dim=1, keepdim=True)
    kernel = line
    for _ in range(dims - 1):
        kernel = kernel[..., None] * line.reshape(-1, *[1] * (kernel.ndim - 1), line.shape[1])
    return kernel


class GaussianBlur:
    """Gaussian blur, of each sample's own strength, shape and direction.

    Args:
        sigma: standard deviation in pixels (of the image it is given), a number or a range. Kernels end at four
            times the largest, and are scaled to a sum of 1.
        isotropic: True if all axes share one standard deviation; otherwise each principal axis draws its own.
        angle_deg: direction of the first principal axis, from the first spatial axis (down) to the second (right), a
            number or a range; for 2-D anisotropic blur. ``None`` draws from all directions, in 3-D too.
    """

    upscale = 1

    def __init__(
        self, sigma: Strength = (0.2, 2.0), isotropic: bool = False, angle_deg: Strength | None = None
    ) -> None:
        self.sigma = strength_range("sigma", sigma)
        self.isotropic = isotropic
        self.angle_deg = None if angle_deg is None else strength_range("angle_deg", angle_deg)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Blur a batch; its shape stays.

        Raises:
            ValueError: for volumes where ``angle_deg`` is given.
        """
        dims = image.ndim - 2
        radius = math.ceil(4 * self.sigma[1])
        sigma = drawn(self.sigma, image, generator, 1 if self.isotropic else dims).expand(-1, dims)
        return blur(image, gaussian_kernels(sigma, self._axes(image, generator), radius))

    def _axes(self, image: Tensor, generator: torch.Generator) -> Tensor:
        dims = image.ndim - 2
        if self.angle_deg is not None:
            if dims != 2:
                raise ValueError(f"angle_deg is a direction in 2-D, got {dims} spatial axes; leave it out")
            angle = torch.deg2rad(drawn(self.angle_deg, image, generator))
            first = torch.cat((angle.cos(), angle.sin()), dim=1)
            return torch.stack((first, torch.stack((-first[:, 1], first[:, 0]), dim=1)), dim=1)
        # QR of normal numbers: every direction is as likely as any other
        numbers = torch.randn((image.shape[0], dims, dims), generator=generator, device=image.device, dtype=image.dtype)
        return torch.linalg.qr(numbers).Q


class BoxBlur:
    """Mean over a box, as the area of a CT detector's element, or its motion while it measures, blurs.

    Args:
        width: side of the box in pixels (of the image it is given), a number or a range; 1 or less changes nothing.
    """

    upscale = 1

    def __init__(self, width: Strength) -> None:
        self.width = strength_range("width", width)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Blur a batch; its shape stays."""
        radius = max(math.ceil((self.width[1] - 1) / 2), 0)
        width = drawn(self.width, image, generator)[:, 0]
        return blur(image, box_kernels(width, image.ndim - 2, radius))
