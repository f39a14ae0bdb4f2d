"""Which reader and which writer a path means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.data.files import dicom_files, is_dicom, split_suffix
from common.data.volumes.arrays import Hdf5Sink, Hdf5Source, NpySink, RawSink, open_npy, open_raw
from common.data.volumes.dicom import DicomSink, DicomSource
from common.data.volumes.geometry import MILLIMETERS, Geometry, unit_name
from common.data.volumes.matlab import MatlabSource
from common.data.volumes.nifti import NiftiSink, open_nifti
from common.data.volumes.ome_zarr import ZarrSink, ZarrSource, is_zarr
from common.data.volumes.pictures import PictureSink, PictureSource
from common.data.volumes.sink import VolumeSink
from common.data.volumes.source import VolumeSource
from common.data.volumes.spec import VolumeSpec
from common.data.volumes.tiff_sink import TiffSink
from common.data.volumes.tiff_source import open_tiff
from common.errors import DataError

_TIFF, _NIFTI, _HDF5 = (".tif", ".tiff", ".btf"), (".nii", ".nii.gz"), (".h5", ".hdf5")
_WRITTEN = (*_TIFF, *_NIFTI, *_HDF5, ".npy", ".raw", ".png", ".dcm", ".zarr")
SUFFIXES = (*_WRITTEN, ".mat")


def _suffix(path: Path) -> str:
    return split_suffix(path, SUFFIXES)[1].lower()


def _kind(path: Path) -> str:
    """The suffix that stands for the format of what is there; "" for a folder of pictures."""
    if is_zarr(path):
        return ".zarr"
    suffix = _suffix(path)
    return ".dcm" if not suffix and (is_dicom(path) or dicom_files(path)) else suffix


def split_name(path: Path) -> tuple[str, str]:
    """Stem and suffix of an image or volume: what its name ends in, ``.zarr`` for a Zarr of any name."""
    stem, suffix = split_suffix(path, SUFFIXES)
    return stem, suffix or (".zarr" if is_zarr(path) else "")


def open_source(
    path: Path | str,
    *,
    shape: Sequence[int] | None = None,
    dtype: str | None = None,
    offset: int = 0,
    dataset: str | None = None,
    series: str | None = None,
    spacing: Sequence[float] | None = None,
    unit: str = "millimeter",
    scratch_dir: Path | None = None,
) -> VolumeSource:
    """Opens an image or a volume by its suffix (`SUFFIXES`, any case), or a folder of slices.

    ============  ================================================================================================
    TIFF          grey pages of one size, in strips or tiles, BigTIFF, OME-TIFF, ImageJ stacks
    NIfTI         2-D and 3-D; ``.nii.gz`` is unpacked to a temporary file
    HDF5          one data set
    npy, raw      arrays, slices first
    OME-Zarr      the full resolution; a Zarr array too
    PNG           one picture
    folder        PNG or TIFF slices in natural order; DICOM slices in the order of their places
    DICOM         one image, of any file name
    MATLAB        one array, up to version 7 of the format; read as a whole
    ============  ================================================================================================

    Args:
        path: the file or folder.
        shape: of a ``.raw`` file, ``[height, width]`` or ``[slices, height, width]``.
        dtype: of a ``.raw`` file, e.g. ``"uint8"`` or ``"<u2"``.
        offset: bytes before the values of a ``.raw`` file.
        dataset: name of an HDF5 data set, or of a MATLAB array.
        series: ``SeriesInstanceUID`` of the DICOM series to take from a folder of several.
        spacing: size of a pixel along (height, width[, depth]), in place of what the file says; not for NIfTI and
            DICOM.
        unit: of ``spacing``.
        scratch_dir: for temporary files.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: for an option that the format does not have, or a missing one.
        DataError: the file is not what its suffix says, or no grey image or volume of real numbers.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; check the path")
    suffix = _kind(path)
    given = {"shape": shape, "dtype": dtype, "offset": offset or None, "dataset": dataset, "series": series}
    _refuse_options(path, suffix, spacing=spacing, **given)
    if suffix == ".zarr":
        source: VolumeSource = ZarrSource(path)
    elif suffix == ".dcm":
        source = DicomSource(path, series)
    elif path.is_dir() or suffix == ".png":
        source = PictureSource(path)
    elif suffix in _TIFF:
        source = open_tiff(path)
    elif suffix in _NIFTI:
        source = open_nifti(path, scratch_dir)
    elif suffix in _HDF5:
        source = Hdf5Source(path, dataset)
    elif suffix == ".mat":
        source = MatlabSource(path, dataset)
    elif suffix == ".npy":
        source = open_npy(path)
    elif suffix == ".raw":
        if shape is None or dtype is None:
            raise ValueError(f"{path}: a .raw file says nothing of itself; pass shape=[...] and dtype='...'")
        source = open_raw(path, shape, dtype, offset)
    else:
        raise DataError(f"{path}: unknown suffix, expected one of {', '.join(SUFFIXES)} or a folder; convert the file")
    try:
        if spacing is not None:
            source.spec = _with_spacing(source.spec, spacing, unit)
    except ValueError:
        source.close()
        raise
    return source


