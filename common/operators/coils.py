"""Receive coils: simulated sensitivity maps, and the combination of coil images that needs none."""

import math

import torch
from torch import Tensor


def root_sum_of_squares(coil_images: Tensor) -> Tensor:
    """Magnitude image ``sqrt(sum_c |x_c|^2)`` (Roemer et al. 1990, doi 10.1002/mrm.1910160203).

    Args:
        coil_images: complex or real, ``(batch, n_coils, height, width)``.

    Returns:
        real, ``(batch, 1, height, width)``. For instance 5 from two coils of 3 and 4i.
    """
    return torch.linalg.vector_norm(coil_images, dim=1, keepdim=True)


def simulated_sensitivity_maps(
    n_coils: int, height: int, width: int, *, radius: float = 1.5, angle_deg: float = 0.0
) -> Tensor:
    """Smooth complex maps of coils that stand in a ring around the field of view, like rungs of a birdcage.

    Each coil is a long straight wire through ``w = radius exp(i theta)``, in units in which the field of view is
    [-1, 1] x [-1, 1]; at ``z = x + i y`` its transverse field is ``i exp(-i theta) / conj(z - w)``: it falls off with
    the distance, and its direction is the phase. All maps are then divided by their root sum of squares.

    Args:
        n_coils: number of coils, at least 1, at equal angles.
        height: rows.
        width: columns.
        radius: distance of the coils from the centre, more than ``sqrt(2)``, where the corners are: near it the maps
            differ most, far away all coils see the same.
        angle_deg: turns the ring.

    Returns:
        complex64 ``(1, n_coils, height, width)``, ``sum_c |S_c|^2 = 1`` everywhere.

    Raises:
        ValueError: for less than one coil, or a coil inside the field of view.
    """
    if n_coils < 1:
        raise ValueError(f"n_coils must be at least 1, got {n_coils}")
    if not radius > math.sqrt(2):
        raise ValueError(f"radius must be more than sqrt(2), outside the field of view, got {radius}; 1.5 is usual")
    y = (torch.arange(height, dtype=torch.float64) - height / 2) / (height / 2)
    x = (torch.arange(width, dtype=torch.float64) - width / 2) / (width / 2)
    theta = (2 * math.pi / n_coils * torch.arange(n_coils) + math.radians(angle_deg)).to(torch.float64)
    turn = torch.polar(torch.ones_like(theta), theta)[:, None, None]
    fields = 1j * turn.conj() / (torch.complex(x[None, :], y[:, None]) - radius * turn).conj()
    return (fields / root_sum_of_squares(fields[None])).to(torch.complex64)
