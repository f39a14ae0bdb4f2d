"""What a file format has to offer: slices of stored values, and a file of the same format around new values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from common.errors import DataError


class Slices(ABC):
    """A file seen as slices ``[slices, height, width]`` of stored values.

    Making one reads headers only, and it holds no open file, so it can be pickled and shared with forked workers.

    Attributes:
        path: the file.
        name: the file, and the data set inside it if it has several; for error messages.
        shape: ``(slices, height, width)``.
        n_coils: how many such slices `load` returns at once, of different receiver coils.
        dtype: of the values that `load` returns.
        declared_peak: the largest magnitude of the image as written in the file's header, if it is.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype, *, name: str = "", n_coils: int = 1
    ) -> None:
        self.path = path
        self.name = name or str(path)
        self.dtype = np.dtype(dtype)
        self.n_coils = n_coils
        self.declared_peak: float | None = None
        if len(shape) != 3 or 0 in (*shape, n_coils):
            raise DataError(f"{self.name}: expected slices of at least one pixel, got shape {list(shape)}")
        if self.dtype.kind not in "buifc":
            raise DataError(f"{self.name}: expected real or complex numbers, got {self.dtype}; store numbers")
        self.shape: tuple[int, int, int] = (int(shape[0]), int(shape[1]), int(shape[2]))

    @property
    def slice_shape(self) -> tuple[int, ...]:
        """Of what `load` returns: ``(height, width)``, or ``(coils, height, width)`` of several coils."""
        return self.shape[1:] if self.n_coils == 1 else (self.n_coils, *self.shape[1:])

    @abstractmethod
    def load(self, index: int) -> np.ndarray:
        """Stored values of one slice, of `slice_shape`; reads no other slice."""


class Stack(Slices):
    """Slices of a file of which one like it can be written.

    Attributes:
        resizable: whether `write` takes slices of another height and width than were read.
    """

    resizable = False

    @abstractmethod
    def write(self, volume: np.ndarray, path: Path) -> None:
        """Writes real ``[slices, height, width]`` in stored units in this format, with this file's geometry."""


def to_dtype(volume: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Real values in another real type: rounded and clipped for integers, magnitudes' float type for complex."""
    if dtype.kind == "c":
        return volume.astype(np.float32 if dtype.itemsize == 8 else np.float64)
    if dtype.kind == "b":
        return volume >= 0.5
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        rounded = np.rint(volume)
        # compared before the cast: float64(2**64 - 1) rounds up to 2**64, which does not fit
        low, high = rounded <= limits.min, rounded >= limits.max
        inside = np.where(low | high, 0, rounded).astype(dtype)
        return np.where(high, dtype.type(limits.max), np.where(low, dtype.type(limits.min), inside))
    return volume.astype(dtype)
