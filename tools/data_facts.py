"""Facts about one data file as inference reads it, slice by slice or series by series."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.data import DataError, SliceReader, open_slices
from common.data.series_reader import CineReader, open_cine
from common.io import Geometry, Spec, format_of, open_source, split_suffix
from common.operators import fft2c, ifft2c

IMAGINARY_NOISE = 0.01  # of the energy; rounding and aliasing of a real image stay below
CT_RANGE = (-1000.0, 2000.0)
"""Hounsfield units that become 0 and 1 where a CT file gives no display window: air to dense bone."""


@dataclass(frozen=True)
class FileFacts:
    """Properties of a readable file.

    Attributes:
        path: the file, or the folder of a volume or DICOM series.
        format: suffix in lower case, or the name of the format if there is no suffix.
        kind: "image" or "kspace" for slices, "series" for series of frames.
        n_slices, height, width: number and size of the slices; for series, number of series and size of the frames.
        n_coils: receive coils of k-space.
        dtype: data type of the stored values.
        low, high: smallest and largest value in the file's unit; for complex values, of the magnitudes.
        spacing_mm: distance of rows, columns and slices in millimetres; None if the file lacks it.
        is_oriented: True if the file gives position and orientation.
        range: the values that become 0 and 1 with ``--intensity_range auto``; None if that is refused.
        advised_range: the two values to pass in place of "auto"; None if it needs none.
        sampled: fraction of k-space that a mask measures; None without a mask.
        has_target: True if the file holds its own reconstruction.
        two_valued: True if an image or series has only two different values, as a mask has.
        is_complex: True if more than `IMAGINARY_NOISE` of the energy is imaginary; of series, if there is a phase.
        warnings: oddities of a file that can be read, and warnings that inference would log.
        digests: hash of the values of each slice or series that is not constant, with its number.
        n_frames: number of frames of each series; None for slices.
        frame_interval_s: seconds from frame to frame; None if the file lacks it.
        parts: parts that each series has, of "recon", "truth", "phase", "kspace", "mask", "samples" and "trajectory";
            empty for slices.
        readouts: readouts of a frame and samples of each; None unless the series are non-Cartesian.
    """

    path: Path
    format: str
    kind: str
    n_slices: int
    height: int
    width: int
    n_coils: int
    dtype: str
    low: float
    high: float
    spacing_mm: tuple[float, ...] | None
    is_oriented: bool
    range: tuple[float, float] | None
    advised_range: tuple[float, float] | None
    sampled: float | None
    has_target: bool
    two_valued: bool
    is_complex: bool
    warnings: tuple[str, ...]
    digests: tuple[tuple[str, int], ...]
    n_frames: int | None = None
    frame_interval_s: float | None = None
    parts: tuple[str, ...] = ()
    readouts: tuple[int, int] | None = None

    @property
    def is_series(self) -> bool:
        """True if the file holds series of frames."""
        return self.kind == "series"

    @property
    def is_volume(self) -> bool:
        """True if the file holds an image of several slices."""
        return self.kind == "image" and self.n_slices > 1

    @property
    def has_truth(self) -> bool:
        """True if the file can serve training: its slices are fully sampled, or its series have a truth."""
        return "truth" in self.parts if self.is_series else self.sampled is None

    def describe(self) -> str:
        """Return the properties that files on one line of a report share."""
        size = f"{self.height} x {self.width}"
        parts = [
            f"{self.format} {self.kind}",
            f"{self.n_slices} of {size}, {self.n_frames} frames" if self.is_series else f"{self.n_slices} x {size}",
            " + ".join(self.parts) if self.is_series else "",
            f"{self.readouts[0]} readouts of {self.readouts[1]} samples a frame" if self.readouts else "",
            f"{self.n_coils} coils" if self.n_coils > 1 else "",
            self.dtype,
        ]
        if self.spacing_mm:
            oriented = " with orientation" if self.is_oriented else ""
            parts.append(f"spacing {' x '.join(f'{step:.3g}' for step in self.spacing_mm)} mm{oriented}")
        parts += [
            f"{1000 * self.frame_interval_s:.3g} ms a frame" if self.frame_interval_s else "",
            "fully sampled" if self.kind == "kspace" and self.sampled is None else "",
            "" if self.sampled is None else f"mask of {self.sampled:.1%}",
            "complex image" if self.is_complex and not self.is_series else "",
            "with target" if self.has_target else "",
        ]
        return ", ".join(filter(None, parts))

    def count(self, n: int) -> str:
        """Return a number with its unit, series or slices, in words."""
        return f"{n} series" if self.is_series else f"{n} {'slice' if n == 1 else 'slices'}"


def read_facts(
    path: Path, truth_path: Path | None = None, source_options: Mapping[str, Any] | None = None
) -> FileFacts:
    """Read a file once for its values, one slice or series in memory at a time.

    Args:
        path: file, or folder of a volume or DICOM series.
        truth_path: file with the truths of the series; None if they are in the same file or missing.
        source_options: options of the file format by name, see :func:`~common.io.open_source`.

    Raises:
        DataError: it cannot be used: it is damaged, ambiguous, not of the layout its suffix stands for, not finite, or
            constant and negative.
    """
    with _logged() as lines:
        if truth_path is None:
            with open_source(path, **dict(source_options or {})) as source:
                has_frames, n_coils = source.spec.size("t") > 1, source.spec.size("coil")
        if truth_path is not None or has_frames:
            return _series_facts(open_cine(path, truth_path, source_options=source_options), lines)
        coils = "multi" if n_coils > 1 else "single"
        return _slice_facts(path, coils, source_options, lines)


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect the warnings that are logged inside the block, and keep them off the console."""
    lines: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            lines.append(record.getMessage())
        return False

    logger = logging.getLogger("recon")
    logger.addFilter(keep)
    try:
        yield lines
    finally:
        logger.removeFilter(keep)


