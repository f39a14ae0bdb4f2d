"""Parts of all mask families: coordinates about DC, sample count, fully sampled centre, choice of samples."""

from __future__ import annotations

import torch
from torch import Tensor


def n_samples(rate: float, n: int) -> int:
    """The count nearest to ``rate`` of ``n`` samples, at least the DC sample."""
    return max(1, round(rate * n))


def centered_axis(n: int, device: torch.device) -> Tensor:
    """Distance from DC at ``n // 2``, in samples: float64 ``(n,)``."""
    return torch.arange(n, dtype=torch.float64, device=device) - n // 2


def centered_grid(shape: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns from DC, in samples: float64 ``(height, 1)`` and ``(1, width)``."""
    return centered_axis(shape[0], device)[:, None], centered_axis(shape[1], device)[None, :]


def relative_radius(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Distance from DC, 1 at the middle of each edge and about 1.41 in the corners: ``(height, width)``."""
    rows, columns = centered_grid(shape, device)
    return torch.hypot(rows / (shape[0] / 2), columns / (shape[1] / 2))


def center_span(n: int, center_fraction: float) -> slice:
    """The fully sampled middle of an axis: ``center_fraction`` of it rounded to samples, DC at least."""
    if not 0 <= center_fraction <= 1:
        raise ValueError(f"center_fraction must be in [0, 1], got {center_fraction}")
    length = max(1, round(center_fraction * n))
    start = n // 2 - length // 2
    return slice(start, start + length)


def center_box(shape: tuple[int, int], rate: float, center_fraction: float | None, device: torch.device) -> Tensor:
    """The fully sampled box of a 2-D family, bool ``(height, width)``: ``center_fraction`` of each axis.

    None stands for 0.04, or the rate if that is less, which always fits.
    """
    fraction = min(0.04, rate) if center_fraction is None else center_fraction
    box = torch.zeros(shape, dtype=torch.bool, device=device)
    box[center_span(shape[0], fraction), center_span(shape[1], fraction)] = True
    taken, allowed = int(box.sum()), n_samples(rate, shape[0] * shape[1])
    if taken > allowed:
        raise ValueError(
            f"center_fraction={fraction:.4g} alone takes {taken} of {shape} samples, but rate={rate:.4g} allows "
            f"{allowed}; lower center_fraction or raise the rate"
        )
    return box


def keep_best(score: Tensor, count: int) -> Tensor:
    """True at the ``count`` highest scores of each row: ``(batch, n)`` -> bool ``(batch, n)``."""
    best = score.topk(count, dim=1, sorted=False).indices
    return torch.zeros_like(score, dtype=torch.bool).scatter_(1, best, True)
