"""HDF5 files of cine series: pairs of aliased and true ones in one file or two, measured k-space, one single series."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from common.data.cine.source import CineGeometry, CineSource, Part
from common.errors import DataError, file_errors

RECON, TRUTH, PHASE, KSPACE, MASK = "imagesRecon", "imagesTrue", "phaseTrue", "kspace", "mask"
SINGLE = "image"
"""The one series of a file that has no other: [frames, height, width]."""


@dataclass(frozen=True)
class _Place:
    """A data set of a file."""

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def name(self) -> str:
        return f"{self.path}:{self.key}"


class Hdf5Cine(CineSource):
    """Series of an HDF5 file, or of a file of inputs and one of truths.

    ============  ==========================================================================================
    imagesTrue    real ``[N, H, W, T]``: the truth; floating point is in [0, 1]
    imagesRecon   likewise: the aliased input
    phaseTrue     radians ``[N, H, W, T]``: the truth is ``imagesTrue * exp(i phaseTrue)``
    kspace        complex ``[N, H, W, T]`` or ``[N, n_coils, H, W, T]``, centred, orthonormal
    mask          0 or 1, ``[N, H, W, T]`` or ``[H, W, T]``: where ``kspace`` was sampled
    image         real ``[T, H, W]``: one series, the truth, where there are none of those
    ============  ==========================================================================================

    Args:
        path: the file; of a pair that of the inputs.
        truth_path: the other file of a pair, of ``imagesTrue`` and ``phaseTrue``.

    Raises:
        DataError: for files that are not HDF5, lack the data sets, or whose data sets do not fit each other.
    """

    in_unit_range = True

    def __init__(self, path: Path, truth_path: Path | None = None) -> None:
        self._attributes: dict[str, Any] = {}
        own = self._places(path)
        truths = own
        if truth_path is None:
            self._require(path, own, TRUTH, RECON, KSPACE, SINGLE)
        else:
            truths = self._places(truth_path)
            self._require(path, own, RECON, KSPACE)
            self._require(truth_path, truths, TRUTH)
        self._single = truths is own and not {RECON, TRUTH, KSPACE} & own.keys()
        keys: dict[Part, tuple[dict[str, _Place], str]] = {
            "truth": (truths, TRUTH),
            "recon": (own, RECON),
            "phase": (truths, PHASE),
            "kspace": (own, KSPACE),
            "mask": (own, MASK),
        }
        if self._single:
            keys = {"truth": (own, SINGLE)}
        self._parts: dict[Part, _Place] = {part: found[key] for part, (found, key) in keys.items() if key in found}
        if "truth" not in self._parts:
            self._parts.pop("phase", None)
        if "kspace" not in self._parts:
            self._parts.pop("mask", None)
        n_series, size = self._common_shape()
        self._check_types()
        peak = self._attributes.get("max")
        if isinstance(peak, (int, float, np.number)) and np.isfinite(peak) and peak > 0:
            self.kspace_peak = float(peak)
        super().__init__(path, n_series, size, {part: place.dtype for part, place in self._parts.items()})
        self.files = (path,) if truth_path is None else (path, truth_path)

    def name(self, part: Part) -> str:
        """The file and the data set."""
        return self._parts[part].name

    def load(self, part: Part, index: int) -> np.ndarray:
        """One series of a data set (a hyperslab)."""
        place = self._parts[part]
        with h5py.File(place.path, "r") as file:
            dataset = file[place.key]
            if self._single:
                return np.ascontiguousarray(np.moveaxis(dataset[()], 0, -1))
            values = np.asarray(dataset[()] if dataset.ndim == 3 else dataset[index])
        return values[None] if part == "kspace" and values.ndim == 3 else values

    def geometry(self) -> CineGeometry:
        """From the attributes ``pixel_size_mm``, ``slice_distance_mm`` and ``frame_interval_s``."""
        pixel = self._numbers("pixel_size_mm", (1, 2))
        distance, interval = self._numbers("slice_distance_mm", (1,)), self._numbers("frame_interval_s", (1,))
        return CineGeometry(
            pixel_size_mm=None if pixel is None else (pixel[0], pixel[-1]),
            slice_distance_mm=None if distance is None else distance[0],
            frame_interval_s=None if interval is None else interval[0],
        )

    def attributes(self) -> dict[str, Any]:
        """Those of the files."""
        return dict(self._attributes)

    def _places(self, path: Path) -> dict[str, _Place]:
        """The data sets at the top of a file; its attributes are kept."""
        with file_errors(path, "an HDF5 file"), h5py.File(path, "r") as file:
            self._attributes.update(file.attrs)
            datasets = {key: item for key in file if isinstance(item := file.get(key), h5py.Dataset)}
            return {key: _Place(path, key, item.shape or (), item.dtype) for key, item in datasets.items()}

    @staticmethod
    def _require(path: Path, found: dict[str, _Place], *keys: str) -> None:
        if not found.keys() & set(keys):
            listed = ", ".join(sorted(found)) or "nothing"
            raise DataError(f"{path}: no data set {' or '.join(keys)}, it holds {listed}; rename the data set")

    def _common_shape(self) -> tuple[int, tuple[int, ...]]:
        """Number and size of the series, which all data sets must share."""
        if self._single:
            (place,) = self._parts.values()
            if len(place.shape) != 3:
                raise DataError(f"{place.name}: expected [frames, height, width], got {list(place.shape)}; reshape it")
            return 1, (*place.shape[1:], place.shape[0])
        found: _Place | None = None
        shape: tuple[int, ...] = ()
        for part, place in self._parts.items():
            own = place.shape
            if part == "kspace" and len(own) == 5:
                own = (own[0], *own[2:])
            if part == "mask" and found is not None and len(own) == 3:
                own = (shape[0], *own)
            if len(own) != 4:
                raise DataError(
                    f"{place.name}: expected [series, height, width, frames], got {len(own)} dimensions, "
                    f"{list(place.shape)}; reshape it"
                )
            if found is None:
                found, shape = place, own
            if own != shape:
                raise DataError(
                    f"{place.name}: expected the shape {list(shape)} [series, height, width, frames] of {found.name}, "
                    f"got {list(place.shape)}; give data sets that belong together"
                )
        return shape[0], shape[1:]

    def _check_types(self) -> None:
        for part, place in self._parts.items():
            wanted = "c" if part == "kspace" else "buif" if part == "mask" else "uif"
            if place.dtype.kind not in wanted:
                number = "complex k-space" if part == "kspace" else "real numbers"
                raise DataError(f"{place.name}: expected {number}, got {place.dtype}; store such")
        if "kspace" in self._parts and "mask" not in self._parts:
            raise DataError(
                f"{self._parts['kspace'].path}: no data set {MASK} beside {KSPACE}; add one, 1 where sampled, "
                "[series, height, width, frames]"
            )

    def _numbers(self, name: str, lengths: tuple[int, ...]) -> list[float] | None:
        values = np.atleast_1d(np.asarray(self._attributes.get(name)))
        if values.dtype.kind not in "uif" or values.shape not in [(n,) for n in lengths]:
            return None
        return [float(n) for n in values] if (values > 0).all() and np.isfinite(values).all() else None
