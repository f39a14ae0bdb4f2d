"""Tiled BigTIFF, written tile by tile in any order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import tifffile

from common.data.volumes.flat import SLICES_FIRST, FlatArray
from common.data.volumes.geometry import Geometry
from common.data.volumes.sink import FlatSink
from common.data.volumes.spec import Region, VolumeSpec

_SIDE = 256
_OME_UNITS = {
    "nanometer": "nm",
    "micrometer": "\u00b5m",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "inch": "in",
}
_OME_TYPES = {"u1": "uint8", "u2": "uint16", "u4": "uint32", "i1": "int8", "i2": "int16", "i4": "int32"} | {
    "f4": "float",
    "f8": "double",
}


class TiffSink(FlatSink):
    """BigTIFF of uncompressed tiles of 256 x 256 (smaller for smaller images), a page for each slice, little-endian.

    Uncompressed, because only then the place of each value is known before and tiles can be written in any order and
    again after a kill. tifffile lays the file out; the values are then written where they belong. Pixel sizes go into
    OME-XML (and the resolution tags, per centimetre), of types that OME knows.
    """

    def __init__(self, path: Path, spec: VolumeSpec) -> None:
        super().__init__(path, spec)
        self._offsets = np.zeros((0, 0), np.int64)
        self._type = spec.dtype.newbyteorder("<")
        self._tile = tuple(min(_SIDE, -(-n // 16) * 16) for n in spec.shape[:2])  # TIFF wants multiples of 16

    def _begin(self, path: Path) -> None:
        shape = self.spec.shape
        description = _ome_xml(self.spec).encode() if _ome_type(self.spec) else None
        options: dict[str, Any] = {
            "shape": shape[:2],
            "dtype": self._type,
            "tile": self._tile,
            "photometric": "minisblack",
            "metadata": None,
            **_resolution(self.spec.geometry),
        }
        with tifffile.TiffWriter(path, bigtiff=True, byteorder="<") as tiff:
            for index in range(shape[2] if len(shape) == 3 else 1):
                tiff.write(None, description=description if index == 0 else None, **options)

    def _locate(self, path: Path) -> int:
        with tifffile.TiffFile(path) as tiff:
            self._offsets = np.array([page.dataoffsets for page in tiff.pages], np.int64)
        return int(self._offsets.max()) + self._tile[0] * self._tile[1] * self._type.itemsize

    def _arrays(self, region: Region) -> Iterator[tuple[Region, FlatArray]]:
        rows, columns = region[:2]
        height, width = self._tile
        per_row = -(-self.spec.shape[1] // width)
        pages = [slice(n, n + 1) for n in range(region[2].start, region[2].stop)] if len(region) == 3 else []
        for down in range(rows.start // height, -(-rows.stop // height)):
            for across in range(columns.start // width, -(-columns.stop // width)):
                place = (
                    slice(down * height, (down + 1) * height),
                    slice(across * width, (across + 1) * width),
                )
                tile = down * per_row + across
                if len(region) == 2:
                    yield place, FlatArray(int(self._offsets[0, tile]), self._tile, self._type, (0, 1))
                for page in pages:
                    offset = int(self._offsets[page.start, tile])
                    yield (*place, page), FlatArray(offset, (1, *self._tile), self._type, SLICES_FIRST)


def _resolution(geometry: Geometry) -> dict[str, Any]:
    height, width = geometry.in_unit("centimeter").spacing[:2]
    if geometry.unit is None or height is None or width is None:
        return {}
    return {"resolution": (1 / width, 1 / height), "resolutionunit": "CENTIMETER"}


def _ome_type(spec: VolumeSpec) -> str | None:
    return _OME_TYPES.get(spec.dtype.str[1:])


def _ome_xml(spec: VolumeSpec) -> str:
    """The least that OME asks for; without a random identifier, so that the same values give the same bytes."""
    height, width, depth = (*spec.shape, 1)[:3]
    geometry = spec.geometry
    sizes = ""
    if geometry.unit is not None:
        unit = _OME_UNITS[geometry.unit]
        for axis, step in zip("YXZ", geometry.spacing, strict=False):
            if step is not None:
                sizes += f' PhysicalSize{axis}="{step!r}" PhysicalSize{axis}Unit={quoteattr(unit)}'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation='
        '"http://www.openmicroscopy.org/Schemas/OME/2016-06 http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="{_ome_type(spec)}" '
        f'SizeX="{width}" SizeY="{height}" SizeZ="{depth}" SizeC="1" SizeT="1"{sizes}>'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData/></Pixels></Image></OME>'
    )
