"""Reader of cine series: one file or folder, series by series, in image units."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from common.errors import DataError, source_option
from common.io import (
    AXES,
    Geometry,
    Intensity,
    IntensityRange,
    Region,
    Source,
    Spec,
    find_range,
    format_of,
    given_range,
    open_source,
)
from common.io.formats.cine_hdf5 import RECON
from common.io.opening import module_of
from common.io.source import DerivedSource
from common.operators.coils import root_sum_of_squares
from common.operators.fourier import ifft2c
from common.operators.series import frames_to_batch

Part = Literal["truth", "recon", "phase", "kspace", "mask"]

SINGLE = "image"
"""Data set of an HDF5 file that is one series [frames, height, width] unless the file names its axes."""

_SIZES = ("z", "y", "x", "t")
_TOLERANCE = 1e-3  # how far a truth may leave its declared range
_OVERSHOOT = 2.0  # largest aliased value over the declared one: streaks add up, and edges ring


class CineReader:
    """Series of a file in image units, ``read(i) = (values - low) / (high - low)``, all of them by the same range.

    A source of real images is the truth, and its companion "aliased" the input; beside k-space they are the companions
    "target" and "aliased". The entries of z are the series. K-space is taken as a whole: it is not cropped to the size
    of image that its header asks for.

    The range is that of :func:`~common.io.find_range`, found on the truth, else the input, else the zero-filled
    magnitudes of k-space (of several coils the root sum of squares). K-space beside images has their range. Where a
    file declares the largest value, as cine HDF5 does for floating-point images (1), "auto" refuses a truth beyond it
    by more than 0.001, and an aliased input below 0 or above twice that value: streaks can add up.

    Args:
        path: the file or folder.
        parts: sources of equal size along z, y, x and t: "truth", its "phase" in radians, "recon" (the aliased input),
            "kspace" and its "mask".
        intensity_range: the values that become [0, 1], as :func:`~common.io.find_range` takes them.

    Attributes:
        path: as given.
        parts: as given.
        n_series: how many series there are.
        size: (height, width, frames) of each.

    Raises:
        ValueError: for a range that is none, or that has a lower end other than 0 beside k-space.
        DataError: for parts that are no series of two frames or more, or do not fit each other.
    """

    def __init__(self, path: Path, parts: Mapping[Part, Source], intensity_range: IntensityRange = "auto") -> None:
        self.path = path
        self.parts = dict(parts)
        self.n_series, *size = _common_size(path, self.parts)
        self.size: tuple[int, int, int] = (size[0], size[1], size[2])
        _check_values(self.parts)
        self._intensity_range = intensity_range
        self._range = given_range(intensity_range)
        if self._range is not None:
            self._check_floor(self._range)

    @property
    def intensity_range(self) -> tuple[float, float]:
        """The values that become 0 and 1; found at first use and kept."""
        if self._range is None:
            self._range = self._found_range()
            self._check_floor(self._range)
        return self._range

    @property
    def main(self) -> Source:
        """The input: k-space, else the aliased images, else the truth, of which the input will be made."""
        return next(self.parts[part] for part in ("kspace", "recon", "truth") if part in self.parts)

    @property
    def geometry(self) -> Geometry:
        """Place of pixels and frames: that of the input; what it does not give is that of the truth."""
        own, truth = self.main.spec.geometry, self.parts.get("truth", self.main).spec.geometry
        known = own if any(own.spacing) or truth.axes != own.axes else truth
        return replace(known, frame_times_s=own.frame_times_s or truth.frame_times_s)

    @property
    def image_spec(self) -> Spec:
        """Description of all magnitudes of the file as float32, in the place of the input."""
        return self.main.spec.as_image(np.float32, geometry=self.geometry, intensity=Intensity())

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the values depend on."""
        return tuple(dict.fromkeys(file for source in self.parts.values() for file in source.files))

    def read(self, index: int) -> dict[str, torch.Tensor]:
        """Read one series.

        Returns:
            what there is of "recon", float32 ``(1, height, width, frames)``; "truth", likewise, complex64 where there
            is a phase; "kspace", complex64 ``(n_coils, height, width, frames)``, 0 where not sampled, and "mask",
            float32 ``(1, height, width, frames)``.

        Raises:
            IndexError: for a series that the file does not have.
            DataError: for values that are not finite, or beyond the declared range.
        """
        index = operator.index(index)
        if not 0 <= index < self.n_series:
            raise IndexError(f"{self.path}: slice must be in [0, {self.n_series - 1}], got {index}")
        low, high = self.intensity_range
        item: dict[str, np.ndarray] = {}
        for part in ("recon", "truth"):
            if part in self.parts:
                source = self.parts[part]
                item[part] = _time_last(source, source.read_unit(_series_region(source, index), low, high))
                self._check_range(part, index, item[part])
        if "phase" in self.parts:
            item["truth"] = (item["truth"] * np.exp(1j * _read_series(self.parts["phase"], index))).astype(np.complex64)
        if "kspace" in self.parts:
            kspace, mask = _measured(self.parts["kspace"], self.parts.get("mask"), index)
            item["kspace"] = (kspace / (high - low)).astype(np.complex64)
            item["mask"] = mask.astype(np.float32)
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in item.items()}

    def close(self) -> None:
        """Release the files; the next `read` opens them again."""
        for source in self.parts.values():
            source.close()

    def _check_range(self, part: Part, index: int, unit: np.ndarray) -> None:
        spec = self.parts[part].spec
        declared = spec.intensity.declared_max
        if self._intensity_range != "auto" or declared is None or spec.dtype.kind != "f":
            return
        low, high = float(unit.min()), float(unit.max())
        if low < -_TOLERANCE or high > (_OVERSHOOT if part == "recon" else 1 + _TOLERANCE):
            scale = self.intensity_range[1]
            raise DataError(
                f"{self.parts[part].name}, series {index}: expected values in [0, {declared:g}], got {low * scale:g} "
                f"to {high * scale:g}; pass the value that is 1 as intensity_range (for this series at least "
                f"{high * scale:g}), or scale them"
            )

    def _check_floor(self, ends: tuple[float, float]) -> None:
        if ends[0] != 0 and ("kspace" in self.parts or any(s.spec.dtype.kind == "c" for s in self.parts.values())):
            raise ValueError(
                f"{self.path}: intensity_range [{ends[0]:g}, {ends[1]:g}] is for magnitudes, and this has k-space or "
                "complex images; give one number"
            )

    def _found_range(self) -> tuple[float, float]:
        part = next(part for part in ("truth", "recon", "kspace") if part in self.parts)
        source, other = self.parts[part], self.parts.get("recon", self.parts[part])
        one, two = source.spec.dtype, other.spec.dtype
        if (one.kind == "f") != (two.kind == "f") or (two.kind != "f" and one != two):
            raise DataError(
                f"{other.name}: expected the type {one} of the truth, got {two}; store both alike, or pass "
                "intensity_range, the value that is 1 in both"
            )
        return find_range(_SeriesImages(source, self.parts.get("mask")), self._intensity_range)


