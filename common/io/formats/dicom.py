"""DICOM: single images, series as volumes, series in time, and enhanced multi-frame objects.

Needs the package pydicom; what that cannot decode, ITK decodes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from common.errors import DataError
from common.io.formats.dicom_derived import derived_sink
from common.io.formats.dicom_header import KIND, is_dicom, read_frames
from common.io.formats.dicom_new import NewMrSeries, new_sink
from common.io.formats.dicom_order import DicomSeries, arrange
from common.io.geometry import Geometry
from common.io.intensity import Intensity
from common.io.naming import natural_key, split_suffix
from common.io.sink import Sink
from common.io.source import DecodedSource, Source
from common.io.spec import Spec

_SUFFIX = ".dcm"


def recognises(path: Path) -> bool:
    """Return True for a DICOM file of any name, and for a folder that holds one."""
    return bool(_files(path)) if path.is_dir() else is_dicom(path)


def series_of(path: Path) -> dict[str, tuple[Path, ...]]:
    """The image files of each series in a folder, by ``SeriesInstanceUID``."""
    found: dict[str, list[Path]] = {}
    for file in _files(path):
        for frame in read_frames(file)[:1]:
            found.setdefault(frame.series, []).append(file)
    return {uid: tuple(files) for uid, files in found.items()}


def open_source(
    path: Path, *, series: str | None = None, part: str | None = None, order: str | None = None, axis: str | None = None
) -> Source:
    """Open a DICOM file, or the one series in a folder.

    A file of one image has the axes (y, x), a series (z, y, x), and a series with several images at each place, such as
    a beating heart, (t, z, y, x). Slices are ordered by their places. Frames are ordered by trigger time, temporal
    position, acquisition time, content time or instance number, the first of these that tells them apart; where trusted
    ones contradict each other one must be chosen. Where each image has a slope of its own (PET), values are float32
    after slope and intercept.

    Args:
        path: the file or folder.
        series: ``SeriesInstanceUID`` of the series to take from a folder of several.
        part: "magnitude", "phase", "real" or "imaginary", of MR series with several.
        order: the tag that orders frames in time, such as "TriggerTime".
        axis: "t" or "z": the axis along which images without place and time are counted.

    Raises:
        DataError: for images that cannot be read or belong to no one series, :mod:`~common.io.formats.dicom_order`.
    """
    files = _files(path) if path.is_dir() else [path]
    frames = [frame for file in files for frame in read_frames(file)]
    return _source(path, arrange(path, frames, series, part, order, axis))


def _files(folder: Path) -> list[Path]:
    """The DICOM files directly inside a folder, in natural order; those of other known suffixes are passed over."""
    found = []
    for file in folder.iterdir():
        suffix = split_suffix(file)[1].lower()
        if file.name[0] != "." and file.is_file() and (suffix == _SUFFIX or (not suffix and is_dicom(file))):
            found.append(file)
    return sorted(found, key=natural_key)


def _source(path: Path, series: DicomSeries) -> Source:
    """A series or an image, of which images decoded last are kept."""
    first, is_scaled = series.first, not series.has_one_rescale
    n_times, n_slices = len(series.frames), len(series.frames[0])
    is_image = first.n_in_file == 1 and path.is_file()
    axes = ("y", "x") if is_image else ("z", "y", "x") if n_times == 1 else ("t", "z", "y", "x")
    shape = (n_times, n_slices, *first.size)[-len(axes) :]
    if series.affine is not None:
        geometry = Geometry.of_affine(axes, series.affine, series.times)
    else:
        y, x = first.spacing or (None, None)
        geometry = Geometry.of_spacing(axes, {"y": y, "x": x}, "millimeter", frame_times_s=series.times)
    rule = Intensity(*first.rescale, first.limits, window=first.window, padding=first.padding, quantity=first.quantity)
    if is_scaled:
        rule = Intensity(window=first.window, quantity=first.quantity)
    dtype = np.dtype(np.float32) if is_scaled else first.dtype
    name = f"{first.series} {first.part}"
    spec = Spec(axes, shape, dtype, geometry, intensity=rule, dataset=name, native=series)
    files = tuple(dict.fromkeys(frame.file for frames in series.frames for frame in frames))
    return DecodedSource(path, spec, partial(_decoded, series), len(axes) - 2, files=files, kind_of_file=KIND)


def _decoded(series: DicomSeries, *index: int) -> np.ndarray:
    t, z = (0, 0, *index)[-2:]
    frame = series.frames[t][z]
    stored = frame.load()
    if series.has_one_rescale:
        return stored
    slope, intercept = frame.rescale
    return (stored * slope + intercept).astype(np.float32)


def open_sink(path: Path, spec: Spec) -> Sink:
    """Open a writer of a series that is derived from a DICOM input, or of a new one that the caller describes.

    Raises:
        DataError: if ``spec.native`` is neither.
    """
    if isinstance(spec.native, NewMrSeries):
        return new_sink(path, spec, spec.native)
    if not isinstance(spec.native, DicomSeries):
        raise DataError(f"{path}: DICOM is written of DICOM alone, the input is none; choose another --output_suffix")
    return derived_sink(path, spec, spec.native)
