"""What a reader sees of one data file, slice by slice, or series by series."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.data import DataError, SliceReader, open_slices
from common.data.cine import CineReader
from common.io import Geometry, split_suffix
from common.operators import fft2c, ifft2c
from common.operators.masks import MaskSampler
from common.transforms import PrepareAcquisition
from tools.data_series import open_series

IMAGINARY_NOISE = 0.01  # of the energy; rounding and aliasing of a real image stay below
_PREPARE = PrepareAcquisition(MaskSampler("cartesian", 1.0), by_file=True, nonnegative=True)


@dataclass(frozen=True)
class FileFacts:
    """A readable file.

    Attributes:
        path: the file, or the folder of a DICOM series.
        format: its suffix, in lower case, or DICOM.
        kind: image or kspace, of slices; or series, of frames.
        n_slices, height, width: as read; of series, how many there are, and the size of their frames.
        dtype: of the stored values.
        low, high: smallest and largest stored value; of complex ones, of their magnitudes.
        spacing_mm: between rows, columns and slices, if the format has it.
        sampled: fraction of k-space that a mask measures; None without a mask.
        has_reference: whether the file holds its own reconstruction.
        two_valued: whether the values of an image are just two, as a mask's are.
        is_complex: whether the image has an imaginary part that counts.
        negative: whether networks that take images without negative parts refuse it.
        warnings: what is odd about it, though it can be read.
        digests: of the values of each slice that is not constant, with the number of the slice.
        n_frames: of each series.
        frame_interval_s: from frame to frame, if the format has it.
        parts: what there is of each series: "recon", "truth", "phase" of it, "kspace" and its "mask".
    """

    path: Path
    format: str
    kind: str
    n_slices: int
    height: int
    width: int
    dtype: str
    low: float
    high: float
    spacing_mm: tuple[float, ...] | None
    sampled: float | None
    has_reference: bool
    two_valued: bool
    is_complex: bool
    negative: bool
    warnings: tuple[str, ...]
    digests: tuple[tuple[str, int], ...]
    n_frames: int | None = None
    frame_interval_s: float | None = None
    parts: tuple[str, ...] = ()

    @property
    def is_series(self) -> bool:
        """Whether it is not of slices."""
        return self.kind == "series"

    @property
    def has_truth(self) -> bool:
        """Whether it can be trained on: it has fully sampled slices, or the truth of its series."""
        return "truth" in self.parts if self.is_series else self.sampled is None

    def count(self, n: int) -> str:
        """So many of what it has, in words."""
        return f"{n} series" if self.is_series else f"{n} {'slice' if n == 1 else 'slices'}"


def read_facts(path: Path, truth_path: Path | None = None) -> FileFacts:
    """Read a file once, one slice or series in memory at a time.

    Args:
        path: of the file, or the folder of a DICOM series.
        truth_path: of the truths of its series, if they have a file of their own.

    Raises:
        DataError: it cannot be used: it is damaged, not of the layout its suffix stands for, not finite, or constant.
    """
    series = open_series(path, truth_path)
    return _slice_facts(path) if series is None else _series_facts(series)


def _slice_facts(path: Path) -> FileFacts:
    reader = open_slices(path, intensity_range=1.0)  # stored values
    low, high, sampled, imaginary = np.inf, -np.inf, 0.0, 0.0
    negative, two_valued = False, reader.kind == "image"
    digests = []
    for index in range(reader.n_slices):
        values, mask = reader.read(index), reader.mask(index)
        reader.target(index)  # for its errors
        shown = np.abs(values) if np.iscomplexobj(values) else values
        smallest, largest = float(shown.min()), float(shown.max())
        low, high = min(low, smallest), max(high, largest)
        two_valued = two_valued and bool(((shown == smallest) | (shown == largest)).all())
        if smallest < largest:
            digests.append((_digest(values), index))
        if np.iscomplexobj(values) or smallest < 0:
            measured = _as_measured(reader.kind, values, mask)
            negative = negative or _is_refused(path, *measured)
            imaginary = max(imaginary, _imaginary_fraction(measured[0]))
        sampled += 0.0 if mask is None else float(mask.mean()) / reader.n_slices
    if not digests:
        raise DataError(f"{path}: every slice is constant (values from {low:g} to {high:g}); remove the file")
    return FileFacts(
        path=path,
        format=_format(path),
        kind=reader.kind,
        n_slices=reader.n_slices,
        height=reader.height,
        width=reader.width,
        dtype=str(reader.source.spec.dtype),
        low=low,
        high=high,
        spacing_mm=_spacing_mm(reader.source.spec.geometry),
        sampled=sampled or None,
        has_reference=reader.target(0) is not None,
        two_valued=two_valued,
        is_complex=imaginary > IMAGINARY_NOISE,
        negative=negative,
        warnings=tuple(_warnings(reader, low, high, two_valued, reader.n_slices - len(digests))),
        digests=tuple(digests),
    )


def _series_facts(reader: CineReader) -> FileFacts:
    source, geometry = reader.source, reader.source.geometry()
    parts = tuple(source.dtypes)
    shown_part = next(part for part in ("truth", "recon", "kspace") if part in parts)
    scale, dtype = reader.intensity_range[1], source.dtypes[shown_part]
    low, high, sampled, two_valued = np.inf, -np.inf, 0.0, shown_part != "kspace"
    digests = []
    for index in range(source.n_series):
        item = reader.read(index)
        values = item[shown_part].numpy()
        shown = scale * (np.abs(values) if np.iscomplexobj(values) else values).astype(np.float64)
        shown = shown if dtype.kind in "fc" else np.rint(shown)  # stored values
        smallest, largest = float(shown.min()), float(shown.max())
        low, high = min(low, smallest), max(high, largest)
        two_valued = two_valued and bool(((shown == smallest) | (shown == largest)).all())
        if smallest < largest:
            digests.append((_digest(shown.astype(np.float32)), index))
        sampled += float(item["mask"].mean()) / source.n_series if "mask" in item else 0.0
    if not digests:
        raise DataError(f"{reader.path}: every series is constant (values from {low:g} to {high:g}); remove the file")
    warnings = []
    if n_constant := source.n_series - len(digests):
        warnings.append(f"{n_constant} of {source.n_series} series are constant; leave them out if they are empty")
    spacing = (*(geometry.pixel_size_mm or ()), geometry.slice_distance_mm)
    return FileFacts(
        path=reader.path,
        format=_format(reader.path),
        kind="series",
        n_slices=source.n_series,
        height=source.size[0],
        width=source.size[1],
        dtype=str(dtype),
        low=low,
        high=high,
        spacing_mm=tuple(size for size in spacing if size is not None) if geometry.pixel_size_mm else None,
        sampled=sampled or None,
        has_reference=False,
        two_valued=two_valued,
        is_complex="phase" in parts,
        negative=False,
        warnings=tuple(warnings),
        digests=tuple(digests),
        n_frames=source.size[2],
        frame_interval_s=geometry.frame_interval_s,
        parts=parts,
    )


def _format(path: Path) -> str:
    return split_suffix(path)[1].lower() or "DICOM"


def _digest(values: np.ndarray) -> str:
    content = hashlib.blake2b(str(values.shape).encode(), digest_size=16)
    content.update(np.ascontiguousarray(values).data)
    return content.hexdigest()


def _as_measured(kind: str, values: np.ndarray, mask: np.ndarray | None) -> tuple[Tensor, Tensor]:
    """Masked k-space and mask of a slice, ``(1, 1, height, width)``; of an image, all of its k-space."""
    kspace = torch.from_numpy(values).to(torch.complex64)[None, None]
    if kind == "image":
        kspace = fft2c(kspace)
    sampled = torch.ones(kspace.shape) if mask is None else torch.from_numpy(mask)[None, None].float()
    return kspace * sampled, sampled


def _is_refused(path: Path, kspace: Tensor, mask: Tensor) -> bool:
    """Whether the bundles' own preparation refuses a slice where it is asked for images without negative parts."""
    try:
        _PREPARE({"kspace": kspace, "mask": mask, "path": [str(path)]}, torch.device("cpu"))
    except ValueError:
        return True
    return False


def _imaginary_fraction(kspace: Tensor) -> float:
    """Energy in the imaginary part of the image over all its energy."""
    image = ifft2c(kspace)
    energy = float(image.abs().square().sum())
    return float(image.imag.square().sum()) / energy if energy else 0.0


def _warnings(reader: SliceReader, low: float, high: float, two_valued: bool, n_constant: int) -> Iterator[str]:
    if n_constant:
        yield f"{n_constant} of {reader.n_slices} slices are constant; leave them out if they are empty"
    if low < 0 and reader.source.spec.dtype.kind != "c":
        yield f"values below 0, down to {low:g}; metrics compare magnitudes: shift the values if 0 is not their floor"
    if two_valued:
        yield f"two values, {low:g} and {high:g}: a mask rather than an image? give a sampling mask as `--mask_file`"


def _spacing_mm(geometry: Geometry) -> tuple[float, ...] | None:
    """Distance of rows, columns and slices, as far as the file gives them."""
    steps = geometry.spacing_mm
    known = [step for step in (*steps[-2:], *steps[:-2]) if step is not None]
    return tuple(known) if None not in steps[-2:] else None
