"""SENSE acquisition y = M F S x of multi-coil MRI; single-coil is the case of one map of ones."""

from common.operators.fourier import fft2c, ifft2c
from torch import Tensor, nn


def sense_forward(image: Tensor, sensitivity_maps: Tensor, mask: Tensor) -> Tensor:
    """Image ``(batch, 1, height, width)`` to masked k-space of all coils ``(batch, n_coils, height, width)``, complex.

    Args:
        image: complex, ``(batch, 1, height, width)``.
        sensitivity_maps: complex, ``(batch or 1, n_coils, height, width)``.
        mask: 1 where sampled, ``(batch or 1, 1, height, width)``, boolean or real.
    """
    return mask * fft2c(sensitivity_maps * image)


def sense_adjoint(kspace: Tensor, sensitivity_maps: Tensor, mask: Tensor) -> Tensor:
    """K-space of all coils to the coil-combined zero-filled image ``(batch, 1, height, width)``, complex.

    Args:
        kspace: complex, ``(batch, n_coils, height, width)``.
        sensitivity_maps: complex, ``(batch or 1, n_coils, height, width)``.
        mask: 1 where sampled, ``(batch or 1, 1, height, width)``, boolean or real.
    """
    return (sensitivity_maps.conj() * ifft2c(mask * kspace)).sum(dim=1, keepdim=True)


class SenseAcquisition(nn.Module):
    """Multi-coil Cartesian acquisition ``y = M F S x`` (Pruessmann et al. 1999, SENSE).

    doi 10.1002/(SICI)1522-2594(199911)42:5<952::AID-MRM16>3.0.CO;2-S. With one map of ones it is
    :class:`SingleCoilAcquisition`.

    Args:
        sensitivity_maps: complex, ``(batch or 1, n_coils, height, width)``.
        mask: 1 where sampled, ``(batch or 1, 1, height, width)``, boolean or real.
    """

    def __init__(self, sensitivity_maps: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("sensitivity_maps", sensitivity_maps, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.sensitivity_maps: Tensor
        self.mask: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Image ``(batch, 1, height, width)`` to masked k-space ``(batch, n_coils, height, width)``, both complex."""
        return sense_forward(image, self.sensitivity_maps, self.mask)

    def adjoint(self, kspace: Tensor) -> Tensor:
        """K-space ``(batch, n_coils, height, width)`` to coil-combined zero-filled image, both complex."""
        return sense_adjoint(kspace, self.sensitivity_maps, self.mask)
