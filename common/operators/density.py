"""Density compensation: the area of k-space that each sample of a trajectory stands for."""

from __future__ import annotations

import math

import torch
from common.operators.nonuniform import check_trajectory, torchkbnufft
from torch import Tensor


def radial_density(trajectory: Tensor, shape: tuple[int, int]) -> Tensor:
    """Area of k-space of each sample of straight spokes through the centre, in samples of the Cartesian grid.

    A sample at radius ``r`` stands for ``r`` times the distance between samples times half the angle between the two
    neighbouring spokes; the central disc, half a sample in radius, is shared. Gaps between spokes are measured, so that
    golden and uniform angles are both right. The weights of a Cartesian trajectory would be 1, and
    ``F^H W F`` keeps the intensity of an image. For instance, ``pi / (2 n_spokes)`` at a radius of one Cartesian sample
    on even spokes read twice as densely.

    Args:
        trajectory: ``(batch, spokes, samples, 2)`` in cycles per pixel, each spoke from edge to edge.
        shape: height and width of the images in pixels.

    Returns:
        ``(batch, spokes, samples)``, float, of sum ``pi / 4 * height * width``, the share of a disc.

    Raises:
        ValueError: if the trajectory has another shape or range.
    """
    check_trajectory(trajectory)
    ends = trajectory[:, :, -1] - trajectory[:, :, 0]
    angles = torch.atan2(ends[..., 0], ends[..., 1]).remainder(math.pi)
    ordered, order = angles.sort(dim=1)
    after = torch.cat((ordered[:, 1:], ordered[:, :1] + math.pi), dim=1) - ordered
    gaps = torch.zeros_like(angles).scatter(1, order, (after + after.roll(1, dims=1)) / 2)
    distance = (ends.norm(dim=2) / (trajectory.shape[2] - 1))[..., None]
    radius = trajectory.norm(dim=3)
    area = torch.maximum(radius, distance / 4) * distance * gaps[..., None]
    return area * math.prod(shape)


def iterated_density(trajectory: Tensor, shape: tuple[int, int], n_iterations: int = 15) -> Tensor:
    """Density compensation of any trajectory, in samples of the Cartesian grid.

    Weights are divided by their own density until it is even (Pipe and Menon 1999,
    doi 10.1002/(SICI)1522-2594(199901)41:1<179::AID-MRM25>3.0.CO;2-V), by torchkbnufft. The density is seen through
    the interpolation kernel, three samples wide: where samples are farther apart than that, each gets the most that a
    kernel covers. The unit is that of a Cartesian grid, whose weights are 1.

    Args:
        trajectory: ``(batch, spokes, samples, 2)`` in cycles per pixel.
        shape: height and width of the images in pixels.
        n_iterations: divisions.

    Returns:
        ``(batch, spokes, samples)``, float.

    Raises:
        ValueError: if the trajectory has another shape or range, or torchkbnufft is missing.
    """
    check_trajectory(trajectory)
    compensation = torchkbnufft().calc_density_compensation_function

    def weights(frame: Tensor, size: tuple[int, int]) -> Tensor:
        return compensation(2 * math.pi * frame.reshape(-1, 2).T, size, num_iterations=n_iterations).real.flatten()

    axis = torch.arange(-8, 8, dtype=trajectory.dtype, device=trajectory.device) / 16
    unit = weights(torch.cartesian_prod(axis, axis), (16, 16)).mean()
    return torch.stack([weights(frame, shape) for frame in trajectory]).reshape(trajectory.shape[:3]) / unit
