"""Arrays that lie in a file value by value, uncompressed: plain reads and writes at computed places.

Not ``numpy.memmap``: a mapped page counts as memory of the process, and a full disk kills the process that writes
one instead of raising an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
from common.errors import DataError
from common.io.bounded import n_bytes_of
from common.io.source import Companion, Source
from common.io.spec import Region, Spec


@dataclass(frozen=True)
class FlatArray:
    """An array inside a file.

    Attributes:
        offset: its first byte.
        shape: sizes of its axes as the file has them, the last one contiguous.
        dtype: with the byte order of the file.
        axes: for each of them the axis of the image; empty: the same order.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[int, ...] = ()

    @staticmethod
    def of(spec: Spec, offset: int = 0, dtype: np.dtype | None = None) -> FlatArray:
        """Values in the order of a spec's axes, x fastest: that of most formats, NIfTI and MetaImage included."""
        return FlatArray(offset, spec.shape, dtype or spec.dtype)

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.offset + n_bytes_of(self.shape, self.dtype, "array")

    def read(self, file: FileIO, region: Region) -> np.ndarray:
        """Values of a region of the image.

        Raises:
            EOFError: if the file ends inside.
        """
        inside = self._stored(region)
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
        return block.transpose(np.argsort(self.axes)) if self.axes else block

    def write(self, file: FileIO, region: Region, block: np.ndarray) -> None:
        """Values of a region of the image, with its own axes; converted to the byte order of the file."""
        inside = self._stored(region)
        ordered = block.transpose(self.axes) if self.axes else block
        octets = np.ascontiguousarray(ordered, self.dtype).view(np.uint8)
        for index, position in _runs(self.shape, inside):
            file.seek(self.offset + position * self.dtype.itemsize)
            view = memoryview(octets[index]).cast("B")
            while view:
                view = view[file.write(view) :]

    def _stored(self, region: Region) -> Region:
        return tuple(region[axis] for axis in self.axes) if self.axes else region


def _runs(shape: Sequence[int], region: Region) -> Iterator[tuple[tuple[int, ...], int]]:
    """The contiguous runs of a region: where each begins in a block of the region, and in the array."""
    cut = [axis for axis, (n, part) in enumerate(zip(shape, region, strict=True)) if (part.start, part.stop) != (0, n)]
    last = cut[-1] if cut else 0  # later axes are whole, so that runs go on over them
    strides = [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]
    corner = sum(part.start * stride for part, stride in zip(region, strides, strict=True))
    for index in np.ndindex(*(part.stop - part.start for part in region[:last])):
        yield index, corner + sum(n * stride for n, stride in zip(index, strides, strict=False))


class FlatSource(Source):
    """Values one after the other in a file.

    Args:
        path: what the user calls it.
        spec: description of the image.
        array: place of the values.
        unpack: opens the file with the values, for formats that pack it; ``None``: ``path`` holds them.
        name: name for messages; "" is the path.
        values_path: the file with the values, where it is not ``path``.
        files: all files that the values depend on; empty: ``path``.
        companions: other sources of the same pixels.
        kind_of_file: the format, for errors, such as "a NIfTI image".

    Raises:
        DataError: if the file is too short.
    """

    def __init__(
        self,
        path: Path,
        spec: Spec,
        array: FlatArray,
        *,
        unpack: Callable[[], FileIO] | None = None,
        name: str = "",
        values_path: Path | None = None,
        files: Sequence[Path] = (),
        companions: Mapping[Companion, Source] | None = None,
        kind_of_file: str = "an array",
    ) -> None:
        super().__init__(path, spec, name=name, files=files, companions=companions)
        self.kind_of_file = kind_of_file
        self.array = array
        self._values_path = values_path or path
        self._unpack = unpack
        size, end = self._values_path.stat().st_size, array.end
        if unpack is None and end > size:
            raise DataError(
                f"{self._values_path}: truncated, or its shape or type is another: {end} bytes are needed, it has "
                f"{size}; copy the file again, or correct the shape or type that was given"
            )

    def _open(self) -> FileIO:
        return FileIO(self._values_path) if self._unpack is None else self._unpack()

    def _read(self, region: Region) -> np.ndarray:
        return self.array.read(self._opened, region)

    def identity(self) -> str:
        """Text that changes when the file does, or the place of the values in it."""
        return f"{super().identity()} at {self.array.offset}"
