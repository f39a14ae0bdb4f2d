"""Writing: regions of an image in any order, into a file that appears whole or not at all."""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from common.errors import DataError, file_errors
from common.io.atomic import atomic_path
from common.io.disk import check_room, disk_errors, remove
from common.io.spec import Region, Spec, checked_spec, slabs

logger = logging.getLogger("recon")

_IDENTITY = "identity.json"


class Sink:
    """An image that is written region by region, in any order, and gets its name only once it is whole.

    Until then each region is a NumPy file in the folder ``<path>.partial``, so that the files that are there are the
    record of what is done. When all values are there the format's module encodes them once. After a kill, a full disk
    or a crash, the same program with the same identity resumes after the last written region::

        sink = open_sink("out.tif", like=spec)
        sink.begin({"input": source.identity(), "weights": digest})
        for region in regions:
            if not sink.holds(region):
                sink.write(region, values)
        sink.finish()

    Args:
        path: the file or folder to be.
        spec: description of the image as stored.
        encode: writes the whole image to a new file or folder; it is given that path, and this object to `read` from.

    Attributes:
        path: the file or folder to be.
        partial: ``<path>.partial``.
        spec: description of the image as stored; its type, in which values are written, may be another than was asked
            for.

    Raises:
        DataError: if ``spec`` cannot be that of an image.
    """

    def __init__(self, path: Path, spec: Spec, encode: Callable[[Path, Sink], None]) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self.spec = checked_spec(str(path), spec)
        self._encode = encode
        self._done: dict[str, Region] = {}  # by the stem of its file
        self._bounds, self._names = np.zeros((0, len(spec.shape), 2), int), list[str]()  # of these, for `read`
        self._whole: np.ndarray | None = None

    def begin(self, identity: Mapping[str, str] | None = None) -> None:
        """Start the output, or resume an unfinished one of the same identity.

        Args:
            identity: what the values depend on: input, weights, options. ``None``: start anew.

        Raises:
            DataError: if ``path`` is a folder, which unlike a file is not replaced; if an unfinished output has
                another identity or is damaged; DiskFullError if the disk has no room for the values.
        """
        with disk_errors(self.path, 2 * self.spec.n_bytes):
            if identity is not None and self._resumes(identity):
                logger.info(f"{self.path}: resumed, {len(self._done)} parts are written")
                return
            if self.path.is_dir():
                raise DataError(f"{self.path}: exists already; remove it, or choose another output")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.discard()
            check_room(self.path, self.spec.n_bytes)
            self.partial.mkdir()
            (self.partial / _IDENTITY).write_text(json.dumps(dict(identity or {})), encoding="utf-8")

    def _resumes(self, identity: Mapping[str, str]) -> bool:
        """Return True if an unfinished output of this identity is there; list its regions."""
        record = self.partial / _IDENTITY
        if not record.is_file():
            return False
        try:
            before = dict(json.loads(record.read_text(encoding="utf-8")))
            stems = [file.stem for file in self.partial.glob("*.npy") if file.name[0] != "."]
            self._done = {stem: _region_of(stem) for stem in stems}
        except ValueError as error:
            raise DataError(f"{self.partial}: damaged; remove it to start anew") from error
        differ = [
            f"{key} {before.get(key)} (now {value})" for key, value in identity.items() if before.get(key) != value
        ]
        if differ and self._done:
            raise DataError(
                f"{self.partial}: the unfinished output was begun with {', '.join(differ)}; resume with those, or "
                "remove this folder to start anew"
            )
        return not differ

    @property
    def n_written(self) -> int:
        """Number of regions that are written."""
        return len(self._done)

    def holds(self, region: Sequence[slice]) -> bool:
        """Return True if exactly this region has been written, by this process or an earlier one."""
        return _text_of(self.spec.checked_region(region)) in self._done

    def write(self, region: Sequence[slice], values: np.ndarray) -> None:
        """Write stored values of a region, with the axes and the type of ``spec``.

        Raises:
            ValueError: for values of another shape or type.
            DataError: if the disk refuses them; DiskFullError if it is full.
        """
        parts = self.spec.checked_region(region)
        self._check(values, parts)
        text = _text_of(parts)
        with (
            disk_errors(self.path, 2 * self.spec.n_bytes),
            atomic_path(self.partial / f"{text}.npy") as temporary,
            open(temporary, "wb") as file,
        ):
            np.save(file, values)
            file.flush()
            os.fsync(file.fileno())  # a name stands for values that are on the disk, also after a crash
        self._done[text] = parts

    def read(self, region: Sequence[slice]) -> np.ndarray:
        """Read values that have been written."""
        parts = self.spec.checked_region(region)
        if self._whole is not None:
            return self._whole[parts]
        values = np.empty([part.stop - part.start for part in parts], self.spec.dtype)
        if len(self._bounds) != len(self._done):  # an array, because an output may have 100000 parts
            self._bounds = np.array([[(part.start, part.stop) for part in place] for place in self._done.values()])
            self._names = list(self._done)
        starts, stops = np.array([(part.start, part.stop) for part in parts]).T
        touched = ((self._bounds[..., 0] < stops) & (self._bounds[..., 1] > starts)).all(axis=1)
        for number in np.flatnonzero(touched):
            file, place = self.partial / f"{self._names[number]}.npy", self._done[self._names[number]]
            both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(parts, place, strict=True)]
            with file_errors(file, "a part of an unfinished output"):
                values[_seen_from(parts, both)] = np.load(file, mmap_mode="r")[_seen_from(place, both)]
        return values

    def write_all(self, values: np.ndarray) -> Path:
        """Write a whole image at once, without ``partial`` on the way; return its path."""
        self._whole = np.asarray(values)
        self._check(self._whole, self.spec.region())
        if self.path.is_dir():
            raise DataError(f"{self.path}: exists already; remove it, or choose another output")
        try:
            with disk_errors(self.path, self.spec.n_bytes):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                remove(self.partial)
                self._encode(self.partial, self)
                os.replace(self.partial, self.path)
        finally:
            self._whole = None
            remove(self.partial)
        return self.path

    def finish(self) -> None:
        """Encode the image, give it its name and remove ``partial``.

        Raises:
            ValueError: if values are missing.
            DataError: if the disk refuses them; all that was written stays.
        """
        n_values = sum(int(np.prod([part.stop - part.start for part in region])) for region in self._done.values())
        if n_values != self.spec.n_values:
            raise ValueError(f"{self.path}: {n_values} of {self.spec.n_values} values are written; write all regions")
        encoded = self.partial / "encoded"
        with disk_errors(self.path, 2 * self.spec.n_bytes):
            if not self.path.is_dir():  # else a run was killed between the next two steps
                remove(encoded)
                try:
                    self._encode(encoded, self)
                except BaseException:
                    remove(encoded)
                    raise
                os.replace(encoded, self.path)
            self.discard()

    def discard(self) -> None:
        """Remove everything that was written."""
        remove(self.partial)
        self._done = {}

    def _check(self, values: np.ndarray, region: Region) -> None:
        shape = tuple(part.stop - part.start for part in region)
        if values.shape != shape or values.dtype != self.spec.dtype:
            raise ValueError(
                f"{self.path}: expected values {list(shape)} {self.spec.dtype}, got {list(values.shape)} {values.dtype}"
            )


