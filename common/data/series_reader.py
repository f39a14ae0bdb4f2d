"""Reader of cine series: one file or folder, series by series, in image units."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from common.data.series_values import (
    SeriesImages,
    read_measured,
    read_noncartesian,
    read_series,
    series_region,
    time_last,
)
from common.errors import DataError, source_option
from common.io import Geometry, Intensity, IntensityRange, Source, Spec, find_range, format_of, given_range, open_source
from common.io.formats.cine_hdf5 import RECON
from common.io.opening import module_of

Part = Literal["truth", "recon", "phase", "kspace", "mask", "samples", "trajectory"]

SINGLE = "image"
"""Data set of an HDF5 file that is one series [frames, height, width] unless the file names its axes."""

_SIZES = ("z", "y", "x", "t")
_BESIDE = ("mask", "trajectory")  # parts that are no images
_TOLERANCE = 1e-3  # how far a truth may leave its declared range
_OVERSHOOT = 2.0  # largest aliased value over the declared one: streaks add up, and edges ring


class CineReader:
    """Series of a file in image units, ``read(i) = (values - low) / (high - low)``, all of them by the same range.

    A source of real images is the truth, and its companion "aliased" the input; beside k-space they are the companions
    "target" and "aliased". The entries of z are the series. K-space is taken as a whole: it is not cropped to the size
    of image that its header asks for. Non-Cartesian samples have the size of their image.

    The range is that of :func:`~common.io.find_range`, found on the truth, else the input, else the zero-filled
    magnitudes of k-space (of several coils the root sum of squares), of non-Cartesian samples the gridded mean of all
    frames. K-space beside images has their range. Where a
    file declares the largest value, as cine HDF5 does for floating-point images (1), "auto" refuses a truth beyond it
    by more than 0.001, and an aliased input below 0 or above twice that value: streaks can add up.

    Args:
        path: the file or folder.
        parts: sources of equal size along z, y, x and t: "truth", its "phase" in radians, "recon" (the aliased input),
            "kspace" and its "mask", non-Cartesian "samples" and their "trajectory".
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
        return next(self.parts[part] for part in ("kspace", "samples", "recon", "truth") if part in self.parts)

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
            float32 ``(1, height, width, frames)``; "samples", complex64 ``(frames, n_coils, readouts, samples)``, and
            "trajectory", float32 ``(frames, readouts, samples, 2)``, row and column in cycles per pixel.

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
                item[part] = time_last(source, source.read_unit(series_region(source, index), low, high))
                self._check_range(part, index, item[part])
        if "phase" in self.parts:
            item["truth"] = (item["truth"] * np.exp(1j * read_series(self.parts["phase"], index))).astype(np.complex64)
        if "kspace" in self.parts:
            kspace, mask = read_measured(self.parts["kspace"], self.parts.get("mask"), index)
            item["kspace"] = (kspace / (high - low)).astype(np.complex64)
            item["mask"] = mask.astype(np.float32)
        if "samples" in self.parts:
            samples, item["trajectory"] = read_noncartesian(self.parts["samples"], self.parts["trajectory"], index)
            item["samples"] = (samples / (high - low)).astype(np.complex64)
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
        if ends[0] != 0 and (
            self.main.spec.kind != "image" or any(s.spec.dtype.kind == "c" for s in self.parts.values())
        ):
            raise ValueError(
                f"{self.path}: intensity_range [{ends[0]:g}, {ends[1]:g}] is for magnitudes, and this has k-space or "
                "complex images; give one number"
            )

    def _found_range(self) -> tuple[float, float]:
        part = next(part for part in ("truth", "recon", "kspace", "samples") if part in self.parts)
        source, other = self.parts[part], self.parts.get("recon", self.parts[part])
        one, two = source.spec.dtype, other.spec.dtype
        if (one.kind == "f") != (two.kind == "f") or (two.kind != "f" and one != two):
            raise DataError(
                f"{other.name}: expected the type {one} of the truth, got {two}; store both alike, or pass "
                "intensity_range, the value that is 1 in both"
            )
        beside = self.parts.get("trajectory" if part == "samples" else "mask")
        return find_range(SeriesImages(source, beside), self._intensity_range)


def _common_size(path: Path, parts: Mapping[Part, Source]) -> list[int]:
    """Number of series, height, width and frames, which all parts must share."""
    images = {part: one.spec.as_image(one.spec.dtype) for part, one in parts.items() if part not in _BESIDE}
    first = parts[next(iter(images))]
    if "t" not in first.spec.axes:
        raise DataError(_without_time(path, first))
    size = [first.spec.as_image(first.spec.dtype).size(axis) for axis in _SIZES]
    if size[-1] < 2:
        raise DataError(
            f"{first.name}: expected series of 2 frames or more, got 1 frame in {first.spec}; for single images take a "
            "bundle of images, or give the series with its frames"
        )
    for part, spec in images.items():
        own = [spec.size(axis) for axis in _SIZES]
        if own != size:
            raise DataError(
                f"{parts[part].name}: expected the size {size} [series, height, width, frames] of {first.name}, got "
                f"{own}; give data that belong together"
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
        if spec.kind == "image" and spec.size("coil") > 1:
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
            if not {"recon", "kspace", "samples"} & parts.keys():
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
    others = source.companions
    found: dict[Part, Source | None] = {"truth": source, "recon": others.get("aliased")}
    if source.spec.kind != "image":
        found["truth"] = others.get("target")
    elif source.spec.dataset == RECON:
        found = {"recon": source}
    if found.get("truth") is not None:
        found["phase"] = others.get("phase")
    if source.spec.kind == "kspace":
        found |= {"kspace": source, "mask": others.get("mask")}
    if source.spec.kind == "noncartesian":
        found |= {"samples": source, "trajectory": others["trajectory"]}
    return {part: one for part, one in found.items() if one is not None}


def _inputs(parts: Mapping[Part, Source]) -> dict[Part, Source]:
    return {part: source for part, source in parts.items() if part not in ("truth", "phase")}
