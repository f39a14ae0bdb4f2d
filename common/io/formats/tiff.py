"""TIFF, BigTIFF, ImageJ's TIFF and OME-TIFF.

Read: grey images of 1 to 64 bits (also RGB whose channels are equal), of any compression that tifffile and imagecodecs
decode, in strips or tiles, region by region. Written: tiled BigTIFF with OME-XML.
"""

from __future__ import annotations

import logging
import math
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from common.errors import DataError, file_errors, source_option
from common.io.bounded import check_piece, n_bytes_of
from common.io.choice import chosen
from common.io.flat import FlatArray
from common.io.geometry import SECONDS, Geometry, converted, even_times, unit_name
from common.io.grey import grey_channel
from common.io.intensity import Intensity
from common.io.orientation import is_transposed, known_orientation, shown, stored_region
from common.io.sink import Sink
from common.io.source import RecentArrays, Source
from common.io.spec import Region, Spec

logger = logging.getLogger("recon")

_KIND = "a TIFF image"
_NAMES = {"T": "t", "Z": "z", "Y": "y", "X": "x"}
_UNNAMED = "IQ"  # pages in a row, of which the file says no more: slices
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_TAG_UNITS = {2: "inch", 3: "centimeter"}
_STRAIGHT_LINE, _NO_CALIBRATION = 0, 20  # ImageJ's function codes
_SIDE = 256
_BIG_TIFF = 43
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
        opened: Any = _OpenTiff(path, image)
        try:
            with file_errors(path, _KIND):
                self._describe(opened, channel, image)
        except BaseException:
            opened.close()
            raise
        self.keep(opened)

    def _describe(self, opened: _OpenTiff, channel: int | None, image: int | None) -> None:
        path, series, page = opened.path, opened.series, opened.series.keyframe
        axes, shape, self._pages = _axes_of(series, channel, path)
        _check_page(page, path)
        self._samples = (page.samplesperpixel,) if "S" in series.axes else ()
        self._white = 0  # where white is 0: the value that becomes 0
        if page.photometric == _WHITE_IS_ZERO:
            self._white = 255 if page.dtype.kind == "b" else 2**page.bitspersample - 1
        self._orientation = known_orientation(page.tags.valueof(274))
        self._stored_type = np.dtype(page.dtype).newbyteorder(opened.tiff.byteorder)
        self._stored_size = (int(page.imagelength), int(page.imagewidth))
        size = self._stored_size[::-1] if is_transposed(self._orientation) else self._stored_size
        intensity, self._shift = _calibration(opened.tiff, page, path)
        dtype = np.dtype("u1") if page.dtype.kind == "b" else np.dtype("i2") if self._shift else page.dtype
        geometry = _geometry(opened, axes, self._orientation)
        dataset = f"image {opened.index}, channel {channel or 0}"
        spec = Spec((*axes, "y", "x"), (*shape, *size), dtype, geometry, intensity=intensity, dataset=dataset)
        self._recent = RecentArrays()
        self._flat = opened.flat_offsets(self._pages)
        if self._flat is None:
            opened.check_pages(self._pages)
        open_file: Any = partial(_OpenTiff, path, opened.index) if self._flat is None else partial(_OpenFlat, path)
        name = str(path) if image is None else f"{path}:{image}"
        super().__init__(path, spec, open_file, name=name, kind_of_file=_KIND)

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


class _OpenFlat:
    """A file whose pages lie in it uncompressed."""

    def __init__(self, path: Path) -> None:
        self.file = FileIO(path)
        self.close = self.file.close


class _OpenTiff:
    """A TIFF and the one of its images that is read."""

    def __init__(self, path: Path, image: int | None) -> None:
        self.path = path
        with file_errors(path, _KIND):
            self.file = FileIO(path)
        try:
            with file_errors(path, _KIND), _reported_damage(path):
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


