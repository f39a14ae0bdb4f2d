"""Intensity scalings between image units and the units a network works in."""

import torch
from common.operators.fourier import channels_to_complex
from torch import Tensor, nn

SCALINGS = ("shifted", "peak")


class IntensityScaling(nn.Module):
    """Maps an image to network units and back.

    - ``shifted``: ``c -> 2 c - 1`` in the real and in the imaginary channel, for images whose channels both
      lie in [0, 1] (magnitude images have imaginary part 0, hence -1 everywhere). RefineGAN's convention
      (Quan et al. 2018, doi 10.1109/TMI.2018.2820120). Since the centre of k-space is measured by every
      mask, scaling the zero-filled image equals zero-filling the scaled measurement.
    - ``peak``: ``c -> c / max |zero-filled|`` of each image, no offset, for complex images of any phase and unit.

    Args:
        mode: one of ``SCALINGS``.
    """

    def __init__(self, mode: str = "shifted") -> None:
        super().__init__()
        if mode not in SCALINGS:
            raise ValueError(f"scaling must be one of {', '.join(SCALINGS)}, got {mode!r}")
        self.shifted = mode == "shifted"

    def factor(self, zero_filled: Tensor) -> Tensor:
        """The multiplier of each image, float ``(batch, 1, 1, 1)``, from channels ``(batch, 2, height, width)``.

        An all-zero image gets 1, so that nothing divides by zero.
        """
        if self.shifted:
            return torch.full((zero_filled.shape[0], 1, 1, 1), 2.0, dtype=zero_filled.dtype, device=zero_filled.device)
        peak = zero_filled.square().sum(dim=1, keepdim=True).amax(dim=(2, 3), keepdim=True).sqrt()
        return 1.0 / torch.where(peak > 0, peak, torch.ones_like(peak))

    def normalise(self, channels: Tensor, factor: Tensor) -> Tensor:
        """Image units to network units, ``(batch, 2, height, width)``."""
        scaled = channels * factor
        return scaled - 1.0 if self.shifted else scaled

    def restore(self, channels: Tensor, factor: Tensor) -> Tensor:
        """Network units to image units; inverse of :meth:`normalise`."""
        return (channels + 1.0) / factor if self.shifted else channels / factor


def peak_and_phase(zero_filled: Tensor) -> tuple[Tensor, Tensor]:
    """Multipliers from image units to network units and back, for images of any unit and any phase.

    The largest magnitude becomes 1, and the phase of ``sum x |x|``, that of the bright parts on the whole, becomes 0.
    What a scanner leaves open, the unit and the phase of the receiver, so never reaches a network: its result turns and
    scales with its measurement.

    Args:
        zero_filled: real and imaginary channel, ``(batch, 2, height, width)``.

    Returns:
        the multiplier ``exp(-i phase) / peak`` and its inverse ``peak exp(i phase)``, complex ``(batch, 1, 1, 1)``. For
        an image of zeros they are 1 and 0: whatever a network makes of it, the result is zero.
    """
    largest = zero_filled.abs().amax(dim=(1, 2, 3), keepdim=True)
    unit = torch.where(largest > 0, largest, torch.ones_like(largest))
    scaled = zero_filled / unit  # first: float32 has no room for the fourth powers of raw units
    magnitude = scaled.square().sum(dim=1, keepdim=True).sqrt()
    direction = (scaled * magnitude).sum(dim=(2, 3), keepdim=True)
    length = direction.square().sum(dim=1, keepdim=True).sqrt()
    real, imaginary = (direction / torch.where(length > 0, length, torch.ones_like(length))).chunk(2, dim=1)
    real = torch.where(length > 0, real, torch.ones_like(real))  # where all phases cancel there is none to take out
    peak = magnitude.amax(dim=(2, 3), keepdim=True) * unit
    divisor = torch.where(peak > 0, peak, torch.ones_like(peak))
    forward = torch.cat((real / divisor, -imaginary / divisor), dim=1)
    inverse = torch.cat((real * peak, imaginary * peak), dim=1)
    return channels_to_complex(forward), channels_to_complex(inverse)
