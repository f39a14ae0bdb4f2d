"""A synthetic phase for images that have lost theirs."""

import math

import torch
from torch import Tensor


def smooth_phase(height: int, width: int, generator: torch.Generator, extent: float = math.pi) -> Tensor:
    """A random smooth phase map, as receivers and field inhomogeneity leave it: a constant, a ramp and three waves.

    Args:
        height: rows.
        width: columns.
        generator: draws it; the result is on its device.
        extent: half the range of the varying part, about, in radians.

    Returns:
        float32 ``(height, width)``, in radians.
    """
    device = generator.device
    y = torch.linspace(-1, 1, height, device=device)[:, None]
    x = torch.linspace(-1, 1, width, device=device)[None, :]
    draws = 2 * torch.rand(4, 4, generator=generator, device=device) - 1
    phase = math.pi * draws[0, 0] + 0.4 * extent * (draws[0, 1] * y + draws[0, 2] * x)
    for amplitude, rows, columns, start in draws[1:]:
        phase = phase + 0.2 * extent * amplitude * torch.cos(math.pi * (rows * y + columns * x + start))
    return phase
