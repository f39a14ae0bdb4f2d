"""Images on disk that are written region by region."""

from __future__ import annotations

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType

import numpy as np

from common.data.volumes.flat import FlatArray, allocate
from common.data.volumes.spec import Region, VolumeSpec, checked_spec
from common.errors import DataError, file_errors

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFullError(DataError):
    """There is no room for the output; nothing that was written is lost."""


@contextmanager
def disk_errors(path: Path, n_bytes: int) -> Iterator[None]:
    """One line for what the operating system refuses inside the block.

    Args:
        path: what is being written.
        n_bytes: what it needs as a whole.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by this package, and speaks for itself
            raise
        if error.errno not in _FULL:
            raise DataError(f"{path}: cannot be written ({error.strerror or error}); check the folder") from error
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        free = shutil.disk_usage(folder).free
        raise DiskFullError(
            f"{path}: the disk is full ({error.strerror}), the output needs up to {_size(n_bytes)} and "
            f"{_size(free)} are free; make room and run the same again: it goes on where it stopped"
        ) from error


@contextmanager
def removed_on_error(path: Path) -> Iterator[Path]:
    """A path, of which nothing is left if the block ends with an error."""
    try:
        yield path
    except BaseException:
        remove(path)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"


class VolumeSink(ABC):
    """An image that is written region by region, in any order, and has its name only once it is whole.

    Until then the values lie in ``partial`` beside it. A process that is killed leaves ``partial``, and another can
    go on with it: whatever `write` has put there is there.

    Attributes:
        path: the file or folder to be.
        partial: ``<path>.partial``.
        spec: of the image; as stored, which may be another type than was asked for.

    Raises:
        DataError: if the format cannot hold the image.
    """

    def __init__(self, path: Path, spec: VolumeSpec) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self.spec = checked_spec(str(path), spec)

    @abstractmethod
    def create(self) -> None:
        """Start anew, whatever ``partial`` was; the space is reserved where the system can do that.

        Raises:
            DataError: if ``path`` is a folder: unlike a file it is not replaced.
        """

    @abstractmethod
    def resume(self) -> None:
        """Go on with ``partial``.

        Raises:
            DataError: if it is damaged.
        """

    @abstractmethod
    def write(self, region: Region, block: np.ndarray) -> None:
        """Stored values of a region, axes and type as in ``spec``."""

    @abstractmethod
    def read(self, region: Region) -> np.ndarray:
        """What was written there."""

    @abstractmethod
    def close(self) -> None:
        """Release ``partial``, which stays."""

    def finish(self) -> None:
        """Give the image its name."""
        self.close()
        os.replace(self.partial, self.path)

    def discard(self) -> None:
        """Remove ``partial``."""
        self.close()
        remove(self.partial)

    def _make_way(self) -> None:
        if self.path.is_dir():
            raise DataError(f"{self.path}: is there already; remove it, or choose another output")
        self.discard()

    def __enter__(self) -> VolumeSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class FlatSink(VolumeSink):
    """An image whose values lie in one file uncompressed, in one array or several, at places known before."""

    def __init__(self, path: Path, spec: VolumeSpec) -> None:
        super().__init__(path, spec)
        self._file: FileIO | None = None

    @abstractmethod
    def _begin(self, path: Path) -> None:
        """Write the file, all but the values."""

    @abstractmethod
    def _locate(self, path: Path) -> int:
        """Learn from the file that `_begin` wrote where the values go; returns the byte after the last."""

    @abstractmethod
    def _arrays(self, region: Region) -> Iterator[tuple[Region, FlatArray]]:
        """The arrays that a region of the image touches, each with the region that it holds."""

    def create(self) -> None:
        """Write the file without values, and reserve the space for them."""
        self._make_way()
        self._begin(self.partial)
        allocate(self.partial, self._locate(self.partial))
        self._file = FileIO(self.partial, "r+")

    def resume(self) -> None:
        """Open the file and find the arrays."""
        with file_errors(self.partial, "an unfinished output"):
            self._locate(self.partial)
        self._file = FileIO(self.partial, "r+")

    def write(self, region: Region, block: np.ndarray) -> None:
        """To the arrays that the region touches."""
        file = self._opened
        for array, inside, part in self._touched(region):
            array.write(file, inside, block[part])

    def read(self, region: Region) -> np.ndarray:
        """From the arrays that the region touches."""
        file, block = self._opened, np.empty([part.stop - part.start for part in region], self.spec.dtype)
        for array, inside, part in self._touched(region):
            block[part] = array.read(file, inside)
        return block

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _opened(self) -> FileIO:
        if self._file is None:
            raise ValueError(f"{self.partial}: not open; create or resume it first")
        return self._file

    def _touched(self, region: Region) -> Iterator[tuple[FlatArray, Region, Region]]:
        """Arrays, the region of each that is wanted, and its place in ``region``."""
        for place, array in self._arrays(region):
            both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(region, place, strict=True)]
            yield array, _seen_from(place, both), _seen_from(region, both)


class OneArraySink(FlatSink):
    """A file with one array."""

    _array: FlatArray

    @abstractmethod
    def _layout(self, path: Path) -> FlatArray:
        """Where the array is in the file that `_begin` wrote."""

    def _locate(self, path: Path) -> int:
        self._array = self._layout(path)
        return self._array.end

    def _arrays(self, region: Region) -> Iterator[tuple[Region, FlatArray]]:
        yield tuple(slice(0, n) for n in self.spec.shape), self._array


def _seen_from(region: Region, other: Iterable[slice]) -> Region:
    """Another region in coordinates that begin at the corner of ``region``."""
    return tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(region, other, strict=True))
