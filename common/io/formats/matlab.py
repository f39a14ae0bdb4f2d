"""MATLAB files: version 5 to 7, and 7.3 as HDF5."""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Iterator
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

_KIND = "a MATLAB file"
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
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
    order: str
    """Byte order, "<" or ">"."""
    start: int
    """Position of the element in the file."""


def _arrays(path: Path) -> dict[str, _Array]:
    """Return the arrays of numbers in a file of version 5 to 7, by their names; values are not read."""
    found: dict[str, _Array] = {}
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(128)
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
        if order is None or struct.unpack(f"{order}H", head[124:126])[0] != 0x0100:
            raise ValueError("it is none of version 5 to 7.3; save it with -v7")
        while file.tell() + 8 <= size and len(found) < _MOST:
            start = file.tell()
            n_bytes = struct.unpack(f"{order}II", file.read(8))[1]
            file.seek(start)
            if data := _matrix(file, order, _HEAD):
                name, shape, dtype = _described(_parts(data, order), order)
                if dtype is not None:
                    found[name] = _Array(shape, dtype, order, start)
            file.seek(start + 8 + n_bytes)
    return found


def _matrix(file: BufferedReader, order: str, most: int) -> bytes:
    """Return the first bytes of an element, at most `most` when uncompressed; none if it is no array."""
    kind, n_bytes = struct.unpack(f"{order}II", file.read(8))
    data = file.read(min(n_bytes, most))
    if kind == _COMPRESSED:
        data = zlib.decompressobj().decompress(data, most)
        kind, data = struct.unpack(f"{order}I", data[:4])[0], data[8:]
    return data if kind == _MATRIX else b""


def _parts(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Iterate over the parts of an array: type and bytes; the last may be cut."""
    position = 0
    while position + 8 <= len(data):
        first, n_bytes = struct.unpack(f"{order}II", data[position : position + 8])
        if first >> 16:  # up to four bytes stand beside their length
            yield first & 0xFFFF, data[position + 4 : position + 4 + (first >> 16)]
            position += 8
        else:
            yield first, data[position + 8 : position + 8 + n_bytes]
            position += 8 + -(-n_bytes // 8) * 8


def _described(parts: Iterator[tuple[int, bytes]], order: str) -> tuple[str, tuple[int, ...], np.dtype | None]:
    """Return name, size and type of an array; the type is ``None`` for one that does not hold numbers."""
    (_, flags), (_, sizes), (_, name) = next(parts), next(parts), next(parts)
    flag = struct.unpack(f"{order}I", flags[:4])[0]
    code = _CLASSES.get(flag & 0xFF)
    if code is None or (flag & _COMPLEX and code[0] != "f"):
        return "", (), None
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes[: len(sizes) // 4 * 4])
    text = name.decode("latin-1")
    if not (text.isascii() and text.isidentifier()) or len(shape) > _MOST_AXES:
        raise ValueError("the name or the size of an array is damaged")
    dtype = np.dtype(bool) if flag & _LOGICAL else np.dtype(code)
    return text, shape, np.dtype(f"c{2 * dtype.itemsize}") if flag & _COMPLEX else dtype


def _decoded(path: Path, name: str, expected: _Array) -> np.ndarray:
    """Return the values of an array of a file of version 5 to 7, in its type.

    SciPy's reader takes the lengths of the parts as they are, and ends the process where they are damaged.
    """
    count = math.prod(expected.shape)
    with open(path, "rb") as file:
        file.seek(expected.start)
        # MATLAB stores numbers of small values in fewer bytes than their type has
        data = _matrix(file, expected.order, _HEAD + 2 * count * max(expected.dtype.itemsize, 8))
    parts = _parts(data, expected.order)
    if _described(parts, expected.order) != (name, expected.shape, expected.dtype):
        raise ValueError(f"the array {name} is another than when the file was opened")
    numbers = []
    for kind, values in itertools.islice(parts, 2 if expected.dtype.kind == "c" else 1):
        stored = np.dtype(expected.order + _STORED[kind]) if kind in _STORED else None
        if stored is None or len(values) != count * stored.itemsize:
            raise ValueError(f"the values of the array {name} are damaged: {len(values)} bytes of type {kind}")
        numbers.append(np.frombuffer(values, stored).reshape(expected.shape, order="F"))
    if expected.dtype.kind != "c":
        return numbers[0].astype(expected.dtype)
    values_of_type = np.empty(expected.shape, expected.dtype)
    values_of_type.real, values_of_type.imag = numbers
    return values_of_type
