"""A MONAI data set that keeps what it read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from monai.data import Dataset


class CachedDataset(Dataset):
    """Items read when asked for, outside of MONAI's transforms, which would hide a reader's error behind their own.

    Args:
        data: one entry for each item, with its ``path``.
        transform: applied to an item after reading.
        cache: True to keep items in memory once read, before the transform.
    """

    def __init__(self, data: Sequence[dict[str, Any]], transform: Callable | None = None, cache: bool = False) -> None:
        super().__init__(data, transform)
        self._cache: dict[int, dict[str, Any]] | None = {} if cache else None

    @abstractmethod
    def _read(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The item of an entry of the data list."""

    def _transform(self, index: int) -> dict[str, Any]:
        if self._cache is None:
            item = self._read(self.data[index])
        else:
            if index not in self._cache:
                self._cache[index] = self._read(self.data[index])
            item = dict(self._cache[index])
        return item if self.transform is None else self.transform(item)
