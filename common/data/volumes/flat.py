"""Regions of an array that lies in a file value by value, uncompressed: plain reads and writes at computed places.

Not ``numpy.memmap``: a mapped page counts as memory of the process, and a full disk kills the process that writes
one instead of raising an error.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from common.data.volumes.spec import Region, VolumeSpec

SLICES_FIRST = (2, 0, 1)
"""Axes of a file that keeps slices one after the other, rows inside, as axes of (height, width, depth)."""


@dataclass(frozen=True)
class FlatArray:
    """An array inside a file.

    Attributes:
        offset: its first byte.
        shape: sizes of its axes as the file has them, the last one contiguous.
        dtype: with the byte order of the file.
        axes: for each of them the axis of the image, which is (height, width[, depth]).
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[int, ...]

    @staticmethod
    def slices_first(spec: VolumeSpec, offset: int = 0) -> FlatArray:
        """``[height, width]``, or ``[slices, height, width]``."""
        axes = SLICES_FIRST if len(spec.shape) == 3 else (0, 1)
        return FlatArray(offset, tuple(spec.shape[axis] for axis in axes), spec.dtype, axes)

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.offset + int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def read(self, file: FileIO, region: Region) -> np.ndarray:
        """Values of a region of the image.

        Raises:
            EOFError: if the file ends inside.
        """
        inside = tuple(region[axis] for axis in self.axes)
        block = np.empty([part.stop - part.start for part in inside], self.dtype)
        octets = block.view(np.uint8)
        for index, position in _runs(self.shape, inside):
            file.seek(self.offset + position * self.dtype.itemsize)
            view = memoryview(octets[index]).cast("B")
            while view:
                count = file.readinto(view)
                if not count:
                    raise EOFError(f"ends at byte {file.tell()}, expected values there")
                view = view[count:]
        return block.transpose(np.argsort(self.axes))

    def write(self, file: FileIO, region: Region, block: np.ndarray) -> None:
        """Values of a region of the image, of its own type and axes."""
        inside = tuple(region[axis] for axis in self.axes)
        octets = np.ascontiguousarray(block.transpose(self.axes), self.dtype).view(np.uint8)
        for index, position in _runs(self.shape, inside):
            file.seek(self.offset + position * self.dtype.itemsize)
            view = memoryview(octets[index]).cast("B")
            while view:
                view = view[file.write(view) :]


def _runs(shape: Sequence[int], region: Region) -> Iterator[tuple[tuple[int, ...], int]]:
    """The contiguous runs of a region: where each begins in a block of the region, and in the array."""
    cut = [axis for axis, (n, part) in enumerate(zip(shape, region, strict=True)) if (part.start, part.stop) != (0, n)]
    last = cut[-1] if cut else 0  # later axes are whole, so that runs go on over them
    strides = [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]
    corner = sum(part.start * stride for part, stride in zip(region, strides, strict=True))
    for index in np.ndindex(*(part.stop - part.start for part in region[:last])):
        yield index, corner + sum(n * stride for n, stride in zip(index, strides, strict=False))


def allocate(path: Path, n_bytes: int) -> None:
    """Makes a file ``n_bytes`` long, its space taken from the disk now where the system can do that.

    Raises:
        OSError: if the disk does not have it.
    """
    with open(path, "r+b") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, n_bytes)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    raise
        file.truncate(n_bytes)
