"""Toeplitz normal operator: what a non-uniform acquisition and its adjoint do together, by two FFTs."""

from __future__ import annotations

import torch
from common.operators.nonuniform import NonuniformFourier
from torch import Tensor


def toeplitz_kernel(trajectory: Tensor, weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Transform of the point spread function of a trajectory, for :func:`toeplitz_normal`.

    After Fessler et al. 2005 (doi 10.1109/TSP.2005.853152).

    Args:
        trajectory: ``(batch, spokes, samples, 2)`` in cycles per pixel.
        weights: float ``(batch, spokes, samples)``, such as the density compensation; 0 or more.
        shape: height and width of the images in pixels.

    Returns:
        float ``(batch, 2 height, 2 width)``, DC at index 0.

    Raises:
        ValueError: if the trajectory has another shape or range, or torchkbnufft is missing.
    """
    doubled = (2 * shape[0], 2 * shape[1])
    transform = NonuniformFourier(trajectory, doubled)
    spread = transform.adjoint(weights[:, None].to(transform.sensitivity_maps.dtype))[:, 0]
    # transposed twice 1 / sqrt(4 H W), where the images have 1 / (H W); the real part symmetrises the last lag,
    # which no image reaches
    return 2 / (shape[0] * shape[1]) ** 0.5 * torch.fft.fft2(torch.fft.ifftshift(spread, dim=(1, 2))).real


def toeplitz_normal(image: Tensor, kernel: Tensor, sensitivity_maps: Tensor) -> Tensor:
    """``A^H W A x`` of a multi-coil non-uniform acquisition ``A``, without interpolation.

    Args:
        image: complex, ``(batch, 1, height, width)``.
        kernel: float, ``(batch, 2 height, 2 width)``, of :func:`toeplitz_kernel`.
        sensitivity_maps: complex, ``(batch or 1, n_coils, height, width)``.

    Returns:
        complex, shaped as the image.
    """
    height, width = image.shape[-2], image.shape[-1]
    coils = torch.view_as_real(sensitivity_maps * image)
    padded = torch.view_as_complex(torch.nn.functional.pad(coils, (0, 0, 0, width, 0, height)))
    spread = torch.fft.ifft2(kernel[:, None] * torch.fft.fft2(padded))
    return (sensitivity_maps.conj() * spread[..., :height, :width]).sum(dim=1, keepdim=True)
