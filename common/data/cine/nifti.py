"""NIfTI-1 and NIfTI-2 of cine series, plain or gzipped, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np

from common.data.cine.source import CineGeometry, CineSource, Part
from common.errors import DataError, file_errors
from common.io.atomic import atomic_path

Axes = Literal["xyzt", "xyt"]

_MILLIMETERS = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


class NiftiCine(CineSource):
    """One series for each slice of a NIfTI file; they are the truth.

    The order of the array is kept: the first axis is the height, the second the width. Values are after ``scl_slope``
    and ``scl_inter``. Lengths of unknown unit are taken as mm, times of unknown unit are not known.

    Of a ``.nii`` file just the slice is read. A ``.nii.gz`` is unpacked as a whole for each slice: for training keep
    what was read (``cache``), or unpack such files before.

    Args:
        path: the file.
        axes: "xyzt" for four axes, slices and then frames. A file of three axes may be a volume or a series, and no
            entry of its header tells: "xyt" says that the third is time.

    Raises:
        DataError: for other axes, numbers that are not real, a truncated file.
    """

    def __init__(self, path: Path, axes: Axes = "xyzt") -> None:
        if axes not in ("xyzt", "xyt"):
            raise ValueError(f"nifti_axes must be 'xyzt' or 'xyt', got {axes!r}")
        with file_errors(path, "a NIfTI image"):
            image = _opened(path)
            proxy: Any = image.dataobj
            self._array_shape = tuple(int(n) for n in image.shape)
            end, stored = int(proxy.offset), image.header.get_data_dtype()
            is_scaled = (proxy.slope, proxy.inter) != (1, 0)
        shape = self._array_shape
        while len(shape) > len(axes) and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != len(axes):
            third = "; pass nifti_axes='xyt' if the third is time" if len(shape) == 3 else "; split or reshape it"
            raise DataError(
                f"{path}: expected {len(axes)} axes, {' '.join(axes)} (t is time), got {list(shape)}{third}"
            )
        if stored.kind not in "uif":
            raise DataError(f"{path}: expected real numbers, got {stored}; store magnitudes")
        self._has_slices = axes == "xyzt"
        n_series = shape[2] if self._has_slices else 1
        dtype = np.dtype(np.float64) if is_scaled else stored
        super().__init__(path, n_series, (*shape[:2], shape[-1]), {"truth": dtype})
        end, size = end + int(np.prod(shape)) * stored.itemsize, path.stat().st_size
        if path.suffix.lower() != ".gz" and end > size:
            raise DataError(f"{path}: truncated, {size} bytes of {end}; copy the file again")

    def load(self, part: Part, index: int) -> np.ndarray:
        """Values of one slice, in the order of the array."""
        inside = (slice(None), slice(None), index) if self._has_slices else ()
        return np.asarray(_opened(self.path).dataobj[inside]).reshape(self.size)

    def geometry(self) -> CineGeometry:
        """From the header."""
        image = _opened(self.path)
        length, time = image.header.get_xyzt_units()
        zooms = [float(n) if n > 0 and np.isfinite(n) else None for n in image.header.get_zooms()]
        in_mm = [None if n is None else n * _MILLIMETERS[length] for n in zooms[:3]]
        interval, second = zooms[3 if self._has_slices else 2], _SECONDS.get(time)
        return CineGeometry(
            pixel_size_mm=None if in_mm[0] is None or in_mm[1] is None else (in_mm[0], in_mm[1]),
            slice_distance_mm=in_mm[2] if self._has_slices else None,
            frame_interval_s=None if interval is None or second is None else interval * second,
            affine=image.affine,
            nifti_header=image.header,
        )


def _opened(path: Path) -> nibabel.nifti1.Nifti1Image:
    image = nibabel.load(path)
    if not isinstance(image, nibabel.nifti1.Nifti1Image):
        raise DataError(f"{path}: expected a NIfTI image, got {type(image).__name__}; convert it")
    return image


def write_nifti(series: np.ndarray, like: CineSource, path: Path) -> None:
    """Writes all series of a file as one NIfTI file, float32 ``[height, width, slices, frames]``, of its geometry.

    A NIfTI input's header, affine, sform and qform are kept, and its number of axes. Others give voxel sizes, the frame
    interval (1 where unknown) and, where they know it, the orientation. The file appears whole or not at all.

    Args:
        series: real ``[n_series, height, width, frames]`` in stored units.
        like: where they come from.
        path: the file to be, ``.nii`` or ``.nii.gz``.

    Raises:
        DataError: for series of another number or size.
    """
    expected = (like.n_series, *like.size)
    if series.shape != expected:
        raise DataError(
            f"{path}: expected series {list(expected)} [slices, height, width, frames] as {like.path} has, got "
            f"{list(series.shape)}; its geometry would not be theirs: write h5"
        )
    geometry = like.geometry()
    values = np.moveaxis(series, 0, 2).astype(np.float32)
    header: Any = geometry.nifti_header
    if header is not None:
        header = header.copy()
        values = values.reshape(header.get_data_shape())
    else:
        header = nibabel.nifti1.Nifti1Header()
        header.set_data_shape(values.shape)
        pixel = geometry.pixel_size_mm or (1.0, 1.0)
        header.set_zooms((*pixel, geometry.slice_distance_mm or 1.0, geometry.frame_interval_s or 1.0))
        header.set_xyzt_units(
            "mm" if geometry.pixel_size_mm else "unknown", "sec" if geometry.frame_interval_s else "unknown"
        )
        if geometry.affine is not None:
            header.set_sform(geometry.affine, "scanner")
            header.set_qform(geometry.affine, "scanner")
    header.set_data_dtype(np.float32)
    kind = nibabel.Nifti2Image if isinstance(header, nibabel.nifti2.Nifti2Header) else nibabel.Nifti1Image
    with atomic_path(path) as temporary:
        nibabel.save(kind(values, geometry.affine, header), temporary)
