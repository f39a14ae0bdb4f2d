"""MATLAB files: version 5 to 7 by SciPy, 7.3 as HDF5."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path

import h5py
import numpy as np
from common.errors import file_errors
from common.io.bounded import check_piece, n_bytes_of
from common.io.choice import chosen
from common.io.formats import hdf5
from common.io.kspace import as_kspace
from common.io.layout import kind_of, layout_of
from common.io.source import DecodedSource, Source
from scipy.io import loadmat

_KIND = "a MATLAB file"
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPRESSED, _MATRIX = 15, 14  # types of elements
_COMPLEX, _LOGICAL = 0x0800, 0x0200  # flags of an array
_HEAD = 4096  # bytes of an array in which its type, size and name stand
_MOST = 10_000
_MOST_AXES = 32


def open_source(
    path: Path,
    *,
    dataset: str | None = None,
    axes: str | None = None,
    kind: str | None = None,
    dc: str | None = None,
    channel: int | None = None,
) -> Source:
    """Open an array of a MATLAB file, ``(height, width)`` or ``(height, width, slices)``; the pixel size is unknown.

    ``axes`` are named in MATLAB's order, such as "y,x,coil"; arrays with "ksp" in their name are k-space.
    """
    with file_errors(path, _KIND):
        is_hdf5 = h5py.is_hdf5(path)
    if is_hdf5:
        return hdf5.open_source(path, dataset=dataset, axes=axes, kind=kind, dc=dc, channel=channel)
    with file_errors(path, _KIND):
        found = _arrays(path)
    sizes = {name: list(one.shape) for name, one in found.items()}
    images = {name: size for name, size in sizes.items() if len(size) > 1 and max(size) > 1}
    name = chosen(images if dataset is None else sizes, dataset, "dataset", "array of rows and columns", path)
    one, title = found[name], f"{path}:{name}"
    check_piece(n_bytes_of(one.shape, one.dtype, title), path.stat().st_size, title)
    layout = layout_of(one.shape, one.dtype, title, axes, channel, usual="y,x,z")
    spec = layout.spec(one.dtype, kind=kind_of(one.dtype, kind, title, name), dataset=name)
    decode = partial(_decoded, path, name, one)
    return as_kspace(DecodedSource(path, spec, decode, name=title, layout=layout, kind_of_file=_KIND), dc)


@dataclass(frozen=True)
class _Array:
    shape: tuple[int, ...]
    dtype: np.dtype


def _arrays(path: Path) -> dict[str, _Array]:
    """Arrays of numbers in a file of version 5 to 7; SciPy's list does not say which are complex."""
    found: dict[str, _Array] = {}
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(128)
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
        if order is None or struct.unpack(f"{order}H", head[124:126])[0] != 0x0100:
            raise ValueError("it is none of version 5 to 7.3; save it with -v7")
        while file.tell() + 8 <= size and len(found) < _MOST:
            start = file.tell()
            kind, n_bytes = struct.unpack(f"{order}II", file.read(8))
            data = _head_of_matrix(file, kind, n_bytes, order)
            if data:
                name, one = _parsed(data, order)
                if one is not None:
                    found[name] = one
            file.seek(start + 8 + n_bytes)
    return found


def _head_of_matrix(file: BufferedReader, kind: int, n_bytes: int, order: str) -> bytes:
    data = file.read(min(n_bytes, _HEAD))
    if kind == _COMPRESSED:
        data = zlib.decompressobj().decompress(data, _HEAD)
        kind, data = struct.unpack(f"{order}I", data[:4])[0], data[8:]
    return data if kind == _MATRIX else b""


def _parsed(data: bytes, order: str) -> tuple[str, _Array | None]:
    """Name, size and type of an array; ``None`` for one that does not hold numbers."""
    flags = struct.unpack(f"{order}I", data[8:12])[0]
    n_bytes = struct.unpack(f"{order}I", data[20:24])[0]
    shape = struct.unpack(f"{order}{n_bytes // 4}i", data[24 : 24 + n_bytes // 4 * 4])
    rest = data[24 + -(-n_bytes // 8) * 8 :]
    first, second = struct.unpack(f"{order}II", rest[:8])
    # names of up to four letters stand beside their length
    name = rest[4 : 4 + (first >> 16)] if first >> 16 else rest[8 : 8 + second]
    code = _CLASSES.get(flags & 0xFF)
    if code is None or (flags & _COMPLEX and code[0] != "f"):
        return "", None
    dtype = np.dtype(bool) if flags & _LOGICAL else np.dtype(code)
    if flags & _COMPLEX:
        dtype = np.dtype(f"c{2 * dtype.itemsize}")
    text = name.decode("latin-1")
    if not (text.isascii() and text.isidentifier()) or len(shape) > _MOST_AXES:
        raise ValueError("the name or the size of an array is damaged")
    return text, _Array(tuple(shape), dtype)


def _decoded(path: Path, name: str, expected: _Array) -> np.ndarray:
    """An array of a file of version 5 to 7, in its type."""
    # mat_dtype: MATLAB stores numbers of small values in fewer bytes than their type has; SciPy drops imaginary
    # parts with it
    values = np.asarray(loadmat(path, variable_names=[name], mat_dtype=expected.dtype.kind != "c")[name])
    if values.shape != expected.shape or values.dtype.hasobject:
        raise ValueError(f"expected an array {list(expected.shape)}, got {list(values.shape)} {values.dtype}")
    return values.astype(expected.dtype)
