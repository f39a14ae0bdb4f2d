"""Volumes put together from slices that come one by one, in any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common.errors import DataError


class VolumeAssembler:
    """Collects the slices that an evaluator hands out; only unfinished volumes are in memory.

    :meth:`add` returns a volume when its last slice has come, and :meth:`finish` checks that none is left.
    """

    def __init__(self) -> None:
        self._open: dict[Path, dict[int, np.ndarray]] = {}
        self._n_slices: dict[Path, int] = {}
        self._done: set[Path] = set()

    def add(self, path: Path | str, index: int, n_slices: int, image: np.ndarray) -> np.ndarray | None:
        """Take one slice, ``[height, width]``, the ``index``-th of the ``n_slices`` of a file; it is copied.

        Returns:
            the volume ``[slices, height, width]`` if this was its last slice, else ``None``.

        Raises:
            DataError: a slice that came before, lies outside, or does not fit the others.
        """
        path, index, n_slices, image = Path(path), int(index), int(n_slices), np.array(image)
        slices = self._open.get(path, {})
        if path in self._done or index in slices:
            raise DataError(f"{path}: slice {index} came twice; give each slice once")
        if not 0 <= index < n_slices or n_slices != self._n_slices.get(path, n_slices):
            raise DataError(
                f"{path}: got slice {index} of {n_slices}, expected 0 <= slice < {self._n_slices.get(path, n_slices)}"
            )
        if image.ndim != 2 or any(image.shape != other.shape for other in slices.values()):
            sizes = sorted({other.shape for other in slices.values()})
            raise DataError(f"{path}: slice {index} is {list(image.shape)}, expected 2-D like the others {sizes}")
        slices[index] = image
        if len(slices) < n_slices:
            self._open[path], self._n_slices[path] = slices, n_slices
            return None
        self._open.pop(path, None)
        self._n_slices.pop(path, None)
        self._done.add(path)
        return np.stack([slices[i] for i in range(n_slices)])

    def finish(self) -> None:
        """Checks that no volume is unfinished.

        Raises:
            DataError: the volumes and the slices that are missing.
        """
        missing = [
            f"{path} lacks slices {', '.join(str(i) for i in range(self._n_slices[path]) if i not in slices)}"
            for path, slices in self._open.items()
        ]
        if missing:
            raise DataError(f"incomplete volumes, not written: {'; '.join(missing)}; reconstruct all their slices")
