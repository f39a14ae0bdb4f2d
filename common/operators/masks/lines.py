"""Cartesian undersampling: whole columns (phase-encoding lines) with a fully sampled centre.

The lines are whole, so the rate is met to half a line, 1 / (2 width): within 0.5 % of the samples from width 100 on.
"""

from __future__ import annotations

import torch
from common.operators.masks.grid import center_span, keep_best, n_samples
from common.operators.masks.streams import uniform
from torch import Tensor


def cartesian(streams: Tensor, shape: tuple[int, int], rate: float, *, center_fraction: float | None = None) -> Tensor:
    """Centre lines, and the other lines drawn uniformly without replacement.

    Args:
        streams: random streams, ``(batch,)``.
        shape: height and width.
        rate: sampled fraction.
        center_fraction: fraction of all lines in the full centre. None is 0.32 x rate, the fastMRI convention (0.08 at
            4-fold, 0.04 at 8-fold acceleration).

    Returns:
        Bool ``(batch, height, width)``.
    """
    height, width = shape
    n_lines, center = _line_budget(width, rate, center_fraction)
    score = uniform(streams, width)
    score[:, center] += 1
    return _columns(keep_best(score, n_lines), height)


def equispaced(
    streams: Tensor,
    shape: tuple[int, int],
    rate: float,
    *,
    center_fraction: float | None = None,
    offset: float | None = None,
) -> Tensor:
    """Centre lines, and the other lines at one spacing on either side.

    The spacing is (width - centre lines) / (lines - centre lines), as in fastMRI's equispaced masks, but lines are
    counted with the centre taken out, so that their number is exact for every offset. A spacing that is not whole
    alternates between its two neighbours. There are only as many different masks as there are offsets.

    Args:
        streams: random streams, ``(batch,)``.
        shape: height and width.
        rate: sampled fraction.
        center_fraction: as for ``cartesian``.
        offset: place of the first line, in spacings, in [0, 1). None draws it for each mask.

    Returns:
        Bool ``(batch, height, width)``.
    """
    height, width = shape
    n_lines, center = _line_budget(width, rate, center_fraction)
    if offset is not None and not 0 <= offset < 1:
        raise ValueError(f"offset must be in [0, 1) spacings, got {offset}")
    first = uniform(streams, 1) if offset is None else torch.full_like(streams, offset, dtype=torch.float64)[:, None]
    n_center = center.stop - center.start
    n_outer = n_lines - n_center
    index = torch.arange(n_outer, device=streams.device)
    place = ((index + first) * ((width - n_center) / max(n_outer, 1))).long()
    place = torch.where(place < center.start, place, place + n_center)
    sampled = torch.zeros(len(streams), width, dtype=torch.bool, device=streams.device).scatter_(1, place, True)
    sampled[:, center] = True
    return _columns(sampled, height)


def _line_budget(width: int, rate: float, center_fraction: float | None) -> tuple[int, slice]:
    n_lines = n_samples(rate, width)
    center = center_span(width, 0.32 * rate if center_fraction is None else center_fraction)
    if center.stop - center.start > n_lines:
        raise ValueError(
            f"{center_fraction=} alone takes {center.stop - center.start} of {width} lines, but rate={rate:.4g} allows "
            f"{n_lines}; lower center_fraction or raise the rate"
        )
    return n_lines, center


def _columns(sampled: Tensor, height: int) -> Tensor:
    return sampled[:, None, :].expand(-1, height, -1)