class _SeriesImages(DerivedSource):
    """Images of a source a series at a time, for one pass over them; of k-space the zero-filled magnitudes.

    Blocks of other sources are single frames, whose values lie far from each other where time is stored last.
    """

    def __init__(self, source: Source, mask: Source | None) -> None:
        self._mask, spec = mask, source.spec
        if spec.kind == "kspace":
            spec = spec.as_image(np.float32)
        super().__init__(source, spec)

    def blocks(self) -> Iterator[Region]:
        """One region for each series."""
        for index in range(self.spec.size("z")):
            yield _series_region(self, index)

    def _read(self, region: Region) -> np.ndarray:
        if self._source.spec.kind != "kspace":
            return self._source.read(region)
        index = region[self.spec.axes.index("z")].start if "z" in self.spec.axes else 0
        kspace, _ = _measured(self._source, self._mask, index)
        frames = frames_to_batch(torch.from_numpy(kspace.astype(np.complex64))[None])
        values = root_sum_of_squares(ifft2c(frames))[:, 0].numpy()
        return values[:, None] if "z" in self.spec.axes else values


def _series_region(source: Source, index: int) -> Region:
    if "z" not in source.spec.axes:
        return source.spec.region()
    return source.spec.region(z=index if source.spec.size("z") > 1 else 0)  # one mask may be that of all series


def _read_series(source: Source, index: int) -> np.ndarray:
    return _time_last(source, source.read(_series_region(source, index)))


def _time_last(source: Source, values: np.ndarray) -> np.ndarray:
    """Values of one series as ``[n_coils, height, width, frames]``; axes that are not there have one entry."""
    missing = tuple(n for n, axis in enumerate(AXES) if axis not in source.spec.axes)
    return np.moveaxis(np.expand_dims(values, missing)[:, :, 0], 1, -1)


def _measured(kspace: Source, mask: Source | None, index: int) -> tuple[np.ndarray, np.ndarray]:
    """K-space of one series, 0 where not sampled, and its mask, bool ``[1, height, width, frames]``.

    Without a mask the samples are what is not 0 in all coils.
    """
    values = _read_series(kspace, index)
    if mask is None:
        sampled = (values != 0).any(0, keepdims=True)
    else:
        sampled = np.broadcast_to(_read_series(mask, index), (1, *values.shape[1:]))
    return values * sampled, sampled


