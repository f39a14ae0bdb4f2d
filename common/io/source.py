"""Reading: any region of an image or of k-space, whatever its format."""

from __future__ import annotations

import hashlib
import os
import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, ClassVar, Literal

import numpy as np
from common.errors import DataError, file_errors
from common.io.intensity import IntensityScale
from common.io.spec import Region, Spec, checked_spec

_BLOCK = 2**24  # values that are read at once when a whole image is passed over
_CACHE = 2**28  # bytes
_HELD_OPEN = 64  # sources of a process whose files stay open between reads

Companion = Literal["mask", "target", "aliased", "phase", "calibration"]


class Source(ABC):
    """Image or k-space on disk of which any region can be read, without the rest of it in memory.

    Opening reads headers only. The file is opened at the first `read` and may stay open between reads; a process keeps
    the 64 last used ones open. A source can be pickled and shared with forked workers: open files stay behind.

    A format module derives from this class, or from one of its ready-made kinds (:class:`~common.io.FlatSource`,
    :class:`DecodedSource`), and writes `_read`, and where a file is held open `_open`.

    Attributes:
        path: the file or folder.
        files: all files that the values depend on.
        name: for messages; the path, and the data set inside it where there are several.
        spec: axes, shape, type, geometry and intensity, see :class:`~common.io.Spec`.
        companions: sources of what else the file holds about the same pixels:

            - "mask": sampling mask of k-space, real or bool, some of the axes t, z, y, x (others: the same for all);
            - "target": the true image, real or complex;
            - "aliased": the image that an undersampled measurement gives;
            - "phase": phase of "target", or of this image, in radians;
            - "calibration": k-space of separate reference lines, for coil maps.

        fill: value that replaces NaN and infinite ones; ``None``: they are refused.

    Args:
        path: the file or folder.
        spec: axes, shape, type, geometry and intensity.
        name: name for messages; "" is the path.
        files: all files that the values depend on; empty: ``path``.
        companions: other sources of the same pixels.

    Raises:
        DataError: if it is no image, see :func:`~common.io.spec.checked_spec`.
    """

    kind_of_file = "a data file"
    """What the file should be, for errors of decoders: "a PNG image"."""

    fill: float | None = None

    def __init__(
        self,
        path: Path,
        spec: Spec,
        *,
        name: str = "",
        files: Sequence[Path] = (),
        companions: Mapping[Companion, Source] | None = None,
    ) -> None:
        self.path = path
        self.name = name or str(path)
        self.files = tuple(files) or (path,)
        self.spec = checked_spec(self.name, spec)
        self.companions = dict(companions or {})
        self._held: tuple[int, Any] | None = None  # process, and what `_open` returned there

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
        parts = self.spec.checked_region([slice(None)] * len(self.spec.shape) if region is None else region)
        shape = tuple(part.stop - part.start for part in parts)
        with file_errors(self.path, self.kind_of_file):
            values = np.asarray(self._read(parts))
        if values.shape != shape or values.dtype.newbyteorder("=") != self.spec.dtype:
            raise DataError(
                f"{self.name}: changed since it was opened: expected {list(shape)} {self.spec.dtype}, got "
                f"{list(values.shape)} {values.dtype}"
            )
        values = np.array(values, self.spec.dtype, order="C", copy=None if values.flags.writeable else True)
        if values.dtype.kind in "fc" and not np.isfinite(values).all():
            self._fill(values, parts)
        return values

    def read_unit(self, region: Sequence[slice] | None, low: float, high: float) -> np.ndarray:
        """Values of one region as float32 (complex64): the meant value ``low`` becomes 0, ``high`` becomes 1."""
        stored = self.read(region)
        try:
            return IntensityScale.between(low, high, self.spec.intensity).to_unit(stored)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error

    @abstractmethod
    def _read(self, region: Region) -> np.ndarray:
        """Stored values of a region that lies inside; any byte order and memory layout."""

    def _open(self) -> Any:
        """Open the file; what is returned must have a method ``close``."""
        raise NotImplementedError

    @property
    def _opened(self) -> Any:
        """Open file of this process, as `_open` returned it; closed by `close`, or when 64 others are open."""
        if self._held is None or self._held[0] != os.getpid():  # a forked worker must not move its parent's position
            self._held = (os.getpid(), self._open())
        _note_use(self)
        return self._held[1]

    def _keep(self, opened: Any) -> None:
        """Keep what the constructor opened, as if `_open` had returned it: then the first read opens nothing."""
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
        """Text that changes when the file does: its place inside, size and time of change of all files."""
        return f"{self.spec} {self.spec.dataset} {files_digest(self.files)}"

    def blocks(self) -> Iterator[Region]:
        """Regions of bounded size that together are the image: rows of one slice, frame and coil."""
        *leading, height, width = self.spec.shape
        rows = max(_BLOCK // width, 1)
        for index in product(*(range(n) for n in leading)):
            outer = [slice(n, n + 1) for n in index]
            for start in range(0, height, rows):
                yield (*outer, slice(start, min(start + rows, height)), slice(0, width))

    def select(self, **parts: int | slice) -> Source:
        """Source of a part of this one: a number takes one entry and drops its axis, a slice keeps it.

        Example: ``source.select(t=0)`` is the first frame.

        Raises:
            ValueError: for an axis that the image lacks, or a part outside of it.
        """
        return _Selection(self, parts)

    def _fill(self, values: np.ndarray, region: Region) -> None:
        bad = ~np.isfinite(values)
        if self.fill is None:
            where = ", ".join(
                f"{axis} {part.start}:{part.stop}" for axis, part in zip(self.spec.axes, region, strict=True)
            )
            raise DataError(
                f"{self.name}: {int(bad.sum())} of {values.size} values are NaN or infinite in [{where}]; repair the "
                "file, or pass a value in their place: --source_options \"{'fill': 0}\""
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

    A format module writes `_decode`. Pieces last used are kept, see :class:`RecentArrays`.

    Args:
        path: the file or folder.
        spec: axes, shape, type, geometry and intensity.
        name: name for messages; "" is the path.
        files: all files that the values depend on; empty: ``path``.
        companions: other sources of the same pixels.
        axis: the axis along which pieces are counted; "" if the whole is one piece.
    """

    def __init__(
        self,
        path: Path,
        spec: Spec,
        *,
        name: str = "",
        files: Sequence[Path] = (),
        companions: Mapping[Companion, Source] | None = None,
        axis: str = "",
    ) -> None:
        super().__init__(path, spec, name=name, files=files, companions=companions)
        self._axis = axis if axis in spec.axes else ""
        self._recent = RecentArrays()

    @abstractmethod
    def _decode(self, index: int) -> np.ndarray:
        """Stored values of one piece: all axes but the counted one, or of everything, which is piece 0."""

    def _read(self, region: Region) -> np.ndarray:
        if not self._axis:
            return self._recent.get(0, lambda: self._decode(0))[region].copy()
        place = self.spec.axes.index(self._axis)
        inside = region[:place] + region[place + 1 :]
        pieces = [
            self._recent.get(index, lambda index=index: self._decode(index))[inside]  # type: ignore[misc]
            for index in range(region[place].start, region[place].stop)
        ]
        return np.stack(pieces, axis=place)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_recent": RecentArrays()}


class _Selection(Source):
    """Part of another source, see :meth:`Source.select`."""

    def __init__(self, source: Source, parts: Mapping[str, int | slice]) -> None:
        spec = source.spec
        self._source = source
        self._region = spec.region(**parts)
        dropped = [axis for axis, part in parts.items() if not isinstance(part, slice)]
        if {"y", "x"} & set(dropped):
            raise ValueError(f"expected one entry along coil, t or z, got {', '.join(dropped)}")
        self._dropped = tuple(spec.axes.index(axis) for axis in dropped)
        starts = dict(zip(spec.axes, (part.start for part in self._region), strict=True))
        frames = self._region[spec.axes.index("t")] if "t" in spec.axes else slice(None)
        geometry = spec.geometry.cropped(starts, frames)
        for axis in dropped:
            geometry = geometry.without(axis) if axis in ("t", "z") else geometry
        sizes = [part.stop - part.start for part in self._region]
        kept = [n for n in range(len(spec.axes)) if n not in self._dropped]
        own = replace(
            spec, axes=tuple(spec.axes[n] for n in kept), shape=tuple(sizes[n] for n in kept), geometry=geometry
        )
        companions: dict[Companion, Source] = {}
        for name, other in source.companions.items():
            shared = {axis: part for axis, part in parts.items() if other.spec.size(axis) == spec.size(axis) > 1}
            companions[name] = other.select(**shared) if shared else other
        super().__init__(source.path, own, name=source.name, files=source.files, companions=companions)
        self.fill = source.fill

    def _read(self, region: Region) -> np.ndarray:
        inner = iter(region)
        parts = []
        for n, outer in enumerate(self._region):
            part = slice(0, 1) if n in self._dropped else next(inner)
            parts.append(slice(outer.start + part.start, outer.start + part.stop))
        return self._source.read(parts).squeeze(self._dropped)

    def close(self) -> None:
        """Release the file of the whole."""
        super().close()
        self._source.close()

    def identity(self) -> str:
        """Text that changes when the file does, or with another part."""
        where = ", ".join(f"{part.start}:{part.stop}" for part in self._region)
        return f"{self._source.identity()} [{where}]"


class RecentArrays:
    """The arrays last used: what has to be decoded as a whole for one region of it.

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
        inside = [path]
        if path.is_dir():
            inside = sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)
        for file in inside:
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