class _Tally:
    """Statistics of the values of a file, gathered one slice or series after the other."""

    def __init__(self, two_valued: bool, clipped_by: tuple[float, float] | None) -> None:
        self.low, self.high, self._may_be_mask = np.inf, -np.inf, two_valued
        self.digests: list[tuple[str, int]] = []
        self.n = self._n_values = self._n_beyond = 0
        self._ends = clipped_by

    def add(self, values: np.ndarray, content: np.ndarray) -> None:
        """Add the real values of a slice or series, and the content that its digest is computed from."""
        smallest, largest = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, smallest), max(self.high, largest)
        self._may_be_mask = self._may_be_mask and bool(((values == smallest) | (values == largest)).all())
        if smallest < largest:
            digest = hashlib.blake2b(str(content.shape).encode(), digest_size=16)
            digest.update(np.ascontiguousarray(content).data)
            self.digests.append((digest.hexdigest(), self.n))
        if self._ends is not None:
            self._n_beyond += int(((values < self._ends[0]) | (values > self._ends[1])).sum())
        self._n_values += values.size
        self.n += 1

    @property
    def two_valued(self) -> bool:
        """True if there are just two values, and both in one slice at least."""
        return self._may_be_mask and bool(self.digests)

    @property
    def beyond(self) -> float:
        """Share of the values beyond the given range."""
        return self._n_beyond / self._n_values


def _slice_facts(path: Path, coils: Any, source_options: Mapping[str, Any] | None, logged: list[str]) -> FileFacts:
    reader = open_slices(path, intensity_range=1.0, coils=coils, source_options=source_options)  # values as meant
    spec = reader.source.spec
    window = _window(spec)
    tally, sampled, imaginary = _Tally(reader.kind == "image", window), 0.0, 0.0
    for index in range(reader.n_slices):
        values, mask = reader.read(index), reader.mask(index)
        reader.target(index)  # for its errors
        is_complex = np.iscomplexobj(values)
        tally.add(np.abs(values) if is_complex else values, values)
        if is_complex:
            imaginary = max(imaginary, _imaginary_fraction(reader.kind, values, mask))
        sampled += 0.0 if mask is None else float(mask.mean()) / reader.n_slices
    auto = open_slices(path, coils=coils, source_options=source_options)
    found: tuple[float, float] | None = None
    advised: tuple[float, float] | None = None
    try:
        found = auto.range
    except DataError:
        if window is None and tally.low == tally.high:
            raise
        advised = window or (tally.low, tally.high)
    return FileFacts(
        **_common(path, spec, spec.geometry, tally),
        kind=reader.kind,
        n_slices=reader.n_slices,
        height=reader.height,
        width=reader.width,
        range=found,
        advised_range=advised,
        sampled=sampled or None,
        has_target=reader.target(0) is not None,
        is_complex=imaginary > IMAGINARY_NOISE,
        warnings=(*_unnamed(path, logged), *_warnings(reader, tally, found, advised)),
    )


