"""Measures of images, applied to volumes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_AT_ONCE = 16


def mean_over_slices(measure: Callable[..., Tensor], *volumes: Tensor) -> Tensor:
    """Mean over the slices of each axis, then over the three axes; few slices are in memory at a time.

    Args:
        measure: from images ``(batch, 1, height, width)``, as many as there are volumes, to values ``(batch,)``.
        volumes: ``(batch, 1, height, width, depth)``, of one shape.

    Returns:
        ``(batch,)``.
    """
    means = []
    for axis in (2, 3, 4):
        values = [
            measure(*(part.movedim(axis, 1).flatten(0, 1) for part in parts)).unflatten(0, (len(volumes[0]), -1))
            for parts in zip(*(volume.split(_AT_ONCE, dim=axis) for volume in volumes), strict=True)
        ]
        means.append(torch.cat(values, dim=1).mean(1))
    return torch.stack(means).mean(0)