def _axes_of(series: Any, channel: int | None, path: Path) -> tuple[tuple[str, ...], tuple[int, ...], list[int]]:
    """Axes before y and x, their sizes, and the pages of the image in that order."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    leading = [axis for axis in series.axes if axis not in "YXS"]
    described = f"{' x '.join(map(str, series.shape))} with axes {series.axes}"
    if not series.axes.replace("S", "").endswith("YX") or len(set(series.axes)) != len(series.axes):
        raise DataError(f"{path}: expected pages of rows and columns, got {described}; save it as grey pages")
    if "S" in series.axes and not series.axes.endswith("S"):
        raise DataError(f"{path}: expected the samples of a pixel side by side, got {described}; save it as grey")
    unknown = [axis for axis in leading if sizes[axis] > 1 and axis not in ("T", "Z", "C", *_UNNAMED)]
    stacks = [axis for axis in leading if sizes[axis] > 1 and axis in ("Z", *_UNNAMED)]
    if unknown or len(stacks) > 1:
        raise DataError(
            f"{path}: expected axes for slices (Z) and time (T), got {described}; save one of them by itself"
        )
    channel = chosen(range(sizes.get("C", 1)), channel, "channel", "channel", f"{path} ({described})")
    numbers = np.arange(math.prod(sizes[axis] for axis in leading)).reshape([sizes[axis] for axis in leading])
    if "C" in leading:
        place = leading.index("C")
        numbers, leading = numbers.take(channel, axis=place), leading[:place] + leading[place + 1 :]
    names = ["z" if axis in _UNNAMED else _NAMES.get(axis, "") for axis in leading]
    kept = [n for n in range(len(leading)) if numbers.shape[n] > 1]  # OME names all five axes of any image
    kept.sort(key=lambda n: "tz".index(names[n]))
    order = [*kept, *(n for n in range(len(leading)) if n not in kept)]
    ordered = numbers.transpose(order)
    shape = ordered.shape[: len(kept)]
    return tuple(names[n] for n in kept), shape, [int(n) for n in ordered.ravel()]


def _calibration(tiff: tifffile.TiffFile, page: Any, path: Path) -> tuple[Intensity, int]:
    """Meaning of the stored values, and what is added to read uint16 as the int16 that ImageJ means (else 0)."""
    metadata = (tiff.imagej_metadata or {}) if tiff.is_imagej else {}
    function = int(metadata.get("cf", _NO_CALIBRATION))
    if function == _NO_CALIBRATION:
        return Intensity(), 0
    if function != _STRAIGHT_LINE:
        raise DataError(
            f"{path}: expected no calibration or a straight line, got ImageJ's function {function}; convert the values "
            "(in ImageJ: Process, Math, Apply calibration), or remove the calibration"
        )
    intercept, slope = float(metadata.get("c0", 0.0)), float(metadata.get("c1", 1.0))
    if page.dtype == np.uint16 and (intercept, slope) == (-32768.0, 1.0):
        return Intensity(), -32768
    quantity = str(metadata.get("vunit") or "") or None
    return Intensity(slope=slope, intercept=intercept, quantity=quantity), 0


def _geometry(opened: _OpenTiff, leading: tuple[str, ...], orientation: int) -> Geometry:
    """Pixel size from OME's or ImageJ's metadata, else from resolution tags with a unit."""
    tiff, axes = opened.tiff, (*leading, "y", "x")
    steps: dict[str, float | None] = {}
    unit: str | None = None
    interval: float | None = None
    if tiff.is_ome and tiff.ome_metadata:
        try:
            steps, unit, interval = _ome_sizes(tiff.ome_metadata, opened.index)
        except (ElementTree.ParseError, ValueError) as error:
            logger.warning(
                f"{opened.path}: pixel sizes are unknown, as its OME-XML cannot be read ({error}); pass them: "
                + source_option("spacing", [1.0, 1.0])
            )
    else:
        page: Any = opened.series.keyframe
        for axis, tag in (("y", "YResolution"), ("x", "XResolution")):
            ratio = page.tags.valueof(tag)  # pixels per unit
            steps[axis] = None if ratio is None or 0 in ratio else ratio[1] / ratio[0]
        unit = _TAG_UNITS.get(int(page.tags.valueof("ResolutionUnit") or 0))
        if tiff.is_imagej:
            metadata = tiff.imagej_metadata or {}
            unit = unit_name(str(metadata.get("unit") or "")) or unit
            steps["z"] = float(metadata.get("spacing") or 0)
            factor = SECONDS.get(str(metadata.get("tunit") or "s").strip().lower())
            interval = None if factor is None else float(metadata.get("finterval") or 0) * factor
    if is_transposed(orientation):
        steps["y"], steps["x"] = steps.get("x"), steps.get("y")
    is_timed = "t" in leading
    times = even_times(opened.series.shape[opened.series.axes.index("T")], interval) if is_timed else None
    if unit is None:
        return Geometry.unknown(axes, times)
    return Geometry.of_spacing(axes, steps, unit, frame_times_s=times)


def _ome_sizes(text: str, image: int) -> tuple[dict[str, float | None], str | None, float | None]:
    """Pixel sizes in micrometers by axis, their unit, and the time from frame to frame in seconds."""
    pixels = ElementTree.fromstring(text).findall(".//{*}Pixels")[image:]
    if not pixels:
        return {}, None, None
    steps: dict[str, float | None] = {}
    for axis in "YXZ":
        size = float(pixels[0].get(f"PhysicalSize{axis}", 0))
        unit = unit_name(pixels[0].get(f"PhysicalSize{axis}Unit", "um"))
        steps[axis.lower()] = converted(size, unit, "micrometer") if unit else None
    factor = SECONDS.get(pixels[0].get("TimeIncrementUnit", "s"))
    interval = float(pixels[0].get("TimeIncrement", 0)) * factor if factor else None
    return steps, "micrometer", interval


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
