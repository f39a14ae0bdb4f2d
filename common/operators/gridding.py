"""Gridding of non-Cartesian series: density compensation of any readouts, coil images and frames."""

import math

import torch
from common.operators.density import iterated_density, radial_density
from common.operators.fourier import fft2c
from common.operators.nonuniform import NonuniformFourier
from common.operators.sensitivity import estimate_sensitivity_maps
from torch import Tensor


def density_compensation(trajectory: Tensor, shape: tuple[int, int]) -> Tensor:
    """Density compensation of spokes by their angles, of other readouts by iteration.

    Args:
        trajectory: ``(batch, readouts, samples, 2)`` in cycles per pixel.
        shape: height and width of the images in pixels.

    Returns:
        ``(batch, readouts, samples)``, float, see :func:`~common.operators.density.radial_density`.

    Raises:
        ValueError: if the trajectory has another shape or range, or torchkbnufft is missing.
    """
    return (radial_density if _are_spokes(trajectory) else iterated_density)(trajectory, shape)


def average_coil_images(samples: Tensor, trajectory: Tensor, shape: tuple[int, int]) -> Tensor:
    """Images of each coil by gridding the readouts of all frames of a series together.

    Args:
        samples: complex, ``(frames, n_coils, readouts, samples)``.
        trajectory: ``(frames, readouts, samples, 2)`` in cycles per pixel.
        shape: height and width of the images in pixels.

    Returns:
        complex ``(1, n_coils, height, width)``: the mean over time, blurred where it moves.

    Raises:
        ValueError: if the trajectory has another shape or range, or torchkbnufft is missing.
    """
    places = trajectory.flatten(0, 1)[None]
    weighted = density_compensation(places, shape)[:, None] * samples.transpose(0, 1).flatten(1, 2)[None]
    transform = NonuniformFourier(places, shape)
    return torch.cat([transform.adjoint(coil) for coil in weighted.split(1, dim=1)], dim=1)


def zero_filled_frames(samples: Tensor, trajectory: Tensor, sensitivity_maps: Tensor) -> Tensor:
    """Images of the frames of a series, each from its own readouts, k-space between them taken for zero.

    It is the gridding reconstruction whose readouts are one Cartesian sample wide: a sample stands for the area that
    the density compensation gives it, but not for a wider one. So it has the aliasing of a mask of spokes that are
    rounded to the Cartesian grid, see :func:`~common.operators.masks.trajectories.radial_golden`.

    Args:
        samples: complex, ``(frames, n_coils, readouts, samples)``.
        trajectory: ``(frames, readouts, samples, 2)`` in cycles per pixel.
        sensitivity_maps: complex, ``(1, n_coils, height, width)``.

    Returns:
        complex ``(frames, 1, height, width)``.

    Raises:
        ValueError: if the trajectory has another shape or range, or torchkbnufft is missing.
    """
    shape = (sensitivity_maps.shape[2], sensitivity_maps.shape[3])
    step = trajectory.diff(dim=2).norm(dim=3)
    width = math.sqrt(shape[0] * shape[1]) * torch.cat((step, step[:, :, -1:]), dim=2)
    weighted = torch.minimum(density_compensation(trajectory, shape), width)[:, None] * samples
    frames = zip(weighted.split(1), trajectory.split(1), strict=True)  # one interpolation at a time in memory
    return torch.cat([NonuniformFourier(places, shape, sensitivity_maps).adjoint(one) for one, places in frames])


def readout_maps(samples: Tensor, trajectory: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sensitivity maps of a series from the mean of all its frames.

    They are those of :func:`~common.operators.sensitivity.estimate_sensitivity_maps`, of the centre of k-space that all
    readouts together cover.

    Args:
        samples: complex, ``(frames, n_coils, readouts, samples)``.
        trajectory: ``(frames, readouts, samples, 2)`` in cycles per pixel.
        shape: height and width of the images in pixels.

    Returns:
        complex64 ``(1, n_coils, height, width)``; ones for one coil.

    Raises:
        ValueError: for too few readouts, or if the trajectory has another shape or range.
    """
    n_readouts = trajectory.shape[0] * trajectory.shape[1]
    return maps_of_mean(average_coil_images(samples, trajectory, shape), n_readouts)


def maps_of_mean(coil_images: Tensor, n_readouts: int) -> Tensor:
    """Sensitivity maps of coil images that were gridded from lines through the centre of k-space.

    Args:
        coil_images: complex, ``(1, n_coils, height, width)``.
        n_readouts: number of lines; they lie at most one sample apart within a box of the centre, which is looked at.

    Returns:
        complex64, shaped as the images; ones for one coil.

    Raises:
        ValueError: for too few lines.
    """
    if coil_images.shape[1] == 1:
        return torch.ones_like(coil_images)
    side = int(2 / math.pi * n_readouts)
    mask = coil_images.real.new_zeros(1, 1, *coil_images.shape[2:])
    rows, columns = (slice(max(n // 2 - side // 2, 0), n // 2 - side // 2 + side) for n in coil_images.shape[2:])
    mask[..., rows, columns] = 1
    return estimate_sensitivity_maps(fft2c(coil_images) * mask, mask)


def _are_spokes(trajectory: Tensor) -> bool:
    """Return True for straight lines through the centre, from edge to edge."""
    first, last = trajectory[:, :, :1], trajectory[:, :, -1:]
    along = last - first
    length = along.norm(dim=3).clamp(min=torch.finfo(trajectory.dtype).tiny)
    beside = (trajectory[..., 0] * along[..., 1] - trajectory[..., 1] * along[..., 0]).abs() / length
    step = length / max(trajectory.shape[2] - 1, 1)
    crosses = (first * last).sum(dim=3) < 0
    return bool((beside <= step).all() and crosses.all())
