"""Radial and spiral trajectories rounded to the Cartesian grid, one sample thick.

Lines are rasterised as by a digital differential analyser: one sample per step along the longer axis.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from common.operators.masks.grid import center_box, centered_axis, centered_grid, keep_best, n_samples
from common.operators.masks.streams import uniform
from torch import Tensor

GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2  # 111.246 degrees


def radial(streams: Tensor, shape: tuple[int, int], rate: float, *, angle_deg: float | None = None) -> Tensor:
    """Spokes through DC from edge to edge, spread evenly over 180 degrees.

    There are just enough spokes to reach the rate; the surplus is cut from the outermost ends, in the corners.

    Args:
        streams: random streams, ``(batch,)``.
        shape: height and width; angles are those of the grid drawn with square samples.
        rate: sampled fraction.
        angle_deg: angle of the first spoke from the row through DC. None draws one for each mask.

    Returns:
        Bool ``(batch, height, width)``.
    """
    count = n_samples(rate, math.prod(shape))
    n_spokes = _n_spokes(False, shape, count)
    angles = spoke_angles(n_spokes, _first_angle(streams, angle_deg, math.pi / n_spokes))
    inner = _inner_rank(shape, streams.device)
    missed = _spoke_times(angles, shape) == _never(angles, shape)
    return keep_best(-(inner + missed * inner.numel()), count).view(-1, *shape)


def radial_golden(streams: Tensor, shape: tuple[int, int], rate: float, *, angle_deg: float | None = None) -> Tensor:
    """Spokes through DC, each turned from the one before by the golden angle, 111.246 degrees.

    After Winkelmann et al. 2007, doi:10.1109/TMI.2006.885337. Samples are taken in the order of acquisition until the
    rate is reached; of the last spoke, the part about DC.

    Args:
        streams: random streams, ``(batch,)``.
        shape: height and width; angles are those of the grid drawn with square samples.
        rate: sampled fraction.
        angle_deg: angle of the first spoke from the row through DC. None draws one for each mask.

    Returns:
        Bool ``(batch, height, width)``.
    """
    count = n_samples(rate, math.prod(shape))
    # the count differs by a few samples between turns; spokes that are not needed are not used
    n_spokes = math.ceil(1.1 * _n_spokes(True, shape, count)) + 2
    angles = spoke_angles(n_spokes, _first_angle(streams, angle_deg, math.pi), golden=True)
    times = _spoke_times(angles, shape)
    missed = times == _never(angles, shape)
    return keep_best(-(times + missed * _inner_rank(shape, streams.device)), count).view(-1, *shape)


def spiral(
    streams: Tensor,
    shape: tuple[int, int],
    rate: float,
    *,
    power: float = 3.0,
    center_fraction: float | None = None,
    angle_deg: float | None = None,
) -> Tensor:
    """One spiral from DC to the corners, elliptic where the grid is not square; the ``count`` samples nearest to it.

    Its radius is (angle / last angle)^power. The number of turns is the one with which a line one sample thick covers
    the rate, so that the nearest samples are that line; towards the centre, turns closer than one sample fill it.

    Args:
        streams: random streams, ``(batch,)``.
        shape: height and width.
        rate: sampled fraction.
        power: 1 is Archimedes' spiral; above 1, the turns lie closer at the centre.
        center_fraction: fraction of each axis in the full central box. None is 0.04, or the rate if that is less.
        angle_deg: angle at which the spiral leaves DC. None draws one for each mask.

    Returns:
        Bool ``(batch, height, width)``.
    """
    if not power >= 1:
        raise ValueError(f"power must be at least 1 (Archimedes' spiral), got {power}")
    count = n_samples(rate, math.prod(shape))
    center = center_box(shape, rate, center_fraction, streams.device)
    turns, steepness = _spiral_turns(shape, _n_turns(shape, count, power), power, streams.device)
    phase = turns.flatten() - _first_angle(streams, angle_deg, 2 * math.pi) / (2 * math.pi)
    distance = (phase - phase.round()).abs() / steepness.flatten()
    return keep_best(-distance.masked_fill(center.flatten(), -1), count).view(-1, *shape)


def spoke_angles(n_spokes: int, first: Tensor, golden: bool = False) -> Tensor:
    """Angles of ``n_spokes`` spokes from ``first``, ``(batch, 1)``, in radians and in order: ``(batch, n_spokes)``."""
    step = GOLDEN_ANGLE if golden else math.pi / n_spokes
    return first + step * torch.arange(n_spokes, dtype=torch.float64, device=first.device)


def rasterised_spokes(angles: Tensor, shape: tuple[int, int]) -> Tensor:
    """Whole spokes through DC at ``angles`` ``(batch, n_spokes)`` in radians: bool ``(batch, height, width)``."""
    return (_spoke_times(angles, shape) < _never(angles, shape)).view(-1, *shape)


def _first_angle(streams: Tensor, angle_deg: float | None, period: float) -> Tensor:
    if angle_deg is None:
        return uniform(streams, 1) * period
    return torch.full_like(streams, math.radians(angle_deg), dtype=torch.float64)[:, None]


def _steps(shape: tuple[int, int]) -> int:
    return 2 * (max(shape) // 2) + 1


def _never(angles: Tensor, shape: tuple[int, int]) -> int:
    return angles.shape[1] * _steps(shape)


def _spoke_times(angles: Tensor, shape: tuple[int, int]) -> Tensor:
    """When each sample is first met, spoke by spoke and outwards from DC: int64 ``(batch, height * width)``."""
    height, width = shape
    steps = centered_axis(_steps(shape), angles.device)
    steps = steps[steps.abs().argsort(stable=True)]
    cos, sin = angles.cos()[..., None], angles.sin()[..., None]
    longer = torch.maximum(cos.abs(), sin.abs())
    rows = (steps * (sin / longer)).round().long() + height // 2
    columns = (steps * (cos / longer)).round().long() + width // 2
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    samples = torch.where(inside, rows * width + columns, height * width).flatten(1)
    times = torch.arange(samples.shape[1], device=angles.device).expand_as(samples)
    first = times.new_full((len(angles), height * width + 1), samples.shape[1])
    return first.scatter_reduce_(1, samples, times, "amin")[:, :-1]


@lru_cache(maxsize=64)
def _inner_rank(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Place of each sample in the order of distance from DC, opposite samples next to each other: int64 ``(n,)``."""
    rows, columns = centered_grid(shape, torch.device("cpu"))
    half_turn = torch.atan2(rows, columns).remainder(math.pi).flatten()
    order = half_turn.argsort(stable=True)
    order = order[(rows**2 + columns**2).flatten()[order].argsort(stable=True)]
    return order.argsort().to(device)


