"""Centred orthonormal Fourier transforms, and the two doors between complex tensors and real channels."""

import torch
from monai.networks.blocks.fft_utils_t import fftn_centered_t, ifftn_centered_t
from torch import Tensor


def fft2c(image: Tensor) -> Tensor:
    """Centred orthonormal 2-D discrete Fourier transform, image to k-space.

    ``kspace[k] = 1 / sqrt(HW) sum_x image[x] exp(-2 pi i k x)`` with the origin of both domains at
    ``(H // 2, W // 2)``. The transform of ones is one sample of ``sqrt(H * W)`` at the centre.

    Args:
        image: complex, ``(..., height, width)``.

    Returns:
        complex k-space of the same shape and dtype.
    """
    return torch.view_as_complex(fftn_centered_t(torch.view_as_real(image), spatial_dims=2, is_complex=True))


def ifft2c(kspace: Tensor) -> Tensor:
    """Inverse, and adjoint, of :func:`fft2c`.

    Args:
        kspace: complex, ``(..., height, width)``, centred.

    Returns:
        complex image of the same shape and dtype.
    """
    return torch.view_as_complex(ifftn_centered_t(torch.view_as_real(kspace), spatial_dims=2, is_complex=True))


def complex_to_channels(image: Tensor) -> Tensor:
    """Complex ``(batch, 1, height, width)`` to real ``(batch, 2, height, width)``: real part, imaginary part."""
    return torch.cat((image.real, image.imag), dim=1)


def channels_to_complex(channels: Tensor) -> Tensor:
    """Real ``(batch, 2, height, width)`` to complex ``(batch, 1, height, width)``; inverse of the above."""
    return torch.complex(channels[:, :1].contiguous(), channels[:, 1:2].contiguous())
