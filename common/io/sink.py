"""Writing: regions of an image in any order, into a file that appears whole or not at all."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from itertools import product
from pathlib import Path
from types import TracebackType

import numpy as np
from common.errors import DataError, file_errors
from common.io.disk import allocate, disk_errors, remove, removed_on_error
from common.io.flat import FlatArray
from common.io.journal import Journal, checksum, region_of, region_text
from common.io.spec import Region, Spec, checked_spec

logger = logging.getLogger("recon")


class Sink(ABC):
    """An image that is written region by region, in any order, and gets its name only once it is whole.

    Until then the values lie in ``<path>.partial``. With an identity, `begin` keeps ``<path>.journal`` beside it: after
    a kill, a full disk or a crash, the same program with the same identity resumes after the last written region::

        with open_sink("out.tif", like=spec) as sink:
            sink.begin({"input": source.identity(), "weights": digest})
            for region in regions:
                if not sink.holds(region):
                    sink.write(region, values)
            sink.finish()

    A format module derives from this class or from one of its ready-made kinds (:class:`FlatSink`,
    :class:`OneArraySink`, :class:`EncodedSink`), and writes `_create`, `_resume`, `_write`, `_read` and `_release`.

    Attributes:
        path: the file or folder to be.
        partial: ``<path>.partial``.
        spec: description of the image as stored; its type, in which values are written, may be another than was asked
            for.
        journal: which regions are written, if an identity was given.

    Raises:
        DataError: if the format cannot hold the image.
    """

    def __init__(self, path: Path, spec: Spec) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self.spec = checked_spec(str(path), spec)
        self.journal = Journal(path.with_name(f"{path.name}.journal"))
        self._has_journal = False
        self._is_named = False

    def begin(self, identity: Mapping[str, str] | None = None) -> None:
        """Start the output, or resume an unfinished one of the same identity.

        Args:
            identity: what the values depend on: input, weights, options. ``None``: start anew, and keep no journal.

        Raises:
            DataError: if ``path`` is a folder, which unlike a file is not replaced; if an unfinished output has
                another identity or is damaged; DiskFullError if the disk has no room.
        """
        with disk_errors(self.path, self.spec.n_bytes):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if identity is not None and self.journal.path.exists():
                self.journal.resume(identity)
                if self.journal.done and self.partial.exists():
                    with file_errors(self.partial, "an unfinished output"):
                        self._resume()
                    self._has_journal = True
                    self.journal.begin(identity, self._verified())
                    return
                if self._lacks_only_the_name():
                    self._has_journal = self._is_named = True
                    return
            self._start(identity)

    def _start(self, identity: Mapping[str, str] | None) -> None:
        if self.path.is_dir():
            raise DataError(f"{self.path}: exists already; remove it, or choose another output")
        remove(self.partial)
        self.journal.remove()
        if identity is not None:
            self._has_journal = True
            self.journal.begin(identity)
        try:
            self._create()
        except BaseException:
            self.discard()
            raise

    def _lacks_only_the_name(self) -> bool:
        """Return True if a run was killed after the output had got its name, before the journal was removed."""
        if self.partial.exists() or not self.path.exists():
            return False
        n_written = sum(
            int(np.prod([part.stop - part.start for part in region_of(text)], dtype=object))
            for text in self.journal.done
        )
        return n_written == self.spec.n_values

    def _verified(self) -> dict[str, int]:
        """The written regions whose values are those that were written."""
        done = self.journal.done
        sound = {text: value for text, value in done.items() if self._found(region_of(text)) == value}
        lost = len(done) - len(sound)
        logger.info(
            f"{self.path}: resumed, {len(sound)} parts are written"
            + (f", {lost} had not reached the disk" if lost else "")
        )
        return sound

    def _found(self, region: Region) -> int | None:
        try:
            return checksum(self._read(region))
        except EOFError:
            return None

    @property
    def n_written(self) -> int:
        """Number of regions that are written, of an output with a journal."""
        return len(self.journal.done)

    def holds(self, region: Sequence[slice]) -> bool:
        """Return True if exactly this region has been written, by this process or an earlier one."""
        return self._is_named or region_text(self.spec.checked_region(region)) in self.journal.done

    def write(self, region: Sequence[slice], values: np.ndarray) -> None:
        """Write stored values of a region, with the axes and the type of ``spec``.

        Raises:
            ValueError: for values of another shape or type.
            DataError: if the disk refuses them; DiskFullError if it is full.
        """
        parts = self.spec.checked_region(region)
        shape = tuple(part.stop - part.start for part in parts)
        if values.shape != shape or values.dtype != self.spec.dtype:
            raise ValueError(
                f"{self.path}: expected values {list(shape)} {self.spec.dtype}, got {list(values.shape)} {values.dtype}"
            )
        with disk_errors(self.path, self.spec.n_bytes):
            self._write(parts, values)
            if self._has_journal:
                self.journal.add(parts, values)

    def read(self, region: Sequence[slice]) -> np.ndarray:
        """Read what was written there."""
        return np.asarray(self._read(self.spec.checked_region(region)), self.spec.dtype)

    def write_all(self, values: np.ndarray) -> Path:
        """Write a whole image at once, without a journal; return its path."""
        try:
            self.begin()
            self.write([slice(None)] * len(self.spec.shape), np.asarray(values))
            self.finish()
        except BaseException:
            self.discard()
            raise
        return self.path

    def finish(self) -> None:
        """Complete the image, give it its name and remove the journal."""
        with disk_errors(self.path, self.spec.n_bytes):
            if not self._is_named:
                self._finish()
                self._is_named = True
            self.close()
            if self._has_journal:
                self.journal.remove()

    def discard(self) -> None:
        """Remove everything that was written."""
        self.close()
        remove(self.partial)
        if self._has_journal:
            self.journal.remove()

    def close(self) -> None:
        """Release ``partial``, which stays, for another process to resume."""
        self._release()

    @abstractmethod
    def _create(self) -> None:
        """Make ``partial``, which does not exist; reserve its space where the system can do that."""

    @abstractmethod
    def _resume(self) -> None:
        """Open ``partial``, which another process left; any exception says that it is damaged."""

    @abstractmethod
    def _write(self, region: Region, values: np.ndarray) -> None:
        """Write values, which fit the region and the type."""

    @abstractmethod
    def _read(self, region: Region) -> np.ndarray:
        """Read values; EOFError if ``partial`` ends before."""

    @abstractmethod
    def _release(self) -> None:
        """Close ``partial``, if it is open."""

    def _finish(self) -> None:
        """Give ``partial`` its name; formats that are encoded as a whole do it here."""
        self._release()
        os.replace(self.partial, self.path)

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class FlatSink(Sink):
    """A file whose values lie uncompressed, in one array or several, at places known before."""

    def __init__(self, path: Path, spec: Spec) -> None:
        super().__init__(path, spec)
        self._file: FileIO | None = None

    @abstractmethod
    def _begin(self, path: Path) -> None:
        """Write the file, all but the values."""

    @abstractmethod
    def _locate(self, path: Path) -> int:
        """Find in the file that `_begin` wrote where the values go; return the byte after the last."""

    @abstractmethod
    def _arrays(self, region: Region) -> Iterator[tuple[Region, FlatArray]]:
        """The arrays that a region of the image touches, each with the region that it holds."""

    def _create(self) -> None:
        self._begin(self.partial)
        allocate(self.partial, self._locate(self.partial))
        self._file = FileIO(self.partial, "r+")

    def _resume(self) -> None:
        self._locate(self.partial)
        self._file = FileIO(self.partial, "r+")

    def _write(self, region: Region, values: np.ndarray) -> None:
        for array, inside, part in self._touched(region):
            array.write(self._writable, inside, values[part])

    def _read(self, region: Region) -> np.ndarray:
        values = np.empty([part.stop - part.start for part in region], self.spec.dtype)
        for array, inside, part in self._touched(region):
            values[part] = array.read(self._writable, inside)
        return values

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _writable(self) -> FileIO:
        if self._file is None:
            raise ValueError(f"{self.partial}: not open; begin it first")
        return self._file

    def _touched(self, region: Region) -> Iterator[tuple[FlatArray, Region, Region]]:
        """Arrays, the region of each that is wanted, and its place in ``region``."""
        for place, array in self._arrays(region):
            both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(region, place, strict=True)]
            yield array, _seen_from(place, both), _seen_from(region, both)


class OneArraySink(FlatSink):
    """A file with one array. A format module writes `_begin` and `_layout`."""

    _array: FlatArray

    @abstractmethod
    def _layout(self, path: Path) -> FlatArray:
        """Place of the array in the file that `_begin` wrote."""

    def _locate(self, path: Path) -> int:
        self._array = self._layout(path)
        return self._array.end

    def _arrays(self, region: Region) -> Iterator[tuple[Region, FlatArray]]:
        yield tuple(slice(0, n) for n in self.spec.shape), self._array


class EncodedSink(OneArraySink):
    """A format that is encoded as a whole, when all values are there; ``partial`` holds them flat until then.

    Either one file, or a folder with a file for each entry along one axis. A format module writes `_encode`, and for a
    folder `_entry_name`.

    Args:
        path: the file or folder to be.
        spec: description of the image.
        axis: the axis along which a folder has its files; "" for one file.
    """

    suffix = ""
    """Suffix of the temporary file, for encoders that look at it."""

    def __init__(self, path: Path, spec: Spec, axis: str = "") -> None:
        super().__init__(path, spec)
        self._axis = axis

    def _begin(self, path: Path) -> None:
        path.touch()

    def _layout(self, path: Path) -> FlatArray:
        return FlatArray.of(self.spec)

    @abstractmethod
    def _encode(self, index: int, path: Path) -> None:
        """Write one entry, or everything, which is entry 0, to a file; `_entry` has its values."""

    def _n_entries(self) -> int:
        """Number of files of a folder."""
        return self.spec.size(self._axis)

    def _entry_name(self, index: int) -> str:
        """File name of an entry of a folder."""
        raise NotImplementedError

    def _entry(self, index: int) -> np.ndarray:
        """Stored values of one entry without its axis, or of everything."""
        if not self._axis:
            return self._read(tuple(slice(0, n) for n in self.spec.shape))
        place = self.spec.axes.index(self._axis)
        return self._read(self.spec.region(**{self._axis: index})).squeeze(place)

    def _finish(self) -> None:
        self._release()
        self._resume()
        with removed_on_error(self.partial.with_name(f"{self.partial.name}{self.suffix or '.encoded'}")) as encoded:
            remove(encoded)
            if self._axis:
                encoded.mkdir()
                for index in range(self._n_entries()):
                    self._encode(index, encoded / self._entry_name(index))
            else:
                self._encode(0, encoded)
            self._release()
            os.replace(encoded, self.path)
        self.partial.unlink()


def _seen_from(region: Region, other: Sequence[slice]) -> Region:
    """Another region in coordinates that begin at the corner of ``region``."""
    return tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(region, other, strict=True))


def tiles_of(shape: Sequence[int], region: Region, tile: Sequence[int]) -> Iterator[tuple[tuple[int, ...], Region]]:
    """The tiles of a regular grid that a region touches: index of each along every axis, and the region it covers.

    A tile at the edge is whole, and so reaches beyond an image whose size is no multiple of the tile.
    """
    ranges = [range(part.start // n, -(-part.stop // n)) for part, n in zip(region, tile, strict=True)]
    for index in product(*ranges):
        yield index, tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, tile, strict=True))