def _common(path: Path, spec: Spec, geometry: Geometry, tally: _Tally) -> dict[str, Any]:
    """Return what facts of slices and of series have in common."""
    suffix = split_suffix(path)[1].lower()
    found = None if suffix else format_of(path)
    steps = geometry.spacing_mm
    known = tuple(step for step in (*steps[-2:], *steps[:-2]) if step is not None)
    return {
        "path": path,
        "format": suffix if found is None else found.title,
        "n_coils": spec.size("coil"),
        "dtype": str(spec.dtype),
        "low": tally.low,
        "high": tally.high,
        "spacing_mm": known if None not in steps[-2:] else None,
        "is_oriented": geometry.affine is not None,
        "two_valued": tally.two_valued,
        "digests": tuple(tally.digests),
    }


def _window(spec: Spec) -> tuple[float, float] | None:
    """Return the range to pass for an image with values below 0: that of CT, or the display window."""
    if spec.kind != "image" or spec.dtype.kind == "c":
        return None
    return CT_RANGE if spec.intensity.quantity == "HU" else spec.intensity.window


def _series_facts(reader: CineReader, logged: list[str]) -> FileFacts:
    geometry, parts = reader.geometry, tuple(reader.parts)
    main_part = next(part for part in ("truth", "recon", "kspace", "samples") if part in parts)
    (floor, top), spec = reader.intensity_range, reader.parts[main_part].spec
    is_whole = spec.dtype.kind not in "fc" and not spec.intensity.is_scaled
    tally, sampled = _Tally(spec.kind == "image", None), 0.0
    for index in range(reader.n_series):
        item = reader.read(index)
        values = item[main_part].numpy()
        stored = floor + (top - floor) * (np.abs(values) if np.iscomplexobj(values) else values).astype(np.float64)
        stored = np.rint(stored) if is_whole else stored
        tally.add(stored, stored.astype(np.float32))
        sampled += float(item["mask"].mean()) / reader.n_series if "mask" in item else 0.0
    warnings = _unnamed(reader.path, logged)
    if n_constant := reader.n_series - len(tally.digests):
        warnings.append(f"{n_constant} of {reader.n_series} series are constant; leave them out if they are empty")
    times = geometry.frame_times_s
    return FileFacts(
        **_common(reader.path, spec, geometry, tally),
        kind="series",
        n_slices=reader.n_series,
        height=reader.size[0],
        width=reader.size[1],
        range=(floor, top),
        advised_range=None,
        sampled=sampled or None,
        has_target=False,
        is_complex="phase" in parts,
        warnings=tuple(warnings),
        n_frames=reader.size[2],
        frame_interval_s=None if times is None else (times[-1] - times[0]) / (len(times) - 1),
        parts=parts,
        readouts=(spec.size("y"), spec.size("x")) if spec.kind == "noncartesian" else None,
    )


def _imaginary_fraction(kind: str, values: np.ndarray, mask: np.ndarray | None) -> float:
    """Return the energy in the imaginary part of the image of the measured samples over all its energy."""
    kspace = torch.from_numpy(values).to(torch.complex64)
    if kind == "image":
        kspace = fft2c(kspace)
    image = ifft2c(kspace if mask is None else kspace * torch.from_numpy(mask))
    energy = float(image.abs().square().sum())
    return float(image.imag.square().sum()) / energy if energy else 0.0


def _unnamed(path: Path, lines: list[str]) -> list[str]:
    """Return logged lines without the name of the file, which the report puts before them."""
    return [line.removeprefix(f"{path}: ") for line in dict.fromkeys(lines)]


def _warnings(
    reader: SliceReader, tally: _Tally, found: tuple[float, float] | None, advised: tuple[float, float] | None
) -> Iterator[str]:
    if n_constant := reader.n_slices - len(tally.digests):
        yield f"{n_constant} of {reader.n_slices} slices are constant; leave them out if they are empty"
    if advised is not None:
        ends = f"[{advised[0]:g}, {advised[1]:g}]"
        beyond = f"; {tally.beyond:.2g} of the values lie beyond it" if advised == _window(reader.source.spec) else ""
        yield f'values below 0, down to {tally.low:g}: pass which become 0 and 1, --intensity_range "{ends}"{beyond}'
    elif tally.low < 0 and found is not None:
        yield f"values below 0, down to {tally.low:g}; metrics compare magnitudes: shift them if 0 is not their floor"
    if tally.two_valued:
        yield f"two values, {tally.low:g} and {tally.high:g}: a mask rather than an image?"
