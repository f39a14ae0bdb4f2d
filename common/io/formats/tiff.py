"""TIFF, BigTIFF, ImageJ's TIFF and OME-TIFF.

Read: grey images of 1 to 64 bits (also RGB whose channels are equal), of any compression that tifffile and imagecodecs
decode, in strips or tiles, region by region. Written: tiled BigTIFF with OME-XML.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from common.errors import DataError, file_errors
from common.io.bounded import check_piece, n_bytes_of
from common.io.flat import FlatArray
from common.io.formats.tiff_file import KIND, OpenFlat, OpenTiff
from common.io.formats.tiff_metadata import axes_of, calibration_of, geometry_of
from common.io.geometry import Geometry
from common.io.grey import grey_channel
from common.io.orientation import is_transposed, known_orientation, shown, stored_region
from common.io.sink import Sink
from common.io.source import RecentArrays, Source
from common.io.spec import Region, Spec

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_SIDE = 256
_OME_UNITS = {
    "nanometer": "nm",
    "micrometer": "\u00b5m",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "inch": "in",
}


def open_source(path: Path, *, channel: int | None = None, image: int | None = None, luma: bool = False) -> Source:
    """Open a TIFF.

    Axes are those that OME-XML, ImageJ or tifffile's own metadata name; pages of a file that names none are slices, z.
    An orientation tag is followed: rows and columns are those of the picture as it is shown. Of several channels one is
    chosen by ``channel``, of several images by ``image``; with ``luma`` colours of 8 bit become their luma.

    Raises:
        DataError: the file cannot be used; :class:`TiffSource` lists the reasons.
    """
    return TiffSource(path, channel, image, luma)


class TiffSource(Source):
    """One image of a TIFF.

    Of uncompressed pages just the values of a region are read, of others the tiles or strips that it touches; those
    decoded last are kept, up to 256 MiB.

    Raises:
        DataError: for colours, palettes, several channels or images of which none is chosen, axes without a meaning,
            ImageJ calibrations other than a straight line, and damaged files.
    """

    def __init__(self, path: Path, channel: int | None, image: int | None, luma: bool) -> None:
        self._luma = luma
        opened: Any = OpenTiff(path, image)
        try:
            with file_errors(path, KIND):
                self._describe(opened, channel, image)
        except BaseException:
            opened.close()
            raise
        self.keep(opened)

    def _describe(self, opened: OpenTiff, channel: int | None, image: int | None) -> None:
        path, series, page = opened.path, opened.series, opened.series.keyframe
        axes, shape, self._pages = axes_of(series, channel, path)
        _check_page(page, path)
        self._samples = (page.samplesperpixel,) if "S" in series.axes else ()
        self._white = 0  # where white is 0: the value that becomes 0
        if page.photometric == _WHITE_IS_ZERO:
            self._white = 255 if page.dtype.kind == "b" else 2**page.bitspersample - 1
        self._orientation = known_orientation(page.tags.valueof(274))
        self._stored_type = np.dtype(page.dtype).newbyteorder(opened.tiff.byteorder)
        self._stored_size = (int(page.imagelength), int(page.imagewidth))
        size = self._stored_size[::-1] if is_transposed(self._orientation) else self._stored_size
        intensity, self._shift = calibration_of(opened.tiff, page, path)
        dtype = np.dtype("u1") if page.dtype.kind == "b" else np.dtype("i2") if self._shift else page.dtype
        geometry = geometry_of(opened, axes, self._orientation)
        dataset = f"image {opened.index}, channel {channel or 0}"
        spec = Spec((*axes, "y", "x"), (*shape, *size), dtype, geometry, intensity=intensity, dataset=dataset)
        self._recent = RecentArrays()
        self._flat = opened.flat_offsets(self._pages)
        if self._flat is None:
            opened.check_pages(self._pages)
        open_file: Any = partial(OpenTiff, path, opened.index) if self._flat is None else partial(OpenFlat, path)
        name = str(path) if image is None else f"{path}:{image}"
        super().__init__(path, spec, open_file, name=name, kind_of_file=KIND)

    def _read(self, region: Region) -> np.ndarray:
        *leading, rows, columns = region
        inside = stored_region(rows, columns, self.spec.shape[-2:], self._orientation)  # type: ignore[arg-type]
        places = np.arange(len(self._pages)).reshape(self.spec.shape[:-2])[tuple(leading)]
        pages = np.stack([self._read_page(int(n), *inside) for n in places.ravel()])
        values = shown(pages, self._orientation)
        values = values.reshape(*places.shape, *values.shape[-2:])
        if self._stored_type.kind == "b":
            values = values.astype(np.uint8) * 255
        if self._white:
            values = values.dtype.type(self._white) - values
        if self._shift:  # uint16 of which ImageJ means int16
            values = (values.astype(np.int32) + self._shift).astype(np.int16)
        return values

    def _read_page(self, place: int, rows: slice, columns: slice) -> np.ndarray:
        """Values of a part of one page, as stored: ``[rows, columns]``."""
        if self._flat is not None:
            array = FlatArray(self._flat[place], (*self._stored_size, *self._samples), self._stored_type)
            opened: Any = self.opened
            values = array.read(opened.file, (rows, columns, *(slice(0, n) for n in self._samples)))
        else:
            values = self._decoded(place, rows, columns)
        return grey_channel(values, self.name, self._luma) if self._samples else values

    def _decoded(self, place: int, rows: slice, columns: slice) -> np.ndarray:
        opened: Any = self.opened
        page = opened.page(self._pages[place])
        segment = _segment_shape(page.keyframe)
        per_row = math.ceil(self._stored_size[1] / segment[1])
        values = np.empty((rows.stop - rows.start, columns.stop - columns.start, *self._samples), self._stored_type)
        for down in range(rows.start // segment[0], -(-rows.stop // segment[0])):
            for across in range(columns.start // segment[1], -(-columns.stop // segment[1])):
                number = down * per_row + across
                tile = self._recent.get((place, number), partial(_decoded, page, number, opened.file, self.name))
                top, left = down * segment[0], across * segment[1]
                first, last = max(top, rows.start), min(top + segment[0], rows.stop)
                start, stop = max(left, columns.start), min(left + segment[1], columns.stop)
                part = tile[first - top : last - top, start - left : stop - left]
                inside = (
                    slice(first - rows.start, last - rows.start),
                    slice(start - columns.start, stop - columns.start),
                )
                values[inside] = part.reshape(part.shape[:2] + values.shape[2:])
        return values

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_recent": RecentArrays()}


def _check_page(page: Any, path: Path) -> None:
    kind = getattr(page.photometric, "name", page.photometric)
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        raise DataError(f"{path}: expected grey pixels, got {kind}; save it as grey")
    if page.photometric == _WHITE_IS_ZERO and page.dtype.kind not in "bu":
        raise DataError(f"{path}: expected unsigned pixels where white is 0, got {page.dtype}; save it as grey")
    if page.samplesperpixel > 1 and page.planarconfig != 1:
        raise DataError(f"{path}: expected the samples of a pixel side by side, got planes; save it as grey")
    if page.imagedepth != 1:
        raise DataError(f"{path}: expected flat pages, got pages of depth {page.imagedepth}; save slices as pages")


def _segment_shape(page: Any) -> tuple[int, int]:
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return int(min(page.rowsperstrip, page.imagelength)), int(page.imagewidth)


def _decoded(page: Any, number: int, file: FileIO, name: str) -> np.ndarray:
    """Values of one tile or strip, ``[rows, columns, samples]``; the no-data value for one that was left out."""
    offset, count = page.dataoffsets[number], page.databytecounts[number]
    file.seek(offset)
    data = file.read(count) if count else None
    keyframe = page.keyframe
    size = n_bytes_of((*_segment_shape(keyframe), keyframe.samplesperpixel), np.dtype(keyframe.dtype), name)
    check_piece(size, count, name)
    values, _, shape = keyframe.decode(data, number, jpegtables=page.jpegtables)
    if values is None:
        return np.full(shape[1:], keyframe.nodata, keyframe.dtype)
    return values[0]


def open_sink(path: Path, spec: Spec) -> Sink:
    """Open a writer of a TIFF; values with a slope are written as what they stand for.

    BigTIFF of uncompressed tiles of 256 x 256 (smaller for smaller images), a page for each slice and frame. Pixel
    sizes and axes go into OME-XML, of types that OME knows, and into the resolution tags, per centimetre. An
    orientation in space has no place in TIFF.
    """
    if "coil" in spec.axes or spec.dtype.kind == "b":
        raise DataError(f"{path}: TIFF is written of images of numbers, got {spec}; choose another format")
    return Sink(path, spec.as_meant(), _encode)


def _encode(path: Path, sink: Sink) -> None:
    spec = sink.spec
    tile = tuple(min(_SIDE, -(-n // 16) * 16) for n in spec.shape[-2:])  # TIFF wants multiples of 16
    is_ome = spec.dtype.itemsize < 8 or spec.dtype.kind in "fc"
    with tifffile.TiffWriter(path, bigtiff=True, byteorder="<", ome=is_ome) as tiff:
        tiff.write(
            _tiles(sink, tile),
            shape=spec.shape,
            dtype=spec.dtype.newbyteorder("<"),
            tile=tile,
            photometric="minisblack",
            metadata=_ome_metadata(sink) if is_ome else None,
            **_resolution(spec.geometry),
        )


def _tiles(sink: Sink, tile: tuple[int, ...]) -> Iterator[np.ndarray]:
    *leading, height, width = sink.spec.shape
    for index in np.ndindex(*leading):
        for top in range(0, height, tile[0]):
            outer = [slice(n, n + 1) for n in index]
            band = sink.read((*outer, slice(top, min(top + tile[0], height)), slice(0, width)))
            for left in range(0, width, tile[1]):
                yield band.reshape(band.shape[-2:])[:, left : left + tile[1]]


def _ome_metadata(sink: Sink) -> dict[str, Any]:
    """Axes, pixel sizes and the interval of frames; the identifier follows from these and the name."""
    geometry, spec = sink.spec.geometry, sink.spec
    found: dict[str, Any] = {"axes": "".join(spec.axes).upper()}
    for axis, step in geometry.steps.items():
        if step is not None and geometry.unit is not None:
            found |= {f"PhysicalSize{axis.upper()}": step, f"PhysicalSize{axis.upper()}Unit": _OME_UNITS[geometry.unit]}
    if geometry.frame_interval_s is not None:
        found |= {"TimeIncrement": geometry.frame_interval_s, "TimeIncrementUnit": "s"}
    return {"UUID": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{sink.path.name} {spec} {found}")), **found}


def _resolution(geometry: Geometry) -> dict[str, Any]:
    height, width = geometry.spacing_mm[-2:]
    if height is None or width is None:
        return {}
    return {"resolution": (10 / width, 10 / height), "resolutionunit": "CENTIMETER"}
