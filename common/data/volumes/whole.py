"""Volumes that fit into memory, as a MONAI data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.data.cached import CachedDataset
from common.data.volumes.finding import find_images
from common.data.volumes.intensity import IntensityRange, IntensityScale, find_range
from common.data.volumes.opening import open_source
from common.data.volumes.source import VolumeSource
from common.errors import DataError


def read_whole(source: VolumeSource, low: float, high: float) -> Tensor:
    """The whole image or volume, float32 ``(1, height, width[, depth])``.

    Args:
        source: the image.
        low: what becomes 0, see :func:`~common.data.volumes.find_range`.
        high: what becomes 1.

    Raises:
        DataError: for values that are not finite.
    """
    stored = source.read(tuple(slice(0, n) for n in source.spec.shape))
    if not np.isfinite(stored).all():
        raise DataError(f"{source.name}: has NaN or infinite values; replace them")
    values = IntensityScale.between(low, high, source.spec.rescale).to_unit(stored)
    return torch.from_numpy(np.ascontiguousarray(values))[None]


def find_volumes(
    dataset_dir: Path | str | None,
    split: str | None = None,
    hint: str = "",
    intensity_range: IntensityRange = "auto",
    **options: Any,
) -> list[dict[str, Any]]:
    """The data list of a folder of volumes: :func:`~common.data.find_images`, opened to see that they are volumes.

    Args:
        dataset_dir: see there.
        split: see there.
        hint: see there.
        intensity_range: as :class:`VolumeDataset` will have it, so that what does not fit is found here.
        options: of :func:`~common.data.volumes.open_source`.

    Returns:
        ``[{"path": ..., "slice": 0, "n_slices": 1}, ...]``: a volume counts as one slice.

    Raises:
        DataError: for an image of two axes.
    """
    found = find_images(dataset_dir, split, hint)
    for item in found:
        with open_source(item["path"], **options) as source:
            if len(source.spec.shape) != 3:
                raise DataError(
                    f"{source.name}: expected a volume, got one image of {list(source.spec.shape)}; put the slices of "
                    "a volume into a folder of their own, or in one file"
                )
            if intensity_range != "measured":
                find_range(source, intensity_range)
    return [{**item, "slice": 0, "n_slices": 1} for item in found]


class VolumeDataset(CachedDataset):
    """Whole volumes as dictionaries: ``image``, float32 ``(1, height, width, depth)``, and the entry of the data list.

    Args:
        data: see :func:`find_volumes`.
        transform: applied to an item after reading.
        cache: whether to keep volumes in memory once read, before the transform.
        intensity_range: what becomes [0, 1], see :func:`~common.data.volumes.find_range`.
        options: of :func:`~common.data.volumes.open_source`.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable | None = None,
        cache: bool = False,
        intensity_range: IntensityRange = "auto",
        **options: Any,
    ) -> None:
        super().__init__(data, transform, cache)
        self.intensity_range = intensity_range
        self.options = options

    def _read(self, entry: dict[str, Any]) -> dict[str, Any]:
        with open_source(entry["path"], **self.options) as source:
            return {**entry, "image": read_whole(source, *find_range(source, self.intensity_range))}
