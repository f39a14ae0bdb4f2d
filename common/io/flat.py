"""Arrays that lie in a file value by value, uncompressed: plain reads at computed places.

Not ``numpy.memmap``, because a mapped page counts as memory of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from common.errors import DataError
from common.io.bounded import n_bytes_of
from common.io.layout import Layout
from common.io.source import Opened, Source
from common.io.spec import Region, Spec


@dataclass(frozen=True)
class FlatArray:
    """An array inside a file, its last axis contiguous.

    Attributes:
        offset: place of its first byte.
        shape: sizes of its axes.
        dtype: type with the byte order of the file.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.offset + n_bytes_of(self.shape, self.dtype, "array")

    def read(self, file: FileIO, region: Region) -> np.ndarray:
        """Read the values of a region.

        Raises:
            EOFError: if the file ends inside.
        """
        block = np.empty([part.stop - part.start for part in region], self.dtype)
        octets = block.view(np.uint8)
        for index, position in _runs(self.shape, region):
            file.seek(self.offset + position * self.dtype.itemsize)
            view = memoryview(octets[index]).cast("B")
            while view:
                count = file.readinto(view)
                if not count:
                    raise EOFError(f"ends at byte {file.tell()}, expected values there")
                view = view[count:]
        return block

    def opened(self, file: FileIO) -> Opened:
        """Return the file for a source to read from."""
        return Opened(partial(self.read, file), file.close)


def _runs(shape: Sequence[int], region: Region) -> Iterator[tuple[tuple[int, ...], int]]:
    """The contiguous runs of a region: where each begins in a block of the region, and in the array."""
    cut = [axis for axis, (n, part) in enumerate(zip(shape, region, strict=True)) if (part.start, part.stop) != (0, n)]
    last = cut[-1] if cut else 0  # later axes are whole, so that runs go on over them
    strides = [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]
    corner = sum(part.start * stride for part, stride in zip(region, strides, strict=True))
    for index in np.ndindex(*(part.stop - part.start for part in region[:last])):
        yield index, corner + sum(n * stride for n, stride in zip(index, strides, strict=False))


def flat_source(
    path: Path,
    spec: Spec,
    array: FlatArray,
    layout: Layout,
    *,
    unpack: Callable[[], FileIO] | None = None,
    **options: Any,
) -> Source:
    """Return values one after the other in a file as a source.

    Args:
        path: the file.
        spec: description of the image.
        array: place of the values.
        layout: axes of the stored array.
        unpack: opens the file with the values, for formats that pack it; ``None``: ``path`` holds them.
        options: options of :class:`~common.io.Source`.

    Raises:
        DataError: if the file is too short.
    """
    size = path.stat().st_size
    if unpack is None and array.end > size:
        raise DataError(
            f"{path}: truncated, or its shape or type is another: {array.end} bytes are needed, it has {size}; copy "
            "the file again, or correct the shape or type that was given"
        )
    open_file = partial(_open, path, array, unpack)
    return Source(path, spec, open_file, layout=layout, key=f"at {array.offset}", **options)


def _open(path: Path, array: FlatArray, unpack: Callable[[], FileIO] | None) -> Opened:
    return array.opened(FileIO(path) if unpack is None else unpack())
