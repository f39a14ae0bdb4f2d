"""A MONAI data set of cine series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from common.data.cached import CachedDataset
from common.data.cine.reader import CineReader, IntensityRange, open_cine
from common.errors import DataError

PARTS = ("recon", "truth", "kspace", "mask")


class CineDataset(CachedDataset):
    """Series as dictionaries of tensors, time last.

    An item has the entries of its data list, whichever the files have of

    - ``recon``, the aliased input, float32 ``(1, height, width, frames)`` in [0, 1];
    - ``truth``, likewise, or complex64 where the file has a phase;
    - ``kspace``, measured, complex64 ``(n_coils, height, width, frames)``, 0 where not sampled, and ``mask``, float32
      ``(1, height, width, frames)``;

    and ``intensity_range``, float64 ``(2,)``: the stored values that became 0 and 1.

    Args:
        data: see :func:`~common.data.cine.find_cine`.
        transform: applied to an item after reading.
        cache: whether to keep series in memory once read, before the transform.
        intensity_range: what becomes [0, 1], see :class:`~common.data.cine.CineReader`.
        options: of :func:`~common.data.cine.open_cine`; the same as `find_cine` got.

    Raises:
        DataError: at an item, naming the file, for what cannot be read; at a batch, for series of different sizes.
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
        ends = intensity_range if isinstance(intensity_range, (str, int, float)) else tuple(intensity_range)
        self.options = tuple(sorted({**options, "intensity_range": ends}.items()))

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The items of a batch, as PyTorch's loaders ask for them."""
        items = [self[index] for index in indices]
        _check_alike(items)
        return items

    def _read(self, entry: dict[str, Any]) -> dict[str, Any]:
        reader = _reader(str(entry["path"]), entry.get("truth_path"), self.options)
        values = reader.read(entry["slice"])
        return {**entry, **values, "intensity_range": torch.tensor(reader.intensity_range, dtype=torch.float64)}


@lru_cache(maxsize=1024)
def _reader(path: str, truth_path: str | None, options: tuple[tuple[str, Any], ...]) -> CineReader:
    return open_cine(path, truth_path, **dict(options))


def _check_alike(items: Sequence[dict[str, Any]]) -> None:
    """Checks that the series of a batch can be stacked."""
    first = items[0]
    for item in items[1:]:
        for part in PARTS:
            expected, got = ([*one[part].shape] if part in one else "none" for one in (first, item))
            if expected != got:
                raise DataError(
                    f"{item['path']}: expected {part} {expected} as {first['path']} in the same batch has, got {got}; "
                    "pass batch_size 1 for series that differ, or give series of one size"
                )
