"""DICOM files of a beating heart: which frame of which slice each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from common.data.cine.source import CineGeometry, CineSource, Part
from common.data.dicom import DicomSeries, open_series, pydicom_for
from common.data.files import dicom_files
from common.errors import DataError, file_errors

_TO_NIFTI = np.diag([-1.0, -1.0, 1.0, 1.0])  # left, posterior, superior to right, anterior, superior
_PLACE_MM = 0.01  # images of one slice are this close
_UNEVEN = 0.05  # of the distance of slices: by how much a place may be off
_SAME_DIRECTION = 1e-3
_TIMES = ("TriggerTime", "InstanceNumber", "AcquisitionTime")
"""What orders the frames of a slice: the first of these that all files have and that differs."""


@dataclass(frozen=True, eq=False)
class _Frame:
    """One file."""

    image: DicomSeries
    uid: str
    times: dict[str, float]

    @property
    def path(self) -> Path:
        return self.image.path

    @property
    def place(self) -> np.ndarray | None:
        """Of its first pixel, in mm."""
        return None if self.image.affine is None else self.image.affine[:3, 3]


class DicomCine(CineSource):
    """One series for each slice of a folder of single-frame DICOM images; they are the truth.

    Slices are ordered by their place along the normal, as those of a volume; frames by trigger time, where it is
    missing by instance number, and then by acquisition time. Slices may be series of their own, as some scanners store
    them. Values are those that rescale slope and intercept give.

    Args:
        path: the folder.
        series: the ``SeriesInstanceUID`` to take from a folder of several.

    Raises:
        DataError: for files that are not grey single-frame images, images of different size, type, scaling or
            orientation, slices that differ in their number of frames or are not evenly spaced, and frames that cannot
            be ordered.
    """

    def __init__(self, path: Path, series: str | None = None) -> None:
        frames = [frame for file in dicom_files(path) if (frame := _read_header(file)) is not None]
        frames = _chosen(path, frames, series)
        _check_alike(frames)
        slices = _slices(path, frames)
        self._interval_s = _in_time(slices)
        counts = [len(frames) for frames in slices]
        if len(set(counts)) > 1:
            fewest = int(np.argmin(counts))
            raise DataError(
                f"{path}: expected as many frames in each of {len(slices)} slices, got {counts}; add or remove those "
                f"of the slice of {slices[fewest][0].path.name}"
            )
        self._slices = slices
        first = slices[0][0].image
        self._affine = _affine(path, slices)
        dtype = first.dtype if first.rescale == (1.0, 0.0) else np.dtype(np.float64)
        super().__init__(path, len(slices), (*first.size, counts[0]), {"truth": dtype})

    def load(self, part: Part, index: int) -> np.ndarray:
        """Values of one slice."""
        frames = self._slices[index]
        slope, intercept = frames[0].image.rescale
        values = np.stack([frame.image.load(0) for frame in frames], axis=-1)
        return values * slope + intercept if (slope, intercept) != (1.0, 0.0) else values

    def geometry(self) -> CineGeometry:
        """From the tags."""
        rows, columns, distance = self._slices[0][0].image.spacing
        if self._affine is not None and len(self._slices) > 1:
            distance = float(np.linalg.norm(self._affine[:3, 2]))
        return CineGeometry(
            pixel_size_mm=None if rows is None or columns is None else (rows, columns),
            slice_distance_mm=distance,
            frame_interval_s=self._interval_s,
            affine=None if self._affine is None else _TO_NIFTI @ self._affine,
        )


def _read_header(file: Path) -> _Frame | None:
    """None for objects without pixels."""
    pydicom = pydicom_for(file)
    with file_errors(file, "a DICOM file"):
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Rows", "SeriesInstanceUID", *_TIMES])
    if "Rows" not in header:
        return None
    times = {name: time for name in _TIMES if (time := _number(header.get(name))) is not None}
    return _Frame(open_series(file), str(header.get("SeriesInstanceUID", "")), times)


def _number(value: Any) -> float | None:
    """Of a tag; a time of day, hhmmss.ffffff, in seconds."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        return float(value)
    return int(value[:2]) * 3600 + int(value[2:4] or 0) * 60 + float(value[4:] or 0)


