"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr).

Read by ITK, as a whole. Written as one uncompressed array behind a header, .mha or .nrrd, region by region.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common.errors import DataError, file_errors
from common.io.bounded import check_piece, n_bytes_of
from common.io.geometry import LPS_TO_RAS, MILLIMETERS, Geometry, unit_name
from common.io.layout import fastest_first
from common.io.packages import itk_library
from common.io.sink import Sink, write_flat
from common.io.source import DecodedSource, Source
from common.io.spec import Spec

_KIND = "a MetaImage or NRRD file"
_META = (".mha", ".mhd")
_MOST_AXES = 10  # as ITK has it
_HEADER = 2**16  # bytes in which the fields of a header are looked for
_ORIENTATION = ("transformmatrix", "rotation", "orientation")
_SPACES = {"left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las"}
_META_TYPES = {
    "i1": "MET_CHAR",
    "u1": "MET_UCHAR",
    "i2": "MET_SHORT",
    "u2": "MET_USHORT",
    "i4": "MET_INT",
    "u4": "MET_UINT",
    "i8": "MET_LONG_LONG",
    "u8": "MET_ULONG_LONG",
    "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}
_NRRD_TYPES = {"f4": "float", "f8": "double"}
# pixel types for which ITK's images exist in Python; signed ones that are missing have the same bits
_PIXELS = {"i1": "UC", "u1": "UC", "i2": "SS", "u2": "US", "i4": "SI", "u4": "UI"} | {
    "i8": "ULL",
    "u8": "ULL",
    "f4": "F",
    "f8": "D",
}


def open_source(path: Path, *, axes: str | None = None) -> Source:
    """Open a MetaImage or NRRD file.

    The orientation is that of the file, from left, posterior, superior; coordinates are mm, unless NRRD names another
    unit. A file without a spacing has none, and one with a spacing and without an orientation is not given one.

    Args:
        path: the header, or the file with both header and values.
        axes: names of the array axes, the fastest first: "xy", "xyz", "xyt" (time instead of slices) or "xyzt". By
            default the first two of two or three axes; four axes need it, because MetaImage does not name them.

    Raises:
        DataError: for several components of a pixel, other axes, values in several files or outside of the folder.
    """
    with file_errors(path, _KIND):
        fields, offset = _fields(path)
        _check_count(path, fields)
        data_file = _data_file(path, fields)
        with _image_io(path) as (io, _):
            io.SetFileName(str(path))
            io.ReadImageInformation()
            sizes = [int(io.GetDimensions(n)) for n in range(io.GetNumberOfDimensions())]
            names, _ = fastest_first(path, sizes, axes, "xyz")
            if io.GetNumberOfComponents() != 1:
                raise DataError(
                    f"{path}: expected one number for each pixel, got {io.GetNumberOfComponents()} components; "
                    "save one by itself"
                )
            component = str(io.GetComponentTypeAsString(io.GetComponentType()))
            kind = "f" if component in ("float", "double") else "u" if component.startswith("unsigned") else "i"
            dtype = np.dtype(f"{kind}{io.GetComponentSize()}")
            geometry = _geometry(path, fields, io, names)
        n_bytes = n_bytes_of(sizes, dtype, str(path))
        stored = data_file.stat().st_size if data_file else path.stat().st_size - offset
        check_piece(n_bytes, stored, str(path))
        encoding = _encoding(path, fields)
        packed = (data_file or path, 0 if data_file else offset) if encoding == "gzip" else None
        if encoding == "raw" and n_bytes > stored:
            raise DataError(f"{data_file or path}: truncated, {stored} bytes of {n_bytes}; copy the file again")
    spec = Spec(tuple(names[::-1]), tuple(sizes[: len(names)][::-1]), dtype, geometry)
    files = [path] if data_file is None else [path, data_file]
    decode = partial(_decoded, path, packed, tuple(sizes[::-1]), spec)
    return DecodedSource(path, spec, decode, files=files, kind_of_file=_KIND)


def _decoded(path: Path, packed: tuple[Path, int] | None, sizes: tuple[int, ...], spec: Spec) -> np.ndarray:
    if packed is not None:
        _check_packed(*packed, spec.n_bytes)
    with _image_io(path) as (io, itk):
        pixel = getattr(itk, _PIXELS[spec.dtype.str[1:]])
        values = np.array(itk.array_view_from_image(itk.imread(str(path), pixel_type=pixel, imageio=io)))
    if values.shape != sizes:
        raise ValueError(f"expected the size {list(sizes)}, got {list(values.shape)}")
    return values.view(spec.dtype).reshape(spec.shape)


@contextmanager
def _image_io(path: Path) -> Iterator[tuple[Any, Any]]:
    """ITK's reader of a file, and the package; its errors without the places in its source."""
    with itk_library(path) as itk:
        try:
            yield (itk.MetaImageIO if path.suffix.lower() in _META else itk.NrrdImageIO).New(), itk
        except RuntimeError as error:
            raise ValueError(str(error).split("ITK ERROR:")[-1].strip()) from error


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of a header as text, names in lower case, and the place of the byte after it."""
    is_meta = path.suffix.lower() in _META
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        while file.tell() < _HEADER and (line := file.readline(_HEADER).decode("latin-1")):
            name, separator, value = line.partition("=" if is_meta else ":")
            if separator:
                fields[name.strip().lower()] = value.lstrip("=").strip()
            if (is_meta and "elementdatafile" in fields) or not (is_meta or line.strip()):
                break
        return fields, file.tell()


def _check_count(path: Path, fields: dict[str, str]) -> None:
    """Check the declared number of axes, for which ITK makes room before it looks at them."""
    text = fields.get("ndims" if path.suffix.lower() in _META else "dimension", "")
    if not (text.isdecimal() and 1 <= int(text) <= _MOST_AXES):
        raise DataError(f"{path}: expected a header with the number of axes, got {text!r}; repair or replace it")


def _data_file(path: Path, fields: dict[str, str]) -> Path | None:
    """The file with the values; ``None`` if it is the same.

    Raises:
        DataError: for several files, and one outside of the folder.
    """
    text = fields.get("elementdatafile") or fields.get("data file") or fields.get("datafile") or "LOCAL"
    if text.upper() == "LOCAL":
        return None
    if text.upper().startswith("LIST") or "%" in text or "://" in text:
        raise DataError(f"{path}: expected its values in one file, got {text!r}; save them in one, as .mha or .nrrd")
    if Path(text).name != text:
        raise DataError(f"{path}: expected its values in a file of the same folder, got {text!r}; move the file there")
    data_file = path.with_name(text)
    if not data_file.is_file():
        raise DataError(f"{path}: its values are in {text}, which is not there; copy it too")
    return data_file


def _encoding(path: Path, fields: dict[str, str]) -> str:
    """How the values are stored: "raw", "gzip" or another word."""
    if path.suffix.lower() not in _META:
        return {"gz": "gzip"}.get(fields.get("encoding", "").lower(), fields.get("encoding", "").lower())
    if fields.get("binarydata", "").lower() == "false":
        return "text"
    return "gzip" if fields.get("compresseddata", "").lower() == "true" else "raw"


def _check_packed(path: Path, offset: int, n_bytes: int) -> None:
    """Check length and checksum of compressed values; ITK goes on with what it has if they are wrong.

    Raises:
        ValueError: if they are.
    """
    unpacker, found = zlib.decompressobj(wbits=47), 0  # zlib's header or gzip's
    with open(path, "rb") as file:
        file.seek(offset)
        while not unpacker.eof and found <= n_bytes and (piece := unpacker.unconsumed_tail or file.read(2**20)):
            found += len(unpacker.decompress(piece, 2**22))
    if not unpacker.eof or found != n_bytes:
        raise ValueError(f"its compressed values end after {found} bytes, expected {n_bytes}")


def _geometry(path: Path, fields: dict[str, str], io: Any, names: list[str]) -> Geometry:
    """Geometry of a file, of which ITK makes numbers also where the file has none."""
    axes, n_axes = names[::-1], min(int(io.GetNumberOfDimensions()), 3)
    spacing = [float(io.GetSpacing(n)) for n in range(n_axes)]
    origin = [float(io.GetOrigin(n)) for n in range(n_axes)]
    if path.suffix.lower() in _META:
        is_known = "elementspacing" in fields or "elementsize" in fields
        is_oriented = is_known and any(name in fields for name in _ORIENTATION)
        unit: str | None = "millimeter"
    else:
        units = set(re.findall(r'"([^"]*)"', fields.get("space units", fields.get("units", "")))) - {"", "s", "ms"}
        is_known = "space directions" in fields or "spacings" in fields
        is_oriented = "space directions" in fields and fields.get("space", "").lower().removesuffix("-time") in _SPACES
        given = fields.get("spacings", "").lower().split()
        spacing = [np.nan if given[n : n + 1] == ["nan"] else step for n, step in enumerate(spacing)]
        unit = unit_name(units.pop()) if len(units) == 1 else "millimeter" if is_oriented else None
    if not is_known:
        return Geometry.unknown(axes)
    if not is_oriented or n_axes < 3:
        return Geometry.of_spacing(
            axes, dict(zip(names, spacing, strict=False)), unit, dict(zip(names, origin, strict=False))
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array([io.GetDirection(n)[:3] for n in range(3)]).T * spacing
    affine[:3, 3] = origin
    return Geometry.of_affine(axes, LPS_TO_RAS @ np.diag([*[MILLIMETERS[unit or "millimeter"]] * 3, 1.0]) @ affine)


def open_sink(path: Path, spec: Spec) -> Sink:
    """Open a writer of a ``.mha`` or ``.nrrd`` file: a header, and the values, uncompressed and little-endian.

    Values with a slope are written as what they stand for. An image with an orientation has three axes.

    Raises:
        DataError: for images of other axes or types.
    """
    spec = spec.as_meant()
    if set(spec.axes) - {"z", "y", "x"} or spec.dtype.str[1:] not in _META_TYPES:
        raise DataError(f"{path}: holds images and volumes of real numbers, got {spec}; choose another format")
    header = (_meta_header if path.suffix.lower() in _META else _nrrd_header)(spec).encode("ascii")
    little = spec.dtype.newbyteorder("<")
    return Sink(path, spec, lambda new, sink: write_flat(new, header, sink, little))


def _place(spec: Spec) -> tuple[list[int], list[float | None], np.ndarray, np.ndarray | None]:
    """Sizes and spacing in mm along x, y, z, origin, and unit vectors (columns) if there is an orientation."""
    geometry, sizes = spec.geometry, list(spec.shape[::-1])
    if geometry.affine is None:
        in_mm = geometry.in_unit("millimeter")
        return sizes, list(in_mm.spacing_mm[::-1]), np.array(in_mm.origin[::-1]), None
    affine = LPS_TO_RAS @ geometry.affine
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    return [*sizes, 1][:3], steps.tolist(), affine[:3, 3], affine[:3, :3] / steps


def _meta_header(spec: Spec) -> str:
    sizes, spacing, origin, directions = _place(spec)
    lines = ["ObjectType = Image", f"NDims = {len(sizes)}", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines.append("CompressedData = False")
    if directions is not None:
        lines.append(f"TransformMatrix = {_text(directions.T.ravel())}")  # a direction after the other
    if None not in spacing:
        if directions is not None or origin.any():
            lines.append(f"Offset = {_text(origin)}")
        lines.append(f"ElementSpacing = {_text(spacing)}")
    lines += [f"DimSize = {' '.join(map(str, sizes))}", f"ElementType = {_META_TYPES[spec.dtype.str[1:]]}"]
    return "\n".join([*lines, "ElementDataFile = LOCAL\n"])


def _nrrd_header(spec: Spec) -> str:
    sizes, spacing, origin, directions = _place(spec)
    dtype = spec.dtype.str[1:]
    lines = ["NRRD0004", f"type: {_NRRD_TYPES.get(dtype, spec.dtype.name)}", f"dimension: {len(sizes)}"]
    if directions is not None:
        lines.append("space: left-posterior-superior")
    lines.append(f"sizes: {' '.join(map(str, sizes))}")
    if directions is not None:
        vectors = [f"({_text(step * column, ',')})" for step, column in zip(spacing, directions.T, strict=True)]
        lines += [f"space directions: {' '.join(vectors)}", f"space origin: ({_text(origin, ',')})"]
        lines.append('space units: "mm" "mm" "mm"')
    elif any(step is not None for step in spacing):
        lines.append(f"spacings: {' '.join('NaN' if step is None else repr(step) for step in spacing)}")
        lines.append("units: " + " ".join(['"mm"'] * len(sizes)))
    return "\n".join([*lines, f"kinds: {' '.join(['domain'] * len(sizes))}", "endian: little", "encoding: raw\n\n"])


def _text(numbers: Any, separator: str = " ") -> str:
    return separator.join(repr(float(number)) for number in numbers)