def _text_of(region: Region) -> str:
    """A region as a file name, such as ``0-1_0-256_256-512``."""
    return "_".join(f"{part.start}-{part.stop}" for part in region)


def _region_of(text: str) -> Region:
    return tuple(slice(*(int(n) for n in part.split("-"))) for part in text.split("_"))


def _seen_from(region: Region, other: Sequence[slice]) -> Region:
    """Another region in coordinates that begin at the corner of ``region``."""
    return tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(region, other, strict=True))


def write_flat(
    path: Path,
    header: bytes,
    sink: Sink,
    dtype: np.dtype | None = None,
    order: Sequence[int] | None = None,
    packed: bool = False,
) -> None:
    """Write a header and then all values, uncompressed.

    Args:
        path: the file.
        header: what stands before the values.
        sink: the image.
        dtype: type in the file, with its byte order; ``None``: that of the image.
        order: the axes of the image in the order of the file, the last one contiguous; ``None``: as they are.
        packed: True for a gzip file.
    """
    axes = tuple(order or range(len(sink.spec.shape)))
    with open(path, "wb") as opened, ExitStack() as stack:
        file: Any = opened
        if packed:  # without name and time, so that the same values give the same bytes
            file = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=1, fileobj=opened, mtime=0))
        file.write(header)
        for slab in slabs([sink.spec.shape[axis] for axis in axes]):
            region = dict(zip(axes, slab, strict=True))
            values = sink.read([region[n] for n in range(len(axes))]).transpose(axes)
            file.write(np.ascontiguousarray(values, dtype or sink.spec.dtype).data)
