"""Centred orthonormal Fourier transforms, and the two doors between complex tensors and real channels."""

import torch
from torch import Tensor


def _roll(image: Tensor, rows: int, columns: int) -> Tensor:
    """Roll the last two axes forward, by fewer than their sizes.

    ``narrow`` and concatenation, as MONAI's ``fft_utils_t`` does it, since ``torch.roll``, ``torch.fft.fftshift`` and
    slices up to a computed place do not export to ONNX with dynamic sizes. Unlike there, complex numbers stay whole.
    """
    height, width = image.shape[-2], image.shape[-1]
    top, bottom = image.narrow(-2, height - rows, rows), image.narrow(-2, 0, height - rows)
    return torch.cat(
        (
            torch.cat((top.narrow(-1, width - columns, columns), top.narrow(-1, 0, width - columns)), dim=-1),
            torch.cat((bottom.narrow(-1, width - columns, columns), bottom.narrow(-1, 0, width - columns)), dim=-1),
        ),
        dim=-2,
    )


def _to_corner(image: Tensor) -> Tensor:
    """Origin from the centre to index 0 (``ifftshift``)."""
    return _roll(image, (image.shape[-2] + 1) // 2, (image.shape[-1] + 1) // 2)


def _to_centre(image: Tensor) -> Tensor:
    """Origin from index 0 to the centre (``fftshift``)."""
    return _roll(image, image.shape[-2] // 2, image.shape[-1] // 2)


def fft2c(image: Tensor) -> Tensor:
    """Centred orthonormal 2-D discrete Fourier transform, image to k-space.

    ``kspace[k] = 1 / sqrt(HW) sum_x image[x] exp(-2 pi i k x)`` with the origin of both domains at
    ``(H // 2, W // 2)``. The transform of ones is one sample of ``sqrt(H * W)`` at the centre.

    Args:
        image: complex, ``(..., height, width)``.

    Returns:
        complex k-space of the same shape and dtype.
    """
    return _to_centre(torch.fft.fft2(_to_corner(image), norm="ortho"))


def ifft2c(kspace: Tensor) -> Tensor:
    """Inverse, and adjoint, of :func:`fft2c`.

    Args:
        kspace: complex, ``(..., height, width)``, centred.

    Returns:
        complex image of the same shape and dtype.
    """
    return _to_centre(torch.fft.ifft2(_to_corner(kspace), norm="ortho"))


def complex_to_channels(image: Tensor) -> Tensor:
    """Complex ``(batch, 1, height, width)`` to real ``(batch, 2, height, width)``: real part, imaginary part.

    Series ``(batch, 1, height, width, frames)`` likewise. A view: the channels lie next to each other in memory, as
    convolutions like it (``torch.channels_last``).
    """
    return torch.view_as_real(image)[:, 0].movedim(-1, 1)


def channels_to_complex(channels: Tensor) -> Tensor:
    """Real ``(batch, 2, height, width)`` to complex ``(batch, 1, height, width)``; inverse of the above.

    Copies only what is not already laid out as the above leaves it. Axes are taken and added while the numbers are
    real, since ONNX knows neither for complex ones.
    """
    return torch.view_as_complex(channels[:, :2].movedim(1, -1).contiguous()[:, None])
