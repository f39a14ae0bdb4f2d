"""NIfTI-1 and NIfTI-2, plain or gzipped."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from common.data.stacks import Stack
from common.errors import DataError, file_errors


class NiftiStack(Stack):
    """A 2-D or 3-D NIfTI volume cut along one array axis.

    The order of the array is kept: the first remaining axis is the height, the second the width, so writing back
    with the same affine gives the same geometry. Values are after ``scl_slope`` and ``scl_inter``. Written as
    float32 without slope, with the header, affine, sform and qform that came in.

    A slice of a ``.nii`` file is read on its own. A ``.nii.gz`` has to be unpacked from its start up to the slice;
    in rising order that is done once. For random access (training) unpack such files before.

    Args:
        path: the file.
        axis: the array axis along which slices are counted.
    """

    def __init__(self, path: Path, axis: int = -1) -> None:
        with file_errors(path, "a NIfTI image"):
            image = _opened(str(path), path.stat().st_mtime_ns, os.getpid())
            self._array_shape = tuple(int(n) for n in image.shape)
            proxy: Any = image.dataobj
            offset, stored = proxy.offset, image.header.get_data_dtype()
            scaled = (proxy.slope, proxy.inter) != (1, 0)
        volume_shape = self._array_shape
        while len(volume_shape) > 3 and volume_shape[-1] == 1:
            volume_shape = volume_shape[:-1]
        if not 2 <= len(volume_shape) <= 3:
            raise DataError(f"{path}: expected 2 or 3 dimensions, got {list(volume_shape)}; split it into 3-D files")
        self._volume_shape = volume_shape if len(volume_shape) == 3 else (*volume_shape, 1)
        if not -3 <= axis < 3:
            raise ValueError(f"slice_axis must be in [-3, 2], got {axis}")
        self._axis = axis % 3
        slices = self._volume_shape[self._axis]
        plane = [n for i, n in enumerate(self._volume_shape) if i != self._axis]
        super().__init__(path, (slices, *plane), np.dtype(np.float64) if scaled else stored)
        end, size = int(offset + np.prod(self._array_shape) * stored.itemsize), path.stat().st_size
        if path.suffix.lower() != ".gz" and end > size:
            raise DataError(f"{path}: truncated, {size} bytes of {end}; copy the file again")

    def load(self, index: int) -> np.ndarray:
        """Values of one slice, in the order of the array."""
        image = _opened(str(self.path), self.path.stat().st_mtime_ns, os.getpid())
        cut: list[int | slice] = [slice(None)] * 3
        cut[self._axis] = index
        # a 2-D file has no third axis to cut, a 4-D one has a fourth of one element
        inside = tuple(cut[: len(self._array_shape)]) + (0,) * (len(self._array_shape) - 3)
        values = np.asarray(image.dataobj[inside])
        return values.reshape(self.shape[1:])

    def write(self, volume: np.ndarray, path: Path) -> None:
        """Writes float32 with the header and affine that came."""
        image = _opened(str(self.path), self.path.stat().st_mtime_ns, os.getpid())
        header = image.header.copy()
        header.set_data_dtype(np.float32)
        values = np.moveaxis(volume.astype(np.float32), 0, self._axis).reshape(self._array_shape)
        nibabel.save(type(image)(values, image.affine, header), path)


@lru_cache(maxsize=4)
def _opened(path: str, modified_ns: int, process: int) -> nibabel.nifti1.Nifti1Image:
    """An image whose file stays open, so that a gzip stream goes on where the last slice ended.

    The process is part of the key, because a forked worker must not move its parent's file position.
    """
    image = nibabel.load(path, keep_file_open=True)
    if not isinstance(image, nibabel.nifti1.Nifti1Image):
        raise DataError(f"{path}: expected a NIfTI image, got {type(image).__name__}; convert it")
    return image
