"""DICOM series and images, slice by slice; see :mod:`common.data.dicom`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import nibabel
import numpy as np

from common.data.dicom import DicomSeries, open_series
from common.data.dicom_derived import DerivedSeries, values_digest
from common.data.volumes.encoded import EncodedSink
from common.data.volumes.geometry import Geometry
from common.data.volumes.source import RecentArrays, VolumeSource
from common.data.volumes.spec import Region, VolumeSpec
from common.errors import DataError

_TO_NIFTI = np.diag([-1.0, -1.0, 1.0, 1.0])  # left, posterior, superior to right, anterior, superior


class DicomSource(VolumeSource):
    """A folder with a series as a volume, or a file as an image. Slices last used are kept, up to 256 MiB.

    Args:
        path: the folder or file.
        series: see :func:`~common.data.dicom.open_series`.
    """

    def __init__(self, path: Path, series: str | None = None) -> None:
        self._series = open_series(path, series)
        depth = () if path.is_file() else (len(self._series.files),)
        shape = (*self._series.size, *depth)
        spec = VolumeSpec(
            shape,
            self._series.dtype,
            _geometry(self._series, len(shape)),
            self._series.rescale,
            slice_names=tuple(file.name for file in self._series.files) if depth else None,
            limits=self._series.limits,
            series=self._series,
        )
        super().__init__(path, spec)
        self._recent = RecentArrays()

    def read(self, region: Region) -> np.ndarray:
        """Values of the region."""
        rows, columns = region[:2]
        if len(region) == 2:
            return self._load(0)[rows, columns]
        return np.stack([self._load(index)[rows, columns] for index in range(region[2].start, region[2].stop)], axis=-1)

    def close(self) -> None:
        """Nothing is open between reads."""

    def identity(self) -> str:
        """Of the folder and the series."""
        return f"{super().identity()} {self._series.uid}"

    def _load(self, index: int) -> np.ndarray:
        return self._recent.get(index, partial(self._series.load, index))


def _geometry(series: DicomSeries, n_axes: int) -> Geometry:
    """With the header that a NIfTI file of the series would have, so that NIfTI outputs are oriented."""
    header = None
    if series.affine is not None and None not in series.spacing[:n_axes]:
        header = nibabel.nifti1.Nifti1Header()
        affine = _TO_NIFTI @ series.affine
        header.set_sform(affine, "scanner")
        header.set_qform(affine, "scanner")
    return Geometry(series.spacing[:n_axes], (0.0,) * n_axes, "millimeter", header)


class DicomSink(EncodedSink):
    """A series derived from the one that came, see :class:`~common.data.dicom_derived.DerivedSeries`.

    A folder of slices, or a file for one image. Written when all values are there; needs room for both.
    """

    _ending = ".dcm"

    def __init__(self, path: Path, spec: VolumeSpec) -> None:
        super().__init__(path, spec)
        if spec.series is None:
            raise DataError(f"{path}: DICOM is written of DICOM alone, the input is none; choose another format")
        if path.suffix.lower() == ".dcm" and len(spec.shape) == 3:
            raise DataError(f"{path}: expected a folder, without a suffix, for {spec.shape[2]} DICOM slices")
        self._derived: DerivedSeries | None = None

    def _encode(self, index: int, path: Path) -> None:
        self._derivation().write(index, self._slice(index), path)

    def _slice_name(self, index: int) -> str:
        return self._derivation().name(index)

    def _derivation(self) -> DerivedSeries:
        if self._derived is None:
            shape, series = (*self.spec.shape, 1)[:3], self.spec.series
            assert series is not None  # checked above
            before = (*series.size, len(series.files))
            scale = [new // old for new, old in zip(shape, before, strict=True)]
            named = "x".join(map(str, sorted(set(scale) - {1}))) or "1"
            digest = values_digest(self._slice(index) for index in range(shape[2]))
            self._derived = DerivedSeries(series, scale, digest, f"super-resolution x{named}")
        return self._derived
