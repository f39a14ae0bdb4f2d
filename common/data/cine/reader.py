"""Cine series in image units: the place where stored values become [0, 1]."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from common.data.cine.dicom import DicomCine
from common.data.cine.hdf5 import Hdf5Cine
from common.data.cine.nifti import Axes, NiftiCine
from common.data.cine.source import CineSource, Part
from common.data.files import dicom_files, is_dicom, split_suffix
from common.errors import DataError, file_errors
from common.io import IntensityScale
from common.operators.coils import root_sum_of_squares
from common.operators.fourier import ifft2c
from common.operators.series import frames_to_batch

IntensityRange = Literal["auto"] | float | Sequence[float]

HDF5_SUFFIXES = (".h5", ".hdf5")
SUFFIXES = (*HDF5_SUFFIXES, ".nii", ".nii.gz")

_TOLERANCE = 1e-3  # how far a truth in [0, 1] may leave it
_OVERSHOOT = 2.0  # largest value of an aliased image of such a truth: streaks add up, and edges ring
_NEGATIVE = 0.05  # of the largest value: what resampling leaves below zero

# A pass over a file is made once in a process, also if the file is opened anew for each series.
_peaks: dict[tuple[Any, ...], float] = {}


class CineReader:
    """Series in image units, ``read(i) = (stored values - low) / (high - low)``, all of a file by the same range.

    ``intensity_range`` is [low, high], or high alone, low being 0. Or "auto":

    - floating-point HDF5 images are in [0, 1] already, and are taken as they are. A truth with values outside, by
      more than 0.001, is refused, and so is an aliased input below 0 or above 2: streaks can add up to more than 1.
    - uint8: 0 to 255.
    - other integers, NIfTI and DICOM: 0 to the largest value of the file, of its truth where it has one, found in one
      pass over it when first needed.
    - measured k-space alone: 0 to the HDF5 file's attribute ``max`` if it is there, else to the largest magnitude of
      its zero-filled frames (of several coils the root sum of squares), in one pass. Beside images it has their range.

    A file of zeros has the range 0 to 1.

    Attributes:
        source: the file.
        path: of it.
    """

    def __init__(self, source: CineSource, intensity_range: IntensityRange = "auto") -> None:
        self.source = source
        self.path = source.path
        self._range = given_range(intensity_range)
        self._is_checked = self._range is None and source.in_unit_range
        if self._range is not None and self._range[0] != 0 and "kspace" in source.dtypes:
            raise ValueError(
                f"{self.path}: intensity_range [low, high] is for images, and this has k-space; give a number"
            )

    @property
    def intensity_range(self) -> tuple[float, float]:
        """The stored values that become 0 and 1; found at first use and kept."""
        if self._range is None:
            self._range = self._found_range()
        return self._range

    def read(self, index: int) -> dict[str, torch.Tensor]:
        """What the file has of one series.

        Returns:
            "recon" float32 ``(1, height, width, frames)``; "truth" likewise, complex64 where there is a phase;
            "kspace" complex64 ``(n_coils, height, width, frames)``, 0 where not sampled, and "mask" float32
            ``(1, height, width, frames)``.
        """
        index = operator.index(index)
        if not 0 <= index < self.source.n_series:
            raise IndexError(f"{self.path}: slice must be in [0, {self.source.n_series - 1}], got {index}")
        low, high = self.intensity_range
        scale = IntensityScale.between(low, high)
        item: dict[str, np.ndarray] = {}
        for part in ("recon", "truth"):
            if part in self.source.dtypes:
                item[part] = scale.to_unit(self._images(part, index))[None]
        if "phase" in self.source.dtypes and "truth" in item:
            item["truth"] = (item["truth"] * np.exp(1j * self._stored("phase", index))).astype(np.complex64)
        if "kspace" in self.source.dtypes:
            mask = self._mask(index)
            item["kspace"] = (self._stored("kspace", index) / (high - low) * mask).astype(np.complex64)
            item["mask"] = mask.astype(np.float32)[None]
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in item.items()}

    def _stored(self, part: Part, index: int) -> np.ndarray:
        with file_errors(self.path, f"series {index} of {self.source.n_series}"):
            values = self.source.load(part, index)
        if values.shape[-3:] != self.source.size:
            raise DataError(
                f"{self.source.name(part)}: changed since it was opened, series {index} is now {list(values.shape)}"
            )
        bad = int(values.size - np.isfinite(values).sum())
        if bad:
            raise DataError(
                f"{self.source.name(part)}, series {index}: {bad} of {values.size} values are NaN or infinite; repair "
                "or remove the file"
            )
        return values

    def _images(self, part: Part, index: int) -> np.ndarray:
        values = self._stored(part, index)
        if self._is_checked and values.dtype.kind == "f":
            low, high = float(values.min()), float(values.max())
            largest = _OVERSHOOT if part == "recon" else 1 + _TOLERANCE
            if low < -_TOLERANCE or high > largest:
                raise DataError(
                    f"{self.source.name(part)}, series {index}: expected values in [0, 1], got {low:g} to {high:g}; "
                    f"pass the value that is 1 as intensity_range (for this series at least {high:g}), or scale them"
                )
        return values

    def _mask(self, index: int) -> np.ndarray:
        """Bool ``[height, width, frames]``."""
        values, name = self._stored("mask", index), self.source.name("mask")
        levels = np.unique(values)
        if len(levels[levels != 0]) != 1:
            raise DataError(
                f"{name}, series {index}: expected a mask of 0 and one other value, got {len(levels)} values from "
                f"{levels[0]} to {levels[-1]}; write 1 where sampled, else 0"
            )
        return values != 0

    def _found_range(self) -> tuple[float, float]:
        dtypes = self.source.dtypes
        part: Part | None = "truth" if "truth" in dtypes else "recon" if "recon" in dtypes else None
        if part is None:
            return 0.0, self.source.kspace_peak or self._peak("kspace") or 1.0
        other = dtypes.get("recon", dtypes[part])
        if (other.kind == "f") != (dtypes[part].kind == "f") or (other.kind != "f" and other != dtypes[part]):
            raise DataError(
                f"{self.source.name('recon')}: expected the type {dtypes[part]} of the truth, got {other}; store both "
                "alike, or pass intensity_range, the value that is 1 in both"
            )
        if dtypes[part] == np.uint8:
            return 0.0, 255.0
        if dtypes[part].kind == "f" and self.source.in_unit_range:
            return 0.0, 1.0
        return 0.0, self._peak(part) or 1.0

    def _peak(self, part: Part) -> float:
        states = [(state.st_mtime_ns, state.st_size) for state in (file.stat() for file in self.source.files)]
        key = (self.source.name(part), *states, self.source.n_series)
        if key not in _peaks:
            _peaks[key] = max(self._series_peak(part, index) for index in range(self.source.n_series))
        return _peaks[key]

    def _series_peak(self, part: Part, index: int) -> float:
        values = self._stored(part, index)
        if part == "kspace":
            measured = torch.from_numpy((values * self._mask(index)).astype(np.complex64))
            return float(root_sum_of_squares(ifft2c(frames_to_batch(measured[None]))).max())
        low, high = float(values.min()), float(values.max())
        if low < -_NEGATIVE * abs(high):
            raise DataError(
                f"{self.source.name(part)}, series {index}: expected magnitudes, got values down to {low:g}; say which "
                "become 0 and 1: intensity_range=[low, high]"
            )
        return high


def given_range(intensity_range: IntensityRange) -> tuple[float, float] | None:
    """The values that become 0 and 1; None if they are to be found.

    Raises:
        ValueError: for a range that is none.
    """
    if intensity_range == "auto":
        return None
    ends = [0.0, intensity_range] if isinstance(intensity_range, (int, float)) else list(intensity_range)
    numbers = [float(end) for end in ends if isinstance(end, (int, float))]
    if len(ends) != 2 or len(numbers) != 2 or not -np.inf < numbers[0] < numbers[1] < np.inf:
        raise ValueError(
            f"intensity_range must be 'auto', a positive number or two rising ones [low, high], got {intensity_range!r}"
        )
    return numbers[0], numbers[1]


def open_cine(
    path: Path | str,
    truth_path: Path | str | None = None,
    *,
    intensity_range: IntensityRange = "auto",
    nifti_axes: Axes = "xyzt",
    series: str | None = None,
) -> CineReader:
    """Opens a file of cine series, or a folder of DICOM images; headers only.

    Args:
        path: HDF5, see :class:`~common.data.cine.hdf5.Hdf5Cine`; NIfTI, see :class:`~common.data.cine.nifti.NiftiCine`;
            or a folder, see :class:`~common.data.cine.dicom.DicomCine`.
        truth_path: the truths of a pair of HDF5 files.
        intensity_range: see :class:`CineReader`.
        nifti_axes: "xyt" if the third axis of NIfTI files is time.
        series: the ``SeriesInstanceUID`` to take from a folder of several DICOM series.

    Raises:
        FileNotFoundError: no such file.
        DataError: the file is not what its name says, or has no series.
    """
    path, truth_path = Path(path), None if truth_path is None else Path(truth_path)
    for file in (path, truth_path):
        if file is not None and not file.exists():
            raise FileNotFoundError(f"{file}: no such file; check the path")
    suffix = split_suffix(path, SUFFIXES)[1].lower()
    if suffix in HDF5_SUFFIXES:
        return CineReader(Hdf5Cine(path, truth_path), intensity_range)
    if truth_path is not None:
        raise DataError(f"{path}: expected an HDF5 file beside the truths {truth_path}, got another; convert it")
    if suffix:
        return CineReader(NiftiCine(path, nifti_axes), intensity_range)
    if dicom_files(path):
        return CineReader(DicomCine(path, series), intensity_range)
    if is_dicom(path):
        raise DataError(f"{path}: expected a folder of DICOM frames, got one file; give the folder it is in")
    raise DataError(
        f"{path}: unknown suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)} or a folder of DICOM frames; "
        "convert the file"
    )
