"""Plain arrays: HDF5 data sets (fastMRI's layout and others) and ``.npy``; the homes of measured k-space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from common.data.ismrmrd_header import HEADER_KEY
from common.data.stacks import Stack
from common.errors import DataError, file_errors


def _stack_shape(shape: tuple[int, ...], name: str, min_ndim: int) -> tuple[tuple[int, int, int], int]:
    """Three axes, and the number of coils.

    ``[H, W]``, ``[slices, H, W]`` and ``[slices, coils, H, W]``; where ``min_ndim`` is 1 also ``[W]``, and no coils.
    """
    n_coils = 1
    if len(shape) == 4 and (min_ndim > 1 or shape[1] == 1):
        n_coils, shape = shape[1], (shape[0], *shape[2:])
    if not min_ndim <= len(shape) <= 3:
        raise DataError(
            f"{name}: expected [height, width] or [slices, height, width], got {len(shape)} dimensions, {list(shape)}; "
            f"reshape it"
        )
    full = (1,) * (3 - len(shape)) + tuple(shape)
    return (full[0], full[1], full[2]), n_coils


def write_reconstruction(volume: np.ndarray, path: Path, attributes: Mapping[str, Any], header: Any = None) -> None:
    """An HDF5 file as fastMRI's evaluation reads it: `reconstruction`, float32, attributes and ISMRMRD header."""
    with h5py.File(path, "w") as file:
        file.create_dataset("reconstruction", data=volume.astype(np.float32))
        file.attrs.update(attributes)
        if header is not None:
            file[HEADER_KEY] = header


class Hdf5Stack(Stack):
    """One data set of an HDF5 file, ``[slices, H, W]``, ``[slices, coils, H, W]`` or ``[H, W]``.

    The file is opened for each slice and closed again: no handle is shared between processes. Written as a file of
    the data set ``reconstruction``, float32 ``[slices, H, W]``, as fastMRI's evaluation reads it, with the
    attributes and the ``ismrmrd_header`` of the input.

    Args:
        path: the file.
        key: name of the data set; a path such as ``scan/kspace`` reaches into groups.
        min_ndim: 1 to let ``[W]`` pass (masks).
    """

    resizable = True

    def __init__(self, path: Path, key: str, *, min_ndim: int = 2) -> None:
        name = f"{path}:{key}"
        with file_errors(path, "an HDF5 file"), h5py.File(path, "r") as file:
            dataset = file.get(key)
            if not isinstance(dataset, h5py.Dataset):
                found = ", ".join(sorted(file)) or "nothing"
                raise DataError(f"{path}: no data set {key!r}, it holds {found}; rename it or pass the key's name")
            shape, dtype = dataset.shape, dataset.dtype
            peak = file.attrs.get("max")
        if shape is None:
            raise DataError(f"{name}: the data set is empty; write [slices, height, width]")
        full, n_coils = _stack_shape(shape, name, min_ndim)
        super().__init__(path, full, dtype, name=name, n_coils=n_coils)
        self._key = key
        if isinstance(peak, (int, float, np.number)) and np.isfinite(peak) and peak > 0:
            self.declared_peak = float(peak)

    def load(self, index: int) -> np.ndarray:
        """Reads one slice of the data set (a hyperslab)."""
        with h5py.File(self.path, "r") as file:
            dataset = file[self._key]
            values = dataset[index] if dataset.ndim > 2 else dataset[()]
        return np.asarray(values).reshape(self.slice_shape)

    def write(self, volume: np.ndarray, path: Path) -> None:
        """Writes `reconstruction`, the attributes and the geometry."""
        with h5py.File(self.path, "r") as source:
            header = source[HEADER_KEY][()] if HEADER_KEY in source else None
            write_reconstruction(volume, path, dict(source.attrs), header)


def optional_dataset(path: Path, key: str | None, default: str) -> Hdf5Stack | None:
    """A data set that must be there if the caller named it, and may be missing under its default name."""
    if key is None:
        with file_errors(path, "an HDF5 file"), h5py.File(path, "r") as file:
            if default not in file:
                return None
    return Hdf5Stack(path, key or default, min_ndim=1)


class NpyStack(Stack):
    """A NumPy array file, ``[slices, H, W]``, ``[slices, coils, H, W]`` or ``[H, W]``, mapped and not loaded.

    Written as float32.

    Args:
        path: the file.
        min_ndim: 1 to let ``[W]`` pass (masks).
    """

    resizable = True

    def __init__(self, path: Path, *, min_ndim: int = 2) -> None:
        with file_errors(path, "a NumPy array file"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        self._is_stack = array.ndim > 2
        full, n_coils = _stack_shape(array.shape, str(path), min_ndim)
        super().__init__(path, full, array.dtype, n_coils=n_coils)

    def load(self, index: int) -> np.ndarray:
        """Copies one slice out of the mapped file."""
        array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return np.array(array[index] if self._is_stack else array).reshape(self.slice_shape)

    def write(self, volume: np.ndarray, path: Path) -> None:
        """Writes float32 of as many dimensions as came."""
        np.save(path, volume.astype(np.float32) if self._is_stack else volume[0].astype(np.float32))
