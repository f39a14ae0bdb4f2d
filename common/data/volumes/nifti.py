"""NIfTI-1 and NIfTI-2, plain or gzipped, region by region."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from io import FileIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from common.data.volumes.arrays import FlatSource
from common.data.volumes.flat import FlatArray
from common.data.volumes.geometry import Geometry, unit_name
from common.data.volumes.sink import OneArraySink, disk_errors, removed_on_error
from common.data.volumes.spec import VolumeSpec, checked_spec
from common.errors import DataError, file_errors

_UNITS = {"meter": "meter", "millimeter": "mm", "micrometer": "micron"}
_NIFTI1_LONGEST = 2**15 - 1


def open_nifti(path: Path, scratch_dir: Path | None = None) -> FlatSource:
    """A NIfTI image or volume in the order of its array, stored values before slope and intercept.

    A ``.nii.gz`` can only be read from its start on; so it is unpacked to a temporary file first.

    Args:
        path: the file.
        scratch_dir: where the temporary file goes; ``None``: the system's folder.
    """
    with file_errors(path, "a NIfTI image"):
        image = nibabel.load(path)
        if not isinstance(image, nibabel.nifti1.Nifti1Image):
            raise DataError(f"{path}: expected a NIfTI image, got {type(image).__name__}; convert it")
        proxy: Any = image.dataobj
        header, offset = image.header.copy(), int(proxy.offset)
        shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3):
        raise DataError(f"{path}: expected 2 or 3 dimensions, got {list(shape)}; split it into 3-D files")
    dtype = header.get_data_dtype()
    rescale = (float(proxy.slope), float(proxy.inter))
    spec = checked_spec(str(path), VolumeSpec(shape, dtype, _geometry(header, len(shape)), rescale))
    axes = tuple(range(len(shape)))[::-1]  # the first axis of the array is the contiguous one
    array = FlatArray(offset, shape[::-1], dtype, axes)
    is_packed = path.suffix.lower() == ".gz"
    return FlatSource(path, spec, array, _unpacked(path, array.end, scratch_dir) if is_packed else None)


def _unpacked(path: Path, n_bytes: int, scratch_dir: Path | None) -> FileIO:
    with disk_errors(Path(scratch_dir or tempfile.gettempdir()) / path.name, n_bytes):
        file = tempfile.TemporaryFile(dir=scratch_dir, buffering=0)  # noqa: SIM115  # gone with the process
    try:
        with file_errors(path, "a NIfTI image"), gzip.open(path, "rb") as packed:
            while piece := packed.read(2**22):
                with disk_errors(Path(scratch_dir or tempfile.gettempdir()) / path.name, n_bytes):
                    file.write(piece)
    except BaseException:
        file.close()
        raise
    return file


def _geometry(header: Any, n_axes: int) -> Geometry:
    zooms = [float(n) for n in header.get_zooms()[:n_axes]]
    spacing = tuple(n if n > 0 and np.isfinite(n) else None for n in zooms)
    return Geometry(spacing, (0.0,) * n_axes, unit_name(header.get_xyzt_units()[0]), header)


class NiftiSink(OneArraySink):
    """A NIfTI file with the header, affine matrices and slope that came, all but what the enlargement changes.

    Without a header to take over the file has voxel sizes and no orientation (both codes 0). NIfTI-2 where an axis is
    longer than NIfTI-1 can count, 32767. A ``.nii.gz`` is packed at the end and needs room for both.
    """

    def __init__(self, path: Path, spec: VolumeSpec) -> None:
        super().__init__(path, spec)
        try:
            self._new_header()
        except nibabel.spatialimages.HeaderDataError as error:
            raise DataError(f"{path}: NIfTI has no values of type {spec.dtype.name}; choose another format") from error

    def _new_header(self) -> Any:
        spec, given = self.spec, self.spec.geometry.nifti_header
        longer = max(spec.shape) > _NIFTI1_LONGEST or isinstance(given, nibabel.nifti2.Nifti2Header)
        header: Any = nibabel.nifti2.Nifti2Header() if longer else nibabel.nifti1.Nifti1Header()
        if type(given) is type(header):
            header = given.copy()
        header.set_data_dtype(spec.dtype)
        header.set_data_shape(spec.shape)
        geometry = spec.geometry
        if geometry.unit is not None and geometry.unit not in _UNITS:
            geometry = geometry.in_unit("millimeter")
        header.set_zooms([1.0 if step is None else step for step in geometry.spacing])
        header.set_xyzt_units(_UNITS.get(geometry.unit or "", "unknown"), header.get_xyzt_units()[1])
        if given is not None:
            header.set_sform(*given.get_sform(coded=True))
            header.set_qform(*given.get_qform(coded=True))
        header.set_slope_inter(*spec.rescale)
        return header

    def _begin(self, path: Path) -> None:
        header = self._new_header()
        header.set_data_offset(0)  # then the header finds the place behind its extensions itself
        with open(path, "wb") as file:
            header.write_to(file)

    def _layout(self, path: Path) -> FlatArray:
        header = self._new_header()
        with open(path, "rb") as file:
            written = type(header).from_fileobj(file)
        axes = tuple(range(len(self.spec.shape)))[::-1]
        shape = tuple(self.spec.shape[axis] for axis in axes)
        return FlatArray(int(written.get_data_offset()), shape, written.get_data_dtype(), axes)

    def finish(self) -> None:
        """Give the file its name; pack it before, if the name says so."""
        self.close()
        if self.path.suffix.lower() != ".gz":
            super().finish()
            return
        with (
            removed_on_error(self.partial.with_name(f"{self.partial.name}.gz")) as packed,
            open(self.partial, "rb") as source,
            open(packed, "wb") as target,
            # without name and time, so that the same values give the same bytes
            gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=1, mtime=0) as zipped,
        ):
            shutil.copyfileobj(source, zipped, 2**22)
        os.replace(packed, self.path)
        self.partial.unlink()
