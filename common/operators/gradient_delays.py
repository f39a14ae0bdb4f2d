"""Gradient delays of radial scans: spokes that miss the centre of k-space, found by their opposites, and corrected."""

import math

import torch
from torch import Tensor

_OPPOSITE = math.radians(3)  # how far from opposite the spokes of a pair may be
_FEWEST = 6  # pairs for the three numbers of a matrix


def estimate_gradient_delays(samples: Tensor, trajectory: Tensor) -> Tensor:
    """Estimate the matrix that shifts spokes by their direction.

    A delay of each gradient, and of one caused by another, moves a spoke of the unit direction ``n`` by ``D n``, ``D``
    symmetric. Along the spoke the shift is ``n^T D n``, alike for ``-n``, so that the profiles of opposite spokes are
    apart by twice that (Block and Uecker 2011, Proc. ISMRM 19:2816, with the matrix of Moussavi et al. 2014, doi
    10.1002/mrm.24730). It is measured by the phase between the Fourier transforms of their energies, all coils
    together, and ``D`` is fitted to all pairs.

    Args:
        samples: complex, ``(frames, n_coils, spokes, samples)``.
        trajectory: ``(frames, spokes, samples, 2)`` in cycles per pixel, straight spokes as they were planned.

    Returns:
        ``(2, 2)``, row and column in cycles per pixel, float of the trajectory's dtype.

    Raises:
        ValueError: if few spokes have an opposite, as those spread over 180 degrees alone.
    """
    lines = samples.transpose(1, 2).flatten(0, 1)  # (spokes of all frames, n_coils, samples)
    places = trajectory.flatten(0, 1)
    n_samples = places.shape[1]
    ends = places[:, -1] - places[:, 0]
    directions = ends / ends.norm(dim=1, keepdim=True)
    angles = torch.atan2(directions[:, 0], directions[:, 1])
    turned = (angles[:, None] - angles + 2 * math.pi).remainder(2 * math.pi) - math.pi  # 0 for opposite ones
    distance, other = turned.abs().min(dim=1)
    pairs = torch.nonzero(distance < _OPPOSITE)[:, 0]
    matrix = _quadratic(directions[pairs])
    if len(pairs) < _FEWEST or float(torch.linalg.matrix_norm(matrix, -2)) < 0.1 * math.sqrt(len(pairs)):
        raise ValueError(
            f"gradient delays need opposite spokes in all directions, {len(pairs)} of {len(lines)} spokes have one; "
            "leave gradient_delays off for spokes over 180 degrees"
        )
    # energies, since that of the centre of k-space is what moves with the spoke
    profiles, opposite = (torch.fft.fft(one.abs().square()) for one in (lines[pairs], lines[other[pairs]].flip(2)))
    cross = torch.fft.fftshift(profiles * opposite.conj(), dim=2)
    shift = (cross[..., 1:] * cross[..., :-1].conj()).sum(dim=(1, 2)).angle() * n_samples / (2 * math.pi)
    step = ends[pairs].norm(dim=1) / (n_samples - 1)
    centre = ((places[pairs, 0] + places[pairs, -1]) * directions[pairs]).sum(dim=1)  # 0 if sampled symmetrically
    along = (shift * step - centre) / 2
    first, mixed, second = torch.linalg.lstsq(matrix, along[:, None]).solution[:, 0]
    return torch.stack((torch.stack((first, mixed)), torch.stack((mixed, second))))


def delay_corrected(trajectory: Tensor, delays: Tensor) -> Tensor:
    """Return the trajectory along which spokes were measured.

    Args:
        trajectory: ``(frames, spokes, samples, 2)`` in cycles per pixel, as it was planned.
        delays: ``(2, 2)``, of :func:`estimate_gradient_delays`.

    Returns:
        a trajectory of that shape, kept within [-0.5, 0.5].
    """
    ends = trajectory[:, :, -1:] - trajectory[:, :, :1]
    return (trajectory + ends / ends.norm(dim=3, keepdim=True) @ delays).clamp(-0.5, 0.5)


def _quadratic(directions: Tensor) -> Tensor:
    """Coefficients of the entries of ``D`` (row, mixed, column) in ``n^T D n``, ``(spokes, 3)``."""
    rows, columns = directions.unbind(dim=1)
    return torch.stack((rows.square(), 2 * rows * columns, columns.square()), dim=1)