def _chosen(path: Path, frames: list[_Frame], series: str | None) -> list[_Frame]:
    if not frames:
        raise DataError(f"{path}: expected DICOM images, found none; check the path")
    found: dict[str, list[_Frame]] = {}
    for frame in frames:
        found.setdefault(frame.uid, []).append(frame)
    if series is not None and series not in found:
        raise DataError(f"{path}: no DICOM series {series}, found {', '.join(found)}; choose one of these")
    if series is not None:
        return found[series]
    taken: dict[tuple[float, ...], str] = {}
    for frame in frames:
        other = taken.setdefault(_place_key(frame), frame.uid)
        if other != frame.uid:
            raise DataError(
                f"{path}: expected one DICOM series for each slice, found two of one place, {other} and {frame.uid}; "
                "pass series='<one of these>', or keep one in a folder"
            )
    return frames


def _place_key(frame: _Frame) -> tuple[float, ...]:
    return () if frame.place is None else tuple(np.round(frame.place / _PLACE_MM).tolist())


def _check_alike(frames: list[_Frame]) -> None:
    first = frames[0]
    for frame in frames[1:]:
        for name in ("size", "dtype", "limits", "rescale", "spacing"):
            expected, got = getattr(first.image, name), getattr(frame.image, name)
            if expected != got:
                raise DataError(
                    f"{frame.path}: expected {name} {expected} as {first.path.name} has, got {got}; keep what differs "
                    "in a folder of its own, or convert the series to NIfTI"
                )
        both = [frame.image.affine, first.image.affine]
        if (both[0] is None) != (both[1] is None):
            raise DataError(
                f"{(frame if both[0] is None else first).path}: expected ImagePositionPatient and "
                "ImageOrientationPatient, as other files of the folder have; remove the file, or convert the series"
            )
        if both[0] is not None and both[1] is not None:
            steps = [affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0) for affine in both if affine is not None]
            if not np.allclose(steps[0], steps[1], rtol=0, atol=_SAME_DIRECTION):
                raise DataError(
                    f"{frame.path}: expected the orientation of {first.path.name}, got another one; keep one "
                    "orientation in a folder"
                )


def _slices(path: Path, frames: list[_Frame]) -> list[list[_Frame]]:
    """The frames of each slice, slices in the order of their places."""
    groups: dict[tuple[float, ...], list[_Frame]] = {}
    for frame in frames:
        groups.setdefault(_place_key(frame), []).append(frame)
    slices = list(groups.values())
    affine = frames[0].image.affine
    if affine is None:
        return slices
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    return sorted(slices, key=lambda group: float(normal @ _place(group)))


def _place(frames: list[_Frame]) -> np.ndarray:
    place = frames[0].place
    return np.zeros(3) if place is None else place


def _in_time(slices: list[list[_Frame]]) -> float | None:
    """Puts the frames of each slice in order; the time between them in seconds, if they say it."""
    pairs = [pair for group in slices for pair in pairwise(group)]
    if not pairs:
        return None
    frames = [frame for group in slices for frame in group]
    names = [name for name in _TIMES if all(name in frame.times for frame in frames)]
    # some scanners write the same trigger time into all files
    name = next((name for name in names if any(a.times[name] != b.times[name] for a, b in pairs)), None)
    if name is None:
        raise DataError(
            f"{frames[0].path}: expected a rising {', '.join(_TIMES[:-1])} or {_TIMES[-1]} in this file and the others "
            "of the folder, to know the order of the frames; convert the series to NIfTI"
        )
    steps = []
    for group in slices:
        group.sort(key=lambda frame: frame.times[name])
        for one, other in pairwise(group):
            steps.append(other.times[name] - one.times[name])
            if steps[-1] == 0:
                raise DataError(
                    f"{other.path}: expected one image of each slice and time, got the {name} {other.times[name]:g} of "
                    f"{one.path.name} at the same place; keep one of the two, such as the magnitudes"
                )
    return float(np.median(steps)) / 1000 if name == "TriggerTime" else None


def _affine(path: Path, slices: list[list[_Frame]]) -> np.ndarray | None:
    """From (row, column, slice) to mm in patient coordinates of DICOM."""
    affine = slices[0][0].image.affine
    if affine is None or len(slices) == 1:
        return affine
    places = np.stack([_place(group) for group in slices])
    steps = np.diff(places, axis=0)
    usual = np.median(steps, axis=0)
    for index, step in enumerate(steps):
        if np.linalg.norm(step - usual) > _UNEVEN * np.linalg.norm(usual):
            one, other = (slices[n][0].path.name for n in (index, index + 1))
            raise DataError(
                f"{path}: expected evenly spaced slices, got {np.linalg.norm(step):.4g} mm between those of {one} and "
                f"{other} and {np.linalg.norm(usual):.4g} mm elsewhere; one is missing or of another view: add or "
                "remove it"
            )
    affine = affine.copy()
    affine[:3, 2] = (places[-1] - places[0]) / (len(places) - 1)
    return affine
