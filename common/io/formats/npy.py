"""NumPy array files: ``.npy``, and ``.npz`` with one array or one that is chosen."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from common.errors import DataError, file_errors
from common.io.bounded import check_piece, n_bytes_of
from common.io.choice import chosen
from common.io.flat import FlatArray, flat_source
from common.io.kspace import Mask, as_kspace
from common.io.layout import MASK_AXES, Layout, kind_of, layout_of
from common.io.naming import split_suffix
from common.io.noncartesian import ArrayOptions, array_source, trajectory_path
from common.io.sink import Sink, write_flat
from common.io.source import DecodedSource, Source
from common.io.spec import Spec

_KIND = "a NumPy array file"


def open_source(
    path: Path,
    *,
    axes: str | None = None,
    kind: str | None = None,
    dc: str | None = None,
    channel: int | None = None,
    dataset: str | None = None,
    size: Sequence[int] | None = None,
    trajectory_unit: str | None = None,
    spokes: int | None = None,
) -> Source:
    """Open a NumPy array. The pixel size is unknown.

    Complex values are k-space unless ``kind`` is "image"; values that look like an image are refused at the first read.
    A mask of k-space lies beside it, ``<stem>_mask.npy``, see :func:`open_mask`; or real coordinates ``[(frames,)
    readouts, samples, 2]``, ``<stem>_traj.npy``: then y are the readouts and x their samples, and ``size``,
    ``trajectory_unit`` and ``spokes`` are those of :class:`~common.io.noncartesian.ArrayOptions`.
    """
    shape, fortran, dtype, offset, member = _header(path, dataset)
    name = f"{path}:{member}" if member else str(path)
    layout = layout_of(shape, dtype, name, axes, channel)
    spec = layout.spec(dtype, kind=kind_of(dtype, kind, name, member, default="kspace"), dataset=member or "image")
    source = _source(path, spec, layout, fortran, offset)
    places = trajectory_path(path).with_suffix(".npy")
    if spec.kind == "kspace" and places.is_file() and places != path:
        options = ArrayOptions(size, trajectory_unit, spokes)
        return array_source(source, partial(np.load, places), options, beside=places)
    if (size, trajectory_unit, spokes) != (None, None, None):
        raise ValueError(f"{name}: size, trajectory_unit and spokes are for samples beside {places.name}, not found")
    beside = path.with_name(f"{split_suffix(path)[0]}_mask.npy")
    mask = Mask(open_mask(beside), spec, name) if spec.kind == "kspace" and beside.is_file() else None
    return as_kspace(source, dc, {"mask": mask}, is_certain=kind is not None)


def open_mask(path: Path) -> Source:
    """Open the stored values of a mask, ``[W]``, ``[H, W]`` or ``[slices, H, W]``.

    Raises:
        DataError: for other numbers of axes, or complex values.
    """
    shape, fortran, dtype, offset, member = _header(path, None)
    if len(shape) not in MASK_AXES or dtype.kind not in "buif" or min(shape) < 1:
        raise DataError(f"{path}: expected a mask [W], [H, W] or [slices, H, W], got {list(shape)} {dtype}; reshape it")
    layout = Layout(MASK_AXES[len(shape)], shape)
    return _source(path, layout.spec(dtype, dataset=member or "image"), layout, fortran, offset)


def _source(path: Path, spec: Spec, layout: Layout, fortran: bool, offset: int) -> Source:
    if offset < 0:
        name = f"{path}:{spec.dataset}"
        with file_errors(path, _KIND), zipfile.ZipFile(path) as packed:
            stored = packed.getinfo(f"{spec.dataset}.npy").compress_size
        check_piece(n_bytes_of(layout.shape, spec.dtype, name), stored, name)
        decode = partial(_unpacked, path, spec.dataset)
        return DecodedSource(path, spec, decode, name=name, layout=layout, kind_of_file=_KIND)
    layout = layout.reversed if fortran else layout
    return flat_source(path, spec, FlatArray(offset, layout.shape, spec.dtype), layout, kind_of_file=_KIND)


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
            name = chosen(names, dataset, "dataset", "array", path)
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


def _unpacked(path: Path, dataset: str) -> np.ndarray:
    """An array of a ``.npz``, of which no more is unpacked than its header declares."""
    with zipfile.ZipFile(path) as packed, packed.open(f"{dataset}.npy") as file:
        shape, fortran, dtype = _array_header(file)
        data = file.read(n_bytes_of(shape, dtype, dataset))
    if len(data) < n_bytes_of(shape, dtype, dataset):
        raise EOFError(f"ends after {len(data)} bytes of {n_bytes_of(shape, dtype, dataset)}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def open_sink(path: Path, spec: Spec) -> Sink:
    """Open a writer of a NumPy array, axes in the order of the spec; values with a slope as what they stand for."""
    return Sink(path, spec.as_meant(), _encode)


def _encode(path: Path, sink: Sink) -> None:
    header = io.BytesIO()
    described = np.lib.format.dtype_to_descr(sink.spec.dtype)
    np.lib.format.write_array_header_1_0(header, {"descr": described, "fortran_order": False, "shape": sink.spec.shape})
    write_flat(path, header.getvalue(), sink)
