"""Plain arrays: HDF5 data sets (fastMRI's layout and others) and ``.npy``; the homes of measured k-space."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from common.data.errors import DataError, file_errors
from common.data.stacks import Stack

_GEOMETRY = "ismrmrd_header"  # the XML with field of view and matrix size in fastMRI's files


def _stack_shape(shape: tuple[int, ...], name: str, min_ndim: int) -> tuple[int, int, int]:
    """``[H, W]`` and ``[slices, H, W]`` as three axes; ``[W]`` too if ``min_ndim`` is 1."""
    if min_ndim > 1 and len(shape) == 4 and shape[1] > 1:
        raise DataError(
            f"{name}: expected single-coil [slices, height, width], got {list(shape)}, which reads as [slices, coils, "
            f"height, width]; this reader has no sensitivity maps, so combine the coils to one before"
        )
    if len(shape) == 4 and shape[1] == 1:
        shape = (shape[0], *shape[2:])
    if not min_ndim <= len(shape) <= 3:
        raise DataError(
            f"{name}: expected [height, width] or [slices, height, width], got {len(shape)} dimensions, {list(shape)}; "
            f"reshape it"
        )
    full = (1,) * (3 - len(shape)) + tuple(shape)
    return full[0], full[1], full[2]


class Hdf5Stack(Stack):
    """One data set of an HDF5 file, ``[slices, H, W]``, ``[slices, 1, H, W]`` or ``[H, W]``.

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
        super().__init__(path, _stack_shape(shape, name, min_ndim), dtype, name=name)
        self._key = key
        if isinstance(peak, (int, float, np.number)) and np.isfinite(peak) and peak > 0:
            self.declared_peak = float(peak)

    def load(self, index: int) -> np.ndarray:
        """Reads one slice of the data set (a hyperslab)."""
        with h5py.File(self.path, "r") as file:
            dataset = file[self._key]
            values = dataset[index] if dataset.ndim > 2 else dataset[()]
        return np.asarray(values).reshape(self.shape[1:])

    def write(self, volume: np.ndarray, path: Path) -> None:
        """Writes `reconstruction`, the attributes and the geometry."""
        with h5py.File(self.path, "r") as source, h5py.File(path, "w") as file:
            file.create_dataset("reconstruction", data=volume.astype(np.float32))
            for key in source.attrs:
                file.attrs[key] = source.attrs[key]
            if _GEOMETRY in source:
                source.copy(_GEOMETRY, file)


def optional_dataset(path: Path, key: str | None, default: str) -> Hdf5Stack | None:
    """A data set that must be there if the caller named it, and may be missing under its default name."""
    if key is None:
        with file_errors(path, "an HDF5 file"), h5py.File(path, "r") as file:
            if default not in file:
                return None
    return Hdf5Stack(path, key or default, min_ndim=1)


class NpyStack(Stack):
    """A NumPy array file, ``[slices, H, W]`` or ``[H, W]``, mapped and not loaded. Written as float32.

    Args:
        path: the file.
        min_ndim: 1 to let ``[W]`` pass (masks).
    """

    resizable = True

    def __init__(self, path: Path, *, min_ndim: int = 2) -> None:
        with file_errors(path, "a NumPy array file"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        self._is_stack = array.ndim > 2
        super().__init__(path, _stack_shape(array.shape, str(path), min_ndim), array.dtype)

    def load(self, index: int) -> np.ndarray:
        """Copies one slice out of the mapped file."""
        array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return np.array(array[index] if self._is_stack else array).reshape(self.shape[1:])

    def write(self, volume: np.ndarray, path: Path) -> None:
        """Writes float32 of as many dimensions as came."""
        np.save(path, volume.astype(np.float32) if self._is_stack else volume[0].astype(np.float32))