def _refuse_options(path: Path, suffix: str, **given: object) -> None:
    own = {".raw": ("shape", "dtype", "offset", "spacing"), ".nii": (), ".nii.gz": (), ".dcm": ("series",)}
    allowed = own.get(suffix, ("spacing", "dataset") if suffix in (*_HDF5, ".mat") else ("spacing",))
    refused = [name for name, value in given.items() if value is not None and name not in allowed]
    if refused:
        raise ValueError(f"{path}: {', '.join(refused)} cannot be said of {suffix or 'a folder'}; leave it out")


def _with_spacing(spec: VolumeSpec, spacing: Sequence[float], unit: str) -> VolumeSpec:
    name = unit_name(unit)
    if name is None:
        raise ValueError(f"unit must be one of {', '.join(MILLIMETERS)}, got {unit!r}")
    sizes = tuple(float(n) for n in spacing)
    if len(sizes) != len(spec.shape) or not all(0 < n < float("inf") for n in sizes):
        raise ValueError(f"spacing must be {len(spec.shape)} positive numbers, got {list(spacing)}")
    return replace(spec, geometry=Geometry(sizes, (0.0,) * len(sizes), name))


def open_sink(path: Path | str, spec: VolumeSpec, block: Sequence[int]) -> VolumeSink:
    """A writer by the suffix of a path (`SUFFIXES` but ``.mat``). Nothing is written yet.

    Without a suffix: a folder of slices, DICOM if they came as DICOM (or one such file), else PNG.

    The type of the values is kept, and in NIfTI and DICOM slope and intercept. Other formats have neither: values
    with a slope become float32 there, what they stand for; :attr:`VolumeSink.spec` says so. Pixel sizes are kept where
    the format has a place for them (all but npy, raw and PNG), the orientation in NIfTI and DICOM.

    Args:
        path: the file or folder to be.
        spec: see :class:`~common.data.volumes.VolumeSpec`.
        block: shape of the regions that will be written, counted from the corner of the image.

    Raises:
        DataError: if the suffix is unknown, or the format cannot hold such an image.
    """
    path = Path(path)
    suffix = _suffix(path)
    is_folder = not path.suffix[1:].isalnum()  # "1.2.840_x4" has no suffix, "out.jpg" has one that is not known
    if suffix == ".dcm" or (is_folder and spec.series is not None):
        return DicomSink(path, spec)
    if suffix not in _NIFTI and spec.rescale != (1.0, 0.0):
        spec = replace(spec, dtype=np.dtype(np.float32), rescale=(1.0, 0.0), limits=None)
    if suffix == ".zarr":
        return ZarrSink(path, spec, block)
    if suffix in _TIFF:
        return TiffSink(path, spec)
    if suffix in _NIFTI:
        return NiftiSink(path, spec)
    if suffix in _HDF5:
        return Hdf5Sink(path, spec)
    if suffix == ".npy":
        return NpySink(path, spec)
    if suffix == ".raw":
        return RawSink(path, spec)
    if suffix == ".png" or is_folder:
        return PictureSink(path, spec)
    if suffix:
        raise DataError(
            f"{path}: {suffix} is not written, expected one of {', '.join(_WRITTEN)}; choose another suffix"
        )
    raise DataError(f"{path}: unknown suffix, expected one of {', '.join(_WRITTEN)} or none for a folder of slices")
