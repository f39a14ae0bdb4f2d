"""Arrays without a word about pixels: raw values, ``.npy``, and the data sets of HDF5 files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from common.data.volumes.flat import FlatArray
from common.data.volumes.geometry import Geometry
from common.data.volumes.sink import OneArraySink
from common.data.volumes.source import VolumeSource
from common.data.volumes.spec import Region, VolumeSpec
from common.errors import DataError, file_errors

_ELEMENT_SIZE = "element_size_um"  # attribute of a data set as ilastik and Fiji keep it: micrometers, slices first


class FlatSource(VolumeSource):
    """Values one after the other in an open file.

    Args:
        path: what the user calls it.
        spec: see :class:`~common.data.volumes.VolumeSpec`.
        array: where the values are.
        file: opened for reading without a buffer; ``None``: ``path``.

    Raises:
        DataError: if the file is too short.
    """

    def __init__(self, path: Path, spec: VolumeSpec, array: FlatArray, file: FileIO | None = None) -> None:
        super().__init__(path, spec)
        self._array = array
        self._file = FileIO(path) if file is None else file
        size = os.fstat(self._file.fileno()).st_size
        if array.end > size:
            self.close()
            raise DataError(
                f"{path}: truncated, or its shape or type is another: {array.end} bytes are needed, it has {size}; "
                "copy the file again, or correct what was said of it"
            )

    def read(self, region: Region) -> np.ndarray:
        """Values of the region."""
        with file_errors(self.path, "an array"):
            return self._array.read(self._file, region)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def identity(self) -> str:
        """Of the file, and where in it the values are."""
        return f"{super().identity()} at {self._array.offset}"


def image_shape(shape: Sequence[int], name: str) -> tuple[int, ...]:
    """``[height, width]`` or ``[slices, height, width]`` as (height, width[, depth]).

    Raises:
        DataError: for other numbers of axes.
    """
    if len(shape) not in (2, 3):
        raise DataError(
            f"{name}: expected [height, width] or [slices, height, width], got {list(shape)}; reshape it, or choose "
            "one channel and time"
        )
    return tuple(int(n) for n in (shape if len(shape) == 2 else (*shape[1:], shape[0])))


def open_raw(path: Path, shape: Sequence[int], dtype: str, offset: int = 0) -> FlatSource:
    """A file of nothing but values, slices one after the other, rows inside.

    Args:
        path: the file.
        shape: ``[height, width]`` or ``[slices, height, width]``.
        dtype: of the values, with the byte order, e.g. ``"<u2"`` for little-endian 16 bits.
        offset: bytes before the first value.
    """
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise ValueError(f"dtype must be a NumPy type such as 'uint8' or '<u2', got {dtype!r}") from error
    if offset < 0:
        raise ValueError(f"offset must be 0 or more bytes, got {offset}")
    sizes = image_shape(shape, str(path))
    spec = VolumeSpec(sizes, kind, Geometry.unknown(len(sizes)))
    return FlatSource(path, spec, FlatArray.slices_first(spec, offset))


def open_npy(path: Path) -> FlatSource:
    """A NumPy array file, ``[height, width]`` or ``[slices, height, width]``."""
    with file_errors(path, "a NumPy array file"):
        (stored, fortran, dtype), offset = _npy_header(path)
    sizes = image_shape(stored, str(path))
    spec = VolumeSpec(sizes, dtype, Geometry.unknown(len(sizes)))
    array = FlatArray.slices_first(spec, offset)
    if fortran:
        array = FlatArray(offset, array.shape[::-1], dtype, array.axes[::-1])
    return FlatSource(path, spec, array)


def _npy_header(path: Path) -> tuple[tuple[tuple[int, ...], bool, np.dtype], int]:
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        return read(file), file.tell()


class Hdf5Source(VolumeSource):
    """A data set of an HDF5 file, ``[height, width]`` or ``[slices, height, width]``, chunked and compressed or not.

    Args:
        path: the file.
        dataset: its name; ``None``: the only one with two or three axes, groups included.
    """

    def __init__(self, path: Path, dataset: str | None = None) -> None:
        with file_errors(path, "an HDF5 file"):
            self._file = h5py.File(path, "r")
        try:
            self._dataset = _chosen_dataset(self._file, path, dataset)
            inside = self._dataset.name.strip("/")
            shape = image_shape(self._dataset.shape, f"{path}:{inside}")
            spec = VolumeSpec(shape, self._dataset.dtype, _hdf5_geometry(self._dataset, len(shape)), dataset=inside)
            super().__init__(path, spec, name=f"{path}:{inside}")
        except BaseException:
            self._file.close()
            raise

    def read(self, region: Region) -> np.ndarray:
        """Values of the region."""
        with file_errors(self.path, "an HDF5 data set"):
            if len(region) == 2:
                return self._dataset[region]
            return self._dataset[region[2], region[0], region[1]].transpose(1, 2, 0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _chosen_dataset(file: h5py.File, path: Path, name: str | None) -> h5py.Dataset:
    found: list[str] = []

    def look(key: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (2, 3):
            found.append(key)

    if name is None:
        file.visititems(look)
        if len(found) != 1:
            listed = ", ".join(found) or "none"
            raise DataError(f"{path}: expected one data set with two or three axes, found {listed}; pass dataset=...")
        name = found[0]
    item = file.get(name)
    if not isinstance(item, h5py.Dataset):
        raise DataError(f"{path}: no data set {name!r}, it holds {', '.join(sorted(file)) or 'nothing'}")
    return item


def _hdf5_geometry(dataset: h5py.Dataset, n_axes: int) -> Geometry:
    sizes = np.ravel(dataset.attrs.get(_ELEMENT_SIZE, ()))
    if len(sizes) not in (n_axes, 3) or not (sizes > 0).all():
        return Geometry.unknown(n_axes)
    depth = tuple(float(n) for n in sizes[:-2])[-1:] if n_axes == 3 else ()
    return Geometry((float(sizes[-2]), float(sizes[-1]), *depth), (0.0,) * n_axes, "micrometer")


class RawSink(OneArraySink):
    """Values one after the other, slices first, in the byte order that came."""

    def _begin(self, path: Path) -> None:
        path.touch()

    def _layout(self, path: Path) -> FlatArray:
        return FlatArray.slices_first(self.spec)


class NpySink(OneArraySink):
    """A NumPy array file, slices first."""

    def _begin(self, path: Path) -> None:
        array = FlatArray.slices_first(self.spec)
        descr = np.lib.format.dtype_to_descr(self.spec.dtype)
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": array.shape})

    def _layout(self, path: Path) -> FlatArray:
        return FlatArray.slices_first(self.spec, _npy_header(path)[1])


class Hdf5Sink(OneArraySink):
    """A contiguous data set of the name it came with, else ``image``; slices first.

    The HDF5 library only lays the file out. Values are written to where the data set lies, so that a process which is
    killed leaves no open HDF5 file behind, whose tables might be lost.
    """

    def _begin(self, path: Path) -> None:
        array = FlatArray.slices_first(self.spec)
        reserved = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        reserved.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        reserved.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        spacing = self.spec.geometry.in_unit("micrometer")
        options: dict[str, Any] = {"shape": array.shape, "dtype": self.spec.dtype, "dcpl": reserved}
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset(self.spec.dataset, **options)
            if spacing.unit == "micrometer" and None not in spacing.spacing:
                dataset.attrs[_ELEMENT_SIZE] = [spacing.spacing[axis] for axis in array.axes]

    def _layout(self, path: Path) -> FlatArray:
        with h5py.File(path, "r") as file:
            offset = file[self.spec.dataset].id.get_offset()
        return FlatArray.slices_first(self.spec, offset)
