"""NumPy array files: ``.npy``, and ``.npz`` with one array or one that is chosen."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from common.errors import DataError, file_errors, source_option
from common.io.bounded import check_piece, n_bytes_of
from common.io.flat import FlatArray
from common.io.geometry import Geometry
from common.io.kspace import Mask, as_kspace, known_companions, listed
from common.io.layout import FlatLayoutSource, Layout, kind_of, layout_of
from common.io.naming import split_suffix
from common.io.sink import OneArraySink, Sink
from common.io.source import DecodedSource, Source
from common.io.spec import Spec

_KIND = "a NumPy array file"
_MASK_AXES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}


def open_source(
    path: Path,
    *,
    axes: str | None = None,
    kind: str | None = None,
    dc: str | None = None,
    channel: int | None = None,
    dataset: str | None = None,
) -> Source:
    """Open a NumPy array. The pixel size is unknown.

    Complex values are k-space unless ``kind`` is "image"; values that look like an image are refused at the first
    read. A mask of k-space lies beside it, ``<stem>_mask.npy``, see :func:`open_mask`.

    Args:
        path: the file.
        axes: names of the axes in the order of the array, such as "coil,y,x"; see :func:`~common.io.layout.layout_of`.
        kind: "image" or "kspace".
        dc: see :class:`~common.io.kspace.KspaceSource`.
        channel: the entry of an axis "channel" to take.
        dataset: name of the array in a ``.npz`` of several.
    """
    shape, fortran, dtype, offset, member = _header(path, dataset)
    name = f"{path}:{member}" if member else str(path)
    layout = layout_of(shape, dtype, name, axes, channel)
    found = kind_of(dtype, kind, name, member, default="kspace")
    spec = Spec(layout.axes, layout.sizes, dtype, Geometry.unknown(layout.axes), kind=found, dataset=member or "image")
    source = _source(path, spec, layout, fortran, offset)
    beside = path.with_name(f"{split_suffix(path)[0]}_mask.npy")
    mask = Mask(open_mask(beside), spec, name) if found == "kspace" and beside.is_file() else None
    return as_kspace(source, dc, known_companions({"mask": mask}), is_certain=kind is not None)


def open_mask(path: Path) -> Source:
    """Open the stored values of a mask, ``[W]``, ``[H, W]`` or ``[slices, H, W]``.

    Raises:
        DataError: for other numbers of axes, or complex values.
    """
    shape, fortran, dtype, offset, member = _header(path, None)
    if len(shape) not in _MASK_AXES or dtype.kind not in "buif" or min(shape) < 1:
        raise DataError(f"{path}: expected a mask [W], [H, W] or [slices, H, W], got {list(shape)} {dtype}; reshape it")
    layout = Layout(_MASK_AXES[len(shape)], shape)
    spec = Spec(layout.axes, layout.sizes, dtype, Geometry.unknown(layout.axes), dataset=member or "image")
    return _source(path, spec, layout, fortran, offset)


def _source(path: Path, spec: Spec, layout: Layout, fortran: bool, offset: int) -> Source:
    if offset < 0:
        return _PackedSource(path, spec, layout)
    array = FlatArray(offset, layout.shape, spec.dtype)
    if fortran:
        array = FlatArray(offset, layout.shape[::-1], spec.dtype, tuple(range(len(layout.shape)))[::-1])
    return FlatLayoutSource(path, spec, array, layout, kind_of_file=_KIND)


def _header(path: Path, dataset: str | None) -> tuple[tuple[int, ...], bool, np.dtype, int, str]:
    """Shape, whether the first axis is the fastest, type, first byte (-1 in a ``.npz``), and name in a ``.npz``."""
    with file_errors(path, _KIND):
        if split_suffix(path)[1].lower() != ".npz":
            if dataset is not None:
                raise ValueError("it has no names; leave dataset out")
            with open(path, "rb") as file:
                return (*_array_header(file), file.tell(), "")
        with zipfile.ZipFile(path) as packed:
            names = [info.filename[:-4] for info in packed.infolist() if info.filename.endswith(".npy")]
            if dataset is None and len(names) != 1:
                raise DataError(
                    f"{path}: expected one array, found {listed(names) or 'none'}; choose one: "
                    f"{source_option('dataset', names[0] if names else 'name')}"
                )
            name = names[0] if dataset is None else dataset
            if name not in names:
                raise DataError(f"{path}: no array {name!r}, it holds {listed(names) or 'none'}")
            with packed.open(f"{name}.npy") as member:
                return (*_array_header(member), -1, name)


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read: Any = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects; save an array of numbers")
    n_bytes_of(shape, dtype, "array")
    return shape, fortran, dtype


class _PackedSource(DecodedSource):
    """The array of a ``.npz``, unpacked as a whole."""

    kind_of_file = _KIND

    def __init__(self, path: Path, spec: Spec, layout: Layout) -> None:
        super().__init__(path, spec, name=f"{path}:{spec.dataset}")
        self._layout = layout
        with file_errors(path, _KIND), zipfile.ZipFile(path) as packed:
            stored = packed.getinfo(f"{spec.dataset}.npy").compress_size
        check_piece(n_bytes_of(layout.shape, spec.dtype, self.name), stored, self.name)

    def _decode(self, index: int) -> np.ndarray:
        with zipfile.ZipFile(self.path) as packed, packed.open(f"{self.spec.dataset}.npy") as file:
            shape, fortran, dtype = _array_header(file)
            n_bytes = n_bytes_of(shape, dtype, self.name)
            data = file.read(n_bytes)
        if len(data) < n_bytes:
            raise EOFError(f"ends after {len(data)} bytes of {n_bytes}")
        values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
        everything = tuple(slice(0, n) for n in self.spec.shape)
        return self._layout.shown(values[self._layout.inside(everything)], self.name)


def open_sink(path: Path, spec: Spec, block: tuple[int, ...] | None = None) -> Sink:
    """Open a writer of a NumPy array, axes in the order of the spec; values with a slope as what they stand for."""
    return NpySink(path, spec.as_meant())


class NpySink(OneArraySink):
    """A NumPy array file."""

    def _begin(self, path: Path) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self.spec.dtype),
            "fortran_order": False,
            "shape": self.spec.shape,
        }
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)

    def _layout(self, path: Path) -> FlatArray:
        with open(path, "rb") as file:
            _array_header(file)
            return FlatArray.of(self.spec, file.tell())
