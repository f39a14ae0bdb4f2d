"""Reading: any region of an image or of k-space, whatever its format."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, ClassVar, Literal

import numpy as np
from common.errors import DataError, file_errors, given_options, source_option
from common.io.intensity import IntensityScale
from common.io.layout import Layout
from common.io.spec import Region, Spec, checked_spec, slabs

_CACHE = 2**28  # bytes
_HELD_OPEN = 64  # sources of a process whose files stay open between reads

Companion = Literal["mask", "target", "aliased", "phase", "calibration", "trajectory"]


@dataclass
class Opened:
    """An open file.

    Attributes:
        read: returns the stored values of a region, in any byte order; what it is given is up to the source.
        close: closes the file.
    """

    read: Callable[..., np.ndarray]
    close: Callable[[], None] = lambda: None


class Source:
    """Image or k-space on disk of which any region can be read, without the rest of it in memory.

    Opening reads headers only. The file is opened at the first `read` and may stay open between reads; a process keeps
    the 64 last used ones open. A source can be pickled and shared with forked workers: open files stay behind.

    Args:
        path: the file or folder.
        spec: axes, shape, type, geometry and intensity.
        open_file: opens the file; can be pickled.
        layout: axes of the stored array where they differ from those of ``spec``.
        name: name for messages; "" is the path.
        files: all files that the values depend on; empty: ``path``.
        companions: other sources of the same pixels.
        kind_of_file: what the file should be, for errors of decoders: "a PNG image".
        key: text that tells other values of the same file apart.

    Attributes:
        path: the file or folder.
        files: all files that the values depend on.
        name: name for messages; the path, and the data set inside it where there are several.
        spec: axes, shape, type, geometry and intensity, see :class:`~common.io.Spec`.
        companions: sources of what else the file holds about the same pixels:

            - "mask": sampling mask of k-space, real or bool, some of the axes t, z, y, x (others: the same for all);
            - "target": the true image, real or complex;
            - "aliased": the image that an undersampled measurement gives;
            - "phase": phase of "target", or of this image, in radians;
            - "calibration": k-space of separate reference lines, for coil maps;
            - "trajectory": places of non-Cartesian samples, see :func:`~common.io.noncartesian.trajectory_source`.

        options: options of the format that it was opened with, which errors repeat beside those that they advise.
        fill: value that replaces NaN and infinite ones; ``None``: they are refused.

    Raises:
        DataError: if it is no image, see :func:`~common.io.spec.checked_spec`.
    """

    def __init__(
        self,
        path: Path,
        spec: Spec,
        open_file: Callable[[], Opened] | None = None,
        *,
        layout: Layout | None = None,
        name: str = "",
        files: Sequence[Path] = (),
        companions: Mapping[Companion, Source | None] | None = None,
        kind_of_file: str = "a data file",
        key: str = "",
    ) -> None:
        self.path = path
        self.name = name or str(path)
        self.files = tuple(files) or (path,)
        self.spec = checked_spec(self.name, spec)
        self.companions = {name: one for name, one in (companions or {}).items() if one is not None}
        self.kind_of_file = kind_of_file
        self.options: Mapping[str, Any] = {}
        self.fill: float | None = None
        self._open_file, self._layout = open_file, layout
        self._key = f"{key} {layout.stored} {dict(layout.taken)}" if layout else key
        self._held: tuple[int, Opened] | None = None  # process, and what `open_file` returned there

    def read(self, region: Sequence[slice] | None = None) -> np.ndarray:
        """Stored values of one region.

        Args:
            region: a slice for each axis, see :meth:`Spec.region <common.io.Spec.region>`; ``None``: everything.

        Returns:
            an array of the region's shape and of ``spec.dtype``, which the caller may change.

        Raises:
            ValueError: for a region outside of the image.
            DataError: for a file that is damaged or has changed, and values that are not finite.
        """
        parts = self.spec.region() if region is None else self.spec.checked_region(region)
        shape = tuple(part.stop - part.start for part in parts)
        with given_options(self.options), file_errors(self.path, self.kind_of_file):
            values = np.asarray(self._read(parts))
        if values.shape != shape or values.dtype.newbyteorder("=") != self.spec.dtype:
            raise DataError(
                f"{self.name}: changed since it was opened: expected {list(shape)} {self.spec.dtype}, got "
                f"{list(values.shape)} {values.dtype}"
            )
        values = np.array(values, self.spec.dtype, order="C", copy=None if values.flags.writeable else True)
        # as real numbers, of which the processor takes many at a time
        if values.dtype.kind in "fc" and not np.isfinite(values.view(values.real.dtype)).all():
            self._fill(values, parts)
        return values

    def read_unit(self, region: Sequence[slice] | None, low: float, high: float) -> np.ndarray:
        """Values of one region as float32 (complex64): the meant value ``low`` becomes 0, ``high`` becomes 1."""
        return self.to_unit(self.read(region), low, high)

    def to_unit(self, stored: np.ndarray, low: float, high: float) -> np.ndarray:
        """Stored values as float32 (complex64): the meant value ``low`` becomes 0, ``high`` becomes 1."""
        try:
            return IntensityScale.between(low, high, self.spec.intensity).to_unit(stored)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error

    def _read(self, region: Region) -> np.ndarray:
        """Stored values of a region that lies inside; any byte order and memory layout."""
        if self._layout is None:
            return self.opened.read(region)
        return self._layout.shown(self.opened.read(self._layout.inside(region)), self.name)

    @property
    def opened(self) -> Opened:
        """Open file of this process; closed by `close`, or when 64 others are open."""
        if self._held is None or self._held[0] != os.getpid():  # a forked worker must not move its parent's position
            assert self._open_file is not None
            self.keep(self._open_file())
        assert self._held is not None
        _note_use(self)
        return self._held[1]

    def keep(self, opened: Opened) -> None:
        """Keep a file that is open already: then the first read opens nothing."""
        self._held = (os.getpid(), opened)
        _note_use(self)

    def close(self) -> None:
        """Release the file; the next `read` opens it again."""
        held, self._held = self._held, None
        if held is not None and held[0] == os.getpid():
            held[1].close()
        for companion in self.companions.values():
            companion.close()

    def identity(self) -> str:
        """Text that changes when the values do: place inside of the file, size and time of change of all files."""
        return f"{self.spec} {self.spec.dataset} {self._key} {files_digest(self.files)}"

    def blocks(self) -> Iterator[Region]:
        """Regions of bounded size that together are the image."""
        return slabs(self.spec.shape)

    def select(self, **parts: int | slice) -> Source:
        """Source of a part of this one: a number takes one entry and drops its axis, a slice keeps it.

        Example: ``source.select(t=0)`` is the first frame.

        Raises:
            ValueError: for an axis that the image lacks, or a part outside of it.
        """
        return _Selection(self, parts)

    def option(self, name: str, value: object) -> str:
        """Return the text of a command line that opens this source with one more option."""
        with given_options(self.options):
            return source_option(name, value)

    def _fill(self, values: np.ndarray, region: Region) -> None:
        bad = ~np.isfinite(values)
        if self.fill is None:
            where = ", ".join(
                f"{axis} {part.start}:{part.stop}" for axis, part in zip(self.spec.axes, region, strict=True)
            )
            raise DataError(
                f"{self.name}: {int(bad.sum())} of {values.size} values are NaN or infinite in [{where}]; repair the "
                f"file, or pass a value in their place: {self.option('fill', 0)}"
            )
        values[bad] = self.fill

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_held", None) is not None:
            self.close()


class DecodedSource(Source):
    """Source of a format whose pieces (a picture, a slice, a whole file) can only be decoded as a whole.

    Pieces last used are kept, see :class:`RecentArrays`. Other options are those of :class:`Source`.

    Args:
        path: the file or folder.
        spec: axes, shape, type, geometry and intensity.
        decode: returns the stored values of one piece, given its index along each of the counted axes; can be pickled;
            ``None``: a class derived from this one does it in `_piece`.
        n_counted: number of leading stored axes along which pieces are counted; 0: the whole is one piece.
        options: options of :class:`Source`.
    """

    def __init__(
        self, path: Path, spec: Spec, decode: Callable[..., np.ndarray] | None, n_counted: int = 0, **options: Any
    ) -> None:
        super().__init__(path, spec, **options)
        self._decode, self._n_counted = decode, n_counted
        self._recent = RecentArrays()

    def _read(self, region: Region) -> np.ndarray:
        stored = self._layout.inside(region) if self._layout else region
        counted, inside = stored[: self._n_counted], stored[self._n_counted :]
        pieces = [
            self._recent.get(index, lambda index=index: self._piece(*index))[inside]  # type: ignore[misc]
            for index in product(*(range(part.start, part.stop) for part in counted))
        ]
        values = np.array(pieces).reshape([part.stop - part.start for part in stored])
        return self._layout.shown(values, self.name) if self._layout else values

    def _piece(self, *index: int) -> np.ndarray:
        """Stored values of one piece."""
        assert self._decode is not None
        return self._decode(*index)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_recent": RecentArrays()}


class DerivedSource(Source):
    """Values that are computed from those of another source, which is closed with it.

    Args:
        source: the other one.
        spec: description of the values.
        options: options of :class:`Source`.
    """

    def __init__(self, source: Source, spec: Spec, **options: Any) -> None:
        self._source = source
        given = {"name": source.name, "files": source.files, "kind_of_file": source.kind_of_file, **options}
        super().__init__(source.path, spec, **given)

    def close(self) -> None:
        """Release both files."""
        super().close()
        self._source.close()

    def identity(self) -> str:
        """Text that changes when the values do."""
        return f"{self._source.identity()} {self._key}"


class _Selection(DerivedSource):
    """Part of another source, see :meth:`Source.select`."""

    def __init__(self, source: Source, parts: Mapping[str, int | slice]) -> None:
        spec = source.spec
        self._region = spec.region(**parts)
        dropped = [axis for axis, part in parts.items() if not isinstance(part, slice)]
        if {"y", "x"} & set(dropped):
            raise ValueError(f"expected one entry along coil, t or z, got {', '.join(dropped)}")
        self._dropped = tuple(spec.axes.index(axis) for axis in dropped)
        region = dict(zip(spec.axes, self._region, strict=True))
        geometry = spec.geometry.cropped({axis: part.start for axis, part in region.items()}, region.get("t"))
        for axis in dropped:
            geometry = geometry.without(axis) if axis in ("t", "z") else geometry
        sizes = {axis: part.stop - part.start for axis, part in region.items() if axis not in dropped}
        own = replace(spec, axes=tuple(sizes), shape=tuple(sizes.values()), geometry=geometry)
        companions: dict[Companion, Source] = {}
        for name, other in source.companions.items():
            shared = {axis: part for axis, part in parts.items() if other.spec.size(axis) == spec.size(axis) > 1}
            companions[name] = other.select(**shared) if shared else other
        where = ", ".join(f"{part.start}:{part.stop}" for part in self._region)
        super().__init__(source, own, companions=companions, key=f"[{where}]")
        self.fill = source.fill

    def _read(self, region: Region) -> np.ndarray:
        inner = iter(region)
        parts = []
        for n, outer in enumerate(self._region):
            part = slice(0, 1) if n in self._dropped else next(inner)
            parts.append(slice(outer.start + part.start, outer.start + part.stop))
        return self._source.read(parts).squeeze(self._dropped)


class RecentArrays:
    """Arrays last used, of what has to be decoded as a whole for one region of it.

    All sources of a process together keep up to 256 MiB, so that a data set may have thousands of them.
    """

    _arrays: ClassVar[OrderedDict[Hashable, np.ndarray]] = OrderedDict()
    _n_bytes: ClassVar[int] = 0
    _lock: ClassVar[Lock] = Lock()

    def __init__(self) -> None:
        self._owner = object()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array of a key; make it if it is not kept."""
        place = (self._owner, key)
        with self._lock:
            array = self._arrays.get(place)
            if array is not None:
                self._arrays.move_to_end(place)
                return array
        array = make()
        with self._lock:
            if place not in self._arrays:  # another thread may have made it
                self._arrays[place] = array
                RecentArrays._n_bytes += array.nbytes
            while self._n_bytes > _CACHE and len(self._arrays) > 1:
                RecentArrays._n_bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array


def files_digest(files: Sequence[Path]) -> str:
    """Text that changes with name, size and time of change of a file, or of any file in a folder."""
    digest = hashlib.sha256()
    for path in files:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file == path or file.is_file():
                stat = file.stat()
                relative = file.relative_to(path) if file != path else file.name
                digest.update(f"{relative}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


_recently_used: OrderedDict[int, weakref.ref[Source]] = OrderedDict()


def _note_use(source: Source) -> None:
    """Close the file of the source that was used longest ago, if more than `_HELD_OPEN` may be open."""
    _recently_used.pop(id(source), None)
    _recently_used[id(source)] = weakref.ref(source)
    while len(_recently_used) > _HELD_OPEN:
        other = _recently_used.popitem(last=False)[1]()
        if other is not None:
            other.close()
