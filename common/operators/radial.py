"""Radial trajectories: angles of the spokes of a series, and places of their samples."""

from __future__ import annotations

import math

import torch
from common.operators.masks.trajectories import GOLDEN_ANGLE
from torch import Tensor

SPOKE_ORDERS = ("golden", "tiny_golden", "uniform")


def tiny_golden_angle(number: int) -> float:
    """Return ``pi / (golden ratio + number - 1)`` (Wundrak et al. 2015, doi 10.1109/TMI.2014.2382572).

    The first is the golden angle, 111.246 degrees, the seventh 23.628 degrees.
    """
    return math.pi / ((1 + math.sqrt(5)) / 2 + number - 1)


def series_angles(order: str, n_frames: int, n_spokes: int, first: float = 0.0) -> Tensor:
    """Angles of the spokes of a series, frame by frame in the order of acquisition.

    - ``golden``: each spoke is turned from the one before by 111.246 degrees, also from frame to frame
      (Winkelmann et al. 2007, doi 10.1109/TMI.2006.885337).
    - ``tiny_golden``: by the seventh :func:`tiny_golden_angle`, 23.628 degrees, whose small steps cause less eddy
      currents. It covers k-space as evenly from seven spokes a frame on.
    - ``uniform``: evenly over 180 degrees, all frames alike.

    Args:
        order: one of ``SPOKE_ORDERS``.
        n_frames: number of frames.
        n_spokes: number of spokes in each frame.
        first: angle of the first spoke in radians, 0 along the rows.

    Returns:
        float64 ``(n_frames, n_spokes)`` in radians.

    Raises:
        ValueError: for an unknown order.
    """
    if order not in SPOKE_ORDERS:
        raise ValueError(f"order of spokes must be one of {', '.join(SPOKE_ORDERS)}, got {order!r}")
    steps = {"golden": GOLDEN_ANGLE, "tiny_golden": tiny_golden_angle(7), "uniform": math.pi / n_spokes}
    spokes = torch.arange(n_frames * n_spokes, dtype=torch.float64).reshape(n_frames, n_spokes)
    return first + steps[order] * (spokes[:1].expand_as(spokes) if order == "uniform" else spokes)


def radial_trajectory(angles: Tensor, n_samples: int) -> Tensor:
    """Places of the samples of straight spokes through DC, from edge to edge.

    Args:
        angles: ``(..., spokes)`` in radians; a spoke of angle 0 runs along a row, of pi / 2 along a column.
        n_samples: samples of a spoke; twice the matrix size for a readout oversampled twofold. Sample
            ``n_samples // 2`` is DC.

    Returns:
        ``(..., spokes, n_samples, 2)`` in cycles per pixel, row and column, from -0.5 to below 0.5; the dtype is that
        of the angles.
    """
    radius = (torch.arange(n_samples, dtype=angles.dtype, device=angles.device) - n_samples // 2) / n_samples
    return torch.stack((angles.sin(), angles.cos()), dim=-1)[..., None, :] * radius[:, None]
