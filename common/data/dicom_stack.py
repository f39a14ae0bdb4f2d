"""A DICOM series as slices."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from common.data.dicom import open_series
from common.data.dicom_derived import DerivedSeries, values_digest
from common.data.stacks import Stack, to_dtype


class DicomStack(Stack):
    """The slices of one series, or one image; values are those that rescale slope and intercept give.

    Written as a series derived from it, see :class:`~common.data.dicom_derived.DerivedSeries`, of the stored type,
    rounded and clipped.

    Args:
        path: the folder, or one file.
        series: see :func:`~common.data.dicom.open_series`.
    """

    def __init__(self, path: Path, series: str | None = None) -> None:
        self._series = open_series(path, series)
        self._scaled = self._series.rescale != (1.0, 0.0)
        dtype = np.dtype(np.float64) if self._scaled else self._series.dtype
        super().__init__(path, (len(self._series.files), *self._series.size), dtype)

    def load(self, index: int) -> np.ndarray:
        """Values of one slice."""
        values = self._series.load(index)
        slope, intercept = self._series.rescale
        return values * slope + intercept if self._scaled else values

    def write(self, volume: np.ndarray, path: Path) -> None:
        """Writes a folder of slices, or one file where one file came."""
        slope, intercept = self._series.rescale
        stored = to_dtype(np.clip((volume - intercept) / slope, *self._series.limits), self._series.dtype)
        derived = DerivedSeries(self._series, (1, 1, 1), values_digest([stored]), "reconstruction")
        if self.path.is_file():
            derived.write(0, stored[0], path)
            return
        path.mkdir()
        try:
            for index, values in enumerate(stored):
                derived.write(index, values, path / derived.name(index))
        except BaseException:
            shutil.rmtree(path)
            raise