def _common_size(path: Path, parts: Mapping[Part, Source]) -> list[int]:
    """Number of series, height, width and frames, which all parts must share."""
    first = next(source for part, source in parts.items() if part != "mask")
    if "t" not in first.spec.axes:
        raise DataError(_without_time(path, first))
    size = [first.spec.size(axis) for axis in _SIZES]
    if size[-1] < 2:
        raise DataError(
            f"{first.name}: expected series of 2 frames or more, got 1 frame in {first.spec}; for single images take a "
            "bundle of images, or give the series with its frames"
        )
    for part, source in parts.items():
        own = [source.spec.size(axis) for axis in _SIZES]
        if part != "mask" and own != size:
            raise DataError(
                f"{source.name}: expected the size {size} [series, height, width, frames] of {first.name}, got {own}; "
                "give data that belong together"
            )
    return size


def _without_time(path: Path, source: Source) -> str:
    found = format_of(path)
    hint = "give the series with its frames"
    if found is not None and "axes" in inspect.signature(module_of(found).open_source).parameters:
        example = "xyt" if found.module == "nifti" else "t,y,x"
        hint = f"if another axis is time, name the axes: {source_option('axes', example)}"
    return f"{source.name}: expected series of frames, with an axis of time, got {source.spec}; {hint}"


def _check_values(parts: Mapping[Part, Source]) -> None:
    for part, source in parts.items():
        spec = source.spec
        is_wrong = part in ("recon", "phase") or (part == "truth" and "phase" in parts)
        if is_wrong and spec.dtype.kind == "c":
            raise DataError(f"{source.name}: expected real numbers, got {spec.dtype}; store magnitudes")
        if part != "kspace" and spec.size("coil") > 1:
            raise DataError(f"{source.name}: expected images of one coil, got {spec}; combine the coils before")


def open_cine(
    path: Path | str,
    truth_path: Path | str | None = None,
    *,
    intensity_range: IntensityRange = "auto",
    source_options: Mapping[str, Any] | None = None,
) -> CineReader:
    """Open a file of cine series, or a folder of DICOM images; headers only.

    ``truth_path`` is the file of truths of a pair. ``source_options`` are those of :func:`~common.io.open_source`, such
    as ``axes`` or ``series``.

    Raises:
        FileNotFoundError: no such file.
        DataError: the file is not what its name says, or has no series.
    """
    path = Path(path)
    options = dict(source_options or {})
    opened = [_opened(path, options)]
    try:
        parts = _parts(opened[0])
        if truth_path is not None:
            opened.append(_opened(Path(truth_path), options))
            truths = _parts(opened[1])
            if not {"recon", "kspace"} & parts.keys():
                raise DataError(
                    f"{opened[0].name}: expected aliased images ({RECON}) or k-space beside the truths {truth_path}, "
                    "got a truth; give the file of inputs"
                )
            if "truth" not in truths:
                raise DataError(f"{opened[1].name}: expected the truth of {path}, got {', '.join(truths)}; give it")
            parts = {**{part: truths[part] for part in ("truth", "phase") if part in truths}, **_inputs(parts)}
        return CineReader(path, parts, intensity_range)
    except BaseException:
        for source in opened:
            source.close()
        raise


def _opened(path: Path, options: dict[str, Any]) -> Source:
    source = open_source(path, **options)
    found = format_of(path)
    if found is None or found.module != "hdf5" or source.spec.dataset != SINGLE:
        return source
    if source.spec.axes == ("z", "y", "x") and options.get("axes") is None:
        source.close()
        source = open_source(path, **{**options, "usual": "t,y,x"})
    if source.spec.dtype.kind == "f":  # in [0, 1], as other images of cine HDF5 files
        source.spec = replace(source.spec, intensity=replace(source.spec.intensity, declared_max=1.0))
    return source


def _parts(source: Source) -> dict[Part, Source]:
    """Return the parts of series that a source and its companions are."""
    if source.spec.kind == "noncartesian":
        raise DataError(f"{source.name}: expected images or Cartesian k-space, got {source.spec}; grid them before")
    others = source.companions
    found: dict[Part, Source | None] = {"truth": source, "recon": others.get("aliased")}
    if source.spec.kind == "kspace":
        found["truth"] = others.get("target")
    elif source.spec.dataset == RECON:
        found = {"recon": source}
    if found.get("truth") is not None:
        found["phase"] = others.get("phase")
    if source.spec.kind == "kspace":
        found |= {"kspace": source, "mask": others.get("mask")}
    return {part: one for part, one in found.items() if one is not None}


def _inputs(parts: Mapping[Part, Source]) -> dict[Part, Source]:
    return {part: source for part, source in parts.items() if part not in ("truth", "phase")}
