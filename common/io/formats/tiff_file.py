"""TIFF files that are opened: the image that is read, and checks of damage that tifffile passes over."""

from __future__ import annotations

import logging
import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from common.errors import DataError, file_errors
from common.io.bounded import n_bytes_of
from common.io.choice import chosen

KIND = "a TIFF image"

_BIG_TIFF = 43


class OpenFlat:
    """A file whose pages lie in it uncompressed."""

    def __init__(self, path: Path) -> None:
        self.file = FileIO(path)
        self.close = self.file.close


class OpenTiff:
    """A TIFF and the one of its images that is read."""

    def __init__(self, path: Path, image: int | None) -> None:
        self.path = path
        with file_errors(path, KIND):
            self.file = FileIO(path)
        try:
            with file_errors(path, KIND), _reported_damage(path):
                _check_chain(self.file)
                self.file.seek(0)
                # OME-XML may name other files as the place of pixels: those are not opened
                self.tiff = tifffile.TiffFile(self.file, _multifile=False)
                full = [one for one in self.tiff.series if not (one.keyframe.is_reduced or one.keyframe.is_mask)]
            sizes = {n: f"({' x '.join(map(str, one.shape))} {one.dtype})" for n, one in enumerate(full)}
            self.index = chosen(sizes, image, "image", "image", path)
            self.series: Any = full[self.index]
            self._check_declared()
        except BaseException:
            self.close()
            raise

    def _check_declared(self) -> None:
        """Check that the pages which the metadata declare are in the file; tifffile drops the metadata else."""
        declared = 1
        if self.tiff.is_imagej:
            declared = int((self.tiff.imagej_metadata or {}).get("images", 1))
        elif self.tiff.is_ome and self.tiff.ome_metadata:
            try:
                pixels = ElementTree.fromstring(self.tiff.ome_metadata).findall(".//{*}Pixels")[self.index :]
                declared = math.prod(int(pixels[0].get(f"Size{axis}", 1)) for axis in "ZCT") if pixels else 1
            except (ElementTree.ParseError, ValueError):
                return  # a warning says later that pixel sizes are unknown
        found = math.prod(self.series.shape) // max(math.prod(self.series.keyframe.shape), 1)
        if declared > found and self.series.keyframe.samplesperpixel == 1:
            raise DataError(
                f"{self.path}: expected {declared} images as its metadata declare, got {found}; the file is truncated, "
                "or the others are in files beside it: copy it again, or save the image as one file"
            )

    def page(self, index: int) -> Any:
        """One page of the image."""
        page = self.series[index]
        if page is None:
            raise DataError(
                f"{self.path}: the pixels of page {index} are not in the file; give the file that holds "
                "them, or save the image as one file"
            )
        return page

    def flat_offsets(self, pages: list[int]) -> list[int] | None:
        """First byte of each page, if all lie in the file in one piece and uncompressed; else ``None``."""
        keyframe = self.series.keyframe
        if not keyframe.is_final or keyframe.dtype.kind == "b":
            return None
        n_bytes = n_bytes_of(keyframe.shape, np.dtype(keyframe.dtype), str(self.path))
        if len(self.series.pages) == 1 < math.prod(self.series.shape) // math.prod(keyframe.shape):
            # ImageJ above 4 GB, and tifffile's own series, describe all pages in the first one
            offsets = [int(keyframe.dataoffsets[0]) + n * n_bytes for n in pages]
        else:
            offsets = []
            for index in pages:
                page = self.page(index)
                places, counts = page.dataoffsets, page.databytecounts
                adjacent = all(a + n == b for a, n, b in zip(places, counts, places[1:], strict=False))
                if not places or not adjacent:
                    return None
                offsets.append(int(places[0]))
        self._check_end(max(offsets) + n_bytes)
        return offsets

    def check_pages(self, pages: list[int]) -> None:
        """Check that compressed or scattered pages lie inside the file."""
        for index in pages:
            page = self.page(index)
            self._check_end(
                max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
            )

    def _check_end(self, end: int) -> None:
        size = self.path.stat().st_size
        if end > size:
            raise DataError(f"{self.path}: truncated, its pages end at byte {end} of {size}; copy the file again")

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        if hasattr(self, "tiff"):
            self.tiff.close()


def _check_chain(file: FileIO) -> None:
    """Walk along the pages of a file; tifffile follows a chain that returns to an earlier page for ever.

    Raises:
        ValueError: for such a chain.
    """
    order = {b"II": "<", b"MM": ">"}.get(file.read(2), "<")
    is_big = int.from_bytes(file.read(2), "little" if order == "<" else "big") == _BIG_TIFF
    count, place, tag_size = (f"{order}Q", f"{order}Q", 20) if is_big else (f"{order}H", f"{order}I", 12)
    file.seek(8 if is_big else 4)
    seen: set[int] = set()
    while True:
        data = file.read(struct.calcsize(place))
        offset = struct.unpack(place, data)[0] if len(data) == struct.calcsize(place) else 0
        if offset == 0:
            return
        if offset in seen:
            raise ValueError(f"the chain of pages returns to byte {offset}")
        seen.add(offset)
        try:
            file.seek(offset)
            n_tags = struct.unpack(count, file.read(struct.calcsize(count)))[0]
            file.seek(n_tags * tag_size, os.SEEK_CUR)
        except (struct.error, OSError, OverflowError):
            return  # the chain leaves the file, which tifffile reports


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        if "TiffPages" in message:  # other errors are odd tags of a vendor, which harm no pixel
            self.messages.append(message)


@contextmanager
def _reported_damage(path: Path) -> Iterator[None]:
    """Make an error of what tifffile only logs: a page chain that leaves the file, whose pages it then drops."""
    library, collector = logging.getLogger("tifffile"), _Collector()
    propagate = library.propagate
    library.addHandler(collector)
    library.propagate = False
    try:
        yield
    finally:
        library.removeHandler(collector)
        library.propagate = propagate
    if collector.messages:
        raise DataError(f"{path}: damaged or truncated TIFF ({collector.messages[0]}); copy the file again")