@lru_cache(maxsize=256)
def _n_spokes(golden: bool, shape: tuple[int, int], count: int) -> int:
    """Fewest spokes that meet at least ``count`` samples at each of some turns of the fan."""
    turns = torch.arange(0.1, 1, 0.2, dtype=torch.float64, device="cpu")[:, None]
    low, high = 0, 4 * max(shape)
    while high - low > 1:
        middle = (low + high) // 2
        angles = spoke_angles(middle, turns * (math.pi if golden else math.pi / middle), golden)
        n_met = (_spoke_times(angles, shape) < _never(angles, shape)).sum(1).min()
        low, high = (low, middle) if n_met >= count else (middle, high)
    return high


def _spiral_turns(shape: tuple[int, int], n_turns: float, power: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Maps ``turns``, whole on the spiral, and its speed, the change per sample: both ``(height, width)``.

    The radius is 1 in the corners. The speed is that along the faster axis, so that turns / speed counts samples as a
    rasterised line does.
    """
    rows, columns = centered_grid(shape, device)
    to_corner = math.sqrt(0.5)
    rows, columns = rows / (shape[0] * to_corner), columns / (shape[1] * to_corner)
    radius = torch.hypot(rows, columns).clamp_min(1e-12)
    turns = n_turns * radius ** (1 / power) - torch.atan2(rows, columns) / (2 * math.pi)
    outwards = n_turns / power * radius ** (1 / power - 1) / radius
    around = 1 / (2 * math.pi * radius**2)
    by_row = (outwards * rows - around * columns) / (shape[0] * to_corner)
    by_column = (outwards * columns + around * rows) / (shape[1] * to_corner)
    return turns, torch.maximum(by_row.abs(), by_column.abs()).clamp_min(1e-12)


@lru_cache(maxsize=256)
def _n_turns(shape: tuple[int, int], count: int, power: float) -> float:
    """Turns with which a line one sample thick is expected to meet ``count`` samples, whatever its first angle."""
    # 2 % fewer, since the nearest ``count`` samples of just enough turns leave gaps in the line
    count = math.ceil(0.98 * count)
    low, high = 0.0, 4.0 * power * max(shape)
    for _ in range(40):
        middle = (low + high) / 2
        speed = _spiral_turns(shape, middle, power, torch.device("cpu"))[1]
        low, high = (low, middle) if speed.clamp_max(1).sum() >= count else (middle, high)
    return high
