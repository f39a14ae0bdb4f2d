"""The one tensor at a reconstruction network's door: k-space and its mask, stacked as real channels."""

import torch
from torch import Tensor

from common.operators.fourier import channels_to_complex


def pack_measurement(masked_kspace: Tensor, mask: Tensor) -> Tensor:
    """Stack a measurement for a network.

    Args:
        masked_kspace: complex, ``(batch, 1, height, width)``, centred, zero where not sampled.
        mask: 1 where sampled, ``(batch or 1, 1, height, width)``, boolean or real.

    Returns:
        float32 ``(batch, 3, height, width)``: real k-space, imaginary k-space, mask.

    Raises:
        ValueError: if height and width of the two differ.
    """
    if masked_kspace.shape[-2:] != mask.shape[-2:]:
        raise ValueError(
            f"expected k-space and mask of one size, got k-space {list(masked_kspace.shape[-2:])} and "
            f"mask {list(mask.shape[-2:])}; make or load a mask of the k-space's size"
        )
    mask = mask.to(torch.float32).expand(masked_kspace.shape[0], 1, -1, -1)
    return torch.cat((masked_kspace.real.to(torch.float32), masked_kspace.imag.to(torch.float32), mask), dim=1)


def unpack_measurement(measurement: Tensor) -> tuple[Tensor, Tensor]:
    """Take a packed measurement apart.

    Args:
        measurement: float, ``(batch, 3, height, width)``.

    Returns:
        masked k-space, complex ``(batch, 1, height, width)``, and mask, float of the same shape. Samples
        outside the mask are set to zero, so that a careless caller cannot smuggle them in.

    Raises:
        ValueError: if there are not three channels.
    """
    if measurement.dim() != 4 or measurement.shape[1] != 3:
        raise ValueError(
            "expected a measurement (batch, 3, height, width) of real k-space, imaginary k-space and mask, "
            f"got shape {list(measurement.shape)}; stack it with common.operators.pack_measurement"
        )
    mask = measurement[:, 2:3]
    return channels_to_complex(measurement[:, :2] * mask), mask
