"""Random point sets of variable density: independent samples, and samples that keep a distance (Poisson disc)."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product

import torch
from common.operators.masks.grid import center_box, keep_best, n_samples, relative_radius
from common.operators.masks.streams import mask_streams, uniform
from torch import Tensor

Window = tuple[slice, slice, slice]


def gaussian(
    streams: Tensor,
    shape: tuple[int, int],
    rate: float,
    *,
    sigma: float | None = None,
    center_fraction: float | None = None,
) -> Tensor:
    """Samples drawn without replacement with weights exp(-(k / sigma)^2 / 2), k = 1 at the middle of each edge.

    The draw takes the highest Gumbel-perturbed log weights (Efraimidis and Spirakis 2006,
    doi:10.1016/j.ipl.2005.11.003).

    Args:
        streams: random streams, ``(batch,)``.
        shape: height and width.
        rate: sampled fraction.
        sigma: width of the density, in half axes. None is 0.6 sqrt(rate), with which about 95 % of the samples next
            to DC are taken at any rate.
        center_fraction: fraction of each axis in the full central box. None is 0.04, or the rate if that is less.

    Returns:
        Bool ``(batch, height, width)``.
    """
    sigma = 0.6 * math.sqrt(rate) if sigma is None else sigma
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    center = center_box(shape, rate, center_fraction, streams.device)
    log_weight = -0.5 * (relative_radius(shape, streams.device) / sigma) ** 2
    score = log_weight.flatten() - (-uniform(streams, math.prod(shape)).log()).log()
    score = score.masked_fill(center.flatten(), math.inf)
    return keep_best(score, n_samples(rate, math.prod(shape))).view(-1, *shape)


def poisson(
    streams: Tensor,
    shape: tuple[int, int],
    rate: float,
    *,
    variation: float = 4.0,
    center_fraction: float | None = None,
) -> Tensor:
    """Variable-density Poisson disc: no two samples are closer than the smaller of their two radii.

    The radius grows linearly from DC and is scaled so that dart throwing reaches the rate; a surplus of about 1 % is
    then taken away at random. Where the radius is at most 1 every sample is taken; the first distance above that, the
    diagonal's, takes 37 % of a grid. So high rates are those of a large full centre, and a density that changes in
    steps with the distances a grid has.

    Args:
        streams: random streams, ``(batch,)``.
        shape: height and width.
        rate: sampled fraction.
        variation: radius at the middle of an edge over the radius at DC, at least 1.
        center_fraction: fraction of each axis in the full central box. None is 0.04, or the rate if that is less.

    Returns:
        Bool ``(batch, height, width)``.
    """
    if not variation >= 1:
        raise ValueError(f"variation must be at least 1 (an even density), got {variation}")
    count = n_samples(rate, math.prod(shape))
    center = center_box(shape, rate, center_fraction, streams.device)
    radius = disc_radius(shape, variation, center)
    scale = _disc_scale(shape, rate, variation, center_fraction)
    full = (radius * scale <= 1) | center
    priority = _priority(streams, shape)
    chosen = torch.zeros_like(priority, dtype=torch.bool)
    todo = torch.arange(len(streams), device=streams.device)
    while len(todo) > 0:
        thrown = _throw_darts(priority[todo], radius * scale)
        enough = thrown.flatten(1).sum(1) >= count
        chosen[todo[enough]] = thrown[enough]
        todo, scale = todo[~enough], 0.97 * scale
    score = priority + priority[0].numel() * (chosen.double() + full)
    return keep_best(score.flatten(1), count).view(-1, *shape)


def disc_radius(shape: tuple[int, int], variation: float, center: Tensor) -> Tensor:
    """Poisson-disc radius before scaling, ``(height, width)``: 1 at DC; 0, so no distance, in the full centre."""
    radius = 1 + (variation - 1) * relative_radius(shape, center.device)
    return radius.masked_fill(center, 0)


def _priority(streams: Tensor, shape: tuple[int, int]) -> Tensor:
    # ranks, since two equal priorities would block each other for ever
    rank = uniform(streams, math.prod(shape)).argsort(1).argsort(1) + 1
    return rank.double().view(-1, *shape)


def _throw_darts(priority: Tensor, radius: Tensor) -> Tensor:
    """Dart throwing in the order of priority, many darts at a time: bool ``(batch, height, width)``.

    A sample is taken once it has the highest priority among the undecided ones it conflicts with; those are then out.
    """
    pairs = _conflicts(radius)
    waiting = priority.clone()
    chosen = torch.zeros_like(waiting, dtype=torch.bool)
    while bool((waiting > 0).any()):
        rival = torch.zeros_like(waiting)
        for here, there, conflict in pairs:
            rival[here] = torch.maximum(rival[here], waiting[there] * conflict)
            rival[there] = torch.maximum(rival[there], waiting[here] * conflict)
        taken = waiting > rival
        out = taken.clone()
        for here, there, conflict in pairs:
            out[here] |= taken[there] & conflict
            out[there] |= taken[here] & conflict
        chosen |= taken
        waiting.masked_fill_(out, 0)
    return chosen


def _conflicts(radius: Tensor) -> list[tuple[Window, Window, Tensor]]:
    """For each offset, two shifted windows of the grid, and where their samples are too close to each other."""
    height, width = radius.shape
    reach = math.ceil(float(radius.max()))
    pairs = []
    for down, right in product(range(min(reach, height)), range(1 - min(reach, width), min(reach, width))):
        if (down, right) <= (0, 0):
            continue
        here = (slice(None), slice(0, height - down), slice(max(0, -right), width - max(0, right)))
        there = (slice(None), slice(down, height), slice(max(0, right), width - max(0, -right)))
        conflict = torch.minimum(radius[here[1:]], radius[there[1:]]) > math.hypot(down, right)
        if bool(conflict.any()):
            pairs.append((here, there, conflict))
    return pairs


@lru_cache(maxsize=256)
def _disc_scale(shape: tuple[int, int], rate: float, variation: float, center_fraction: float | None) -> float:
    """Largest radius scale with which one throw of darts gives 1 % more samples than needed."""
    cpu = torch.device("cpu")
    count = min(math.ceil(1.01 * n_samples(rate, math.prod(shape))), math.prod(shape))
    radius = disc_radius(shape, variation, center_box(shape, rate, center_fraction, cpu))
    priority = _priority(mask_streams(0, 1, cpu), shape)
    # at `low` no radius exceeds 1 and all is taken; at `high` even the densest packing, 1.16 / r^2, misses the rate
    low = 1 / max(1.0, float(radius.max()))
    high = math.sqrt(1.2 / rate * float((1 / radius.clamp_min(1) ** 2).mean()))
    while high > 1.004 * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _throw_darts(priority, radius * middle).sum() >= count else (low, middle)
    return low
