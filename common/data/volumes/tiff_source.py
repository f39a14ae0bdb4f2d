"""TIFF and BigTIFF, region by region."""

from __future__ import annotations

import logging
import math
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from common.data.images import TiffStack
from common.data.volumes.arrays import FlatSource
from common.data.volumes.flat import FlatArray
from common.data.volumes.geometry import Geometry, unit_name
from common.data.volumes.source import RecentArrays, VolumeSource
from common.data.volumes.spec import Region, VolumeSpec
from common.errors import file_errors

logger = logging.getLogger("recon")

_TAG_UNITS = {2: "inch", 3: "centimeter"}


def open_tiff(path: Path) -> VolumeSource:
    """Grey pages of one size, each a slice; or ImageJ's stack above 4 GB, which has all slices in one page."""
    with file_errors(path, "a TIFF image"), tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        n_images = (tiff.imagej_metadata or {}).get("images", 1) if tiff.is_imagej else 1
        if len(tiff.pages) == 1 and n_images > 1 and page.is_contiguous and page.ndim == 2:
            spec = VolumeSpec((*page.shape, n_images), _file_type(page), tiff_geometry(tiff, 3))
            return FlatSource(path, spec, FlatArray.slices_first(spec, page.dataoffsets[0]))
    return TiffSource(path)


class TiffSource(VolumeSource):
    """A TIFF of one or more grey pages.

    Of uncompressed pages just the values of a region are read; of tiles and strips that tifffile can decode those
    that the region touches; of others (LZW, JPEG; with the package ``imagecodecs`` also of these the strips) whole
    pages. What was decoded last is kept, up to 256 MiB.
    """

    def __init__(self, path: Path) -> None:
        self._stack = TiffStack(path)  # which refuses what is not grey, damaged, or of several sizes
        n_pages, height, width = self._stack.shape
        self._tiff = tifffile.TiffFile(path)
        self._values = FileIO(path)
        shape = (height, width) if n_pages == 1 else (height, width, n_pages)
        try:
            super().__init__(path, VolumeSpec(shape, self._stack.dtype, tiff_geometry(self._tiff, len(shape))))
            page: Any = self._tiff.pages[0]
            self._in_segments = page.ndim == 2 and not page.is_final and _decodable(page, self._values)
            self._recent = RecentArrays()
        except BaseException:
            self.close()
            raise

    def read(self, region: Region) -> np.ndarray:
        """Values of the region."""
        rows, columns = region[:2]
        with file_errors(self.path, "a TIFF image"):
            if len(region) == 2:
                return self._read_page(0, rows, columns)
            pages = range(region[2].start, region[2].stop)
            return np.stack([self._read_page(index, rows, columns) for index in pages], axis=-1)

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()
        self._values.close()

    def _read_page(self, index: int, rows: slice, columns: slice) -> np.ndarray:
        page: Any = self._tiff.pages[index]
        if page.ndim == 2 and page.is_final:
            array = FlatArray(page.dataoffsets[0], page.shape, _file_type(page), (0, 1))
            return array.read(self._values, (rows, columns))
        if not self._in_segments:
            return self._recent.get(index, partial(self._stack.load, index))[rows, columns]
        block = np.empty((rows.stop - rows.start, columns.stop - columns.start), self.spec.dtype)
        height, width = _segment_shape(page)
        per_row = math.ceil(page.imagewidth / width)
        for down in range(rows.start // height, math.ceil(rows.stop / height)):
            for across in range(columns.start // width, math.ceil(columns.stop / width)):
                segment = down * per_row + across
                values = self._recent.get((index, segment), partial(_decoded, page, segment, self._values))
                top, left = down * height, across * width
                first, last = max(top, rows.start), min(top + height, rows.stop)
                start, stop = max(left, columns.start), min(left + width, columns.stop)
                block[first - rows.start : last - rows.start, start - columns.start : stop - columns.start] = values[
                    first - top : last - top, start - left : stop - left
                ]
        return block


def _file_type(page: Any) -> np.dtype:
    return np.dtype(page.dtype).newbyteorder(page.parent.byteorder)


def _segment_shape(page: Any) -> tuple[int, int]:
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _decoded(page: Any, segment: int, file: FileIO) -> np.ndarray:
    """Values of one tile or strip; of a tile that was left out, the file's value for nothing."""
    file.seek(page.dataoffsets[segment])
    data = file.read(page.databytecounts[segment]) if page.databytecounts[segment] else None
    values, _, shape = page.decode(data, segment)
    if values is None:
        return np.full(shape[1:3], page.nodata, page.dtype)
    return values[0, :, :, 0]


def _decodable(page: Any, file: FileIO) -> bool:
    try:
        _decoded(page, 0, file)
    except (ValueError, RuntimeError, tifffile.TiffFileError):  # "requires the 'imagecodecs' package", for one
        return False
    return True


def tiff_geometry(tiff: tifffile.TiffFile, n_axes: int) -> Geometry:
    """Pixel size from OME's or ImageJ's metadata, else from resolution tags with a unit."""
    if tiff.is_ome and tiff.ome_metadata:
        try:
            return _ome_geometry(tiff.ome_metadata, n_axes)
        except (ElementTree.ParseError, ValueError) as error:
            name = tiff.filehandle.path
            logger.warning(
                f"{name}: pixel sizes are unknown, as its OME-XML cannot be read ({error}); pass spacing=..."
            )
            return Geometry.unknown(n_axes)
    page: Any = tiff.pages[0]
    spacing: list[float | None] = [_step(page.tags.valueof(name)) for name in ("YResolution", "XResolution")]
    unit = _TAG_UNITS.get(int(page.tags.valueof("ResolutionUnit") or 0))
    depth = None
    if tiff.is_imagej:
        said = tiff.imagej_metadata or {}
        unit = unit_name(said.get("unit")) or unit
        depth = float(said["spacing"]) if float(said.get("spacing", 0)) > 0 else None
    if unit is None:
        return Geometry.unknown(n_axes)
    return Geometry((*spacing, depth)[:n_axes], (0.0,) * n_axes, unit)


def _step(resolution: tuple[int, int] | None) -> float | None:
    """Size of a pixel from pixels per unit, a ratio."""
    return None if resolution is None or 0 in resolution else resolution[1] / resolution[0]


def _ome_geometry(text: str, n_axes: int) -> Geometry:
    pixels = ElementTree.fromstring(text).find(".//{*}Pixels")
    if pixels is None:
        return Geometry.unknown(n_axes)
    spacing: list[float | None] = []
    for axis in "YXZ"[:n_axes]:
        size = float(pixels.get(f"PhysicalSize{axis}", 0))
        unit = unit_name(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        known = Geometry((size if size > 0 else None,), (0.0,), unit) if unit else Geometry.unknown(1)
        spacing += known.in_unit("micrometer").spacing
    return Geometry(tuple(spacing), (0.0,) * n_axes, "micrometer" if any(spacing) else None)
