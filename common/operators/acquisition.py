"""Acquisition models y = A x of Cartesian-grid MRI."""

from common.operators.fourier import fft2c, ifft2c
from torch import Tensor, nn


class SingleCoilAcquisition(nn.Module):
    """Single-coil Cartesian acquisition ``y = M F x``; ``A A^H`` is the projection ``M``.

    Args:
        mask: 1 where sampled, ``(batch or 1, 1, height, width)``, boolean or real.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
        self.mask: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Image to masked k-space, both complex ``(batch, 1, height, width)``."""
        return self.mask * fft2c(image)

    def adjoint(self, kspace: Tensor) -> Tensor:
        """K-space to zero-filled image, both complex ``(batch, 1, height, width)``."""
        return ifft2c(self.mask * kspace)
