"""Order of DICOM images: which belong together, where they lie in space, and when they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from common.errors import DataError, source_option
from common.io.formats.dicom_header import ECHOES, DicomFrame
from common.io.geometry import LPS_TO_RAS

_PLACE_MM = 0.01  # images of one slice are this close
_UNEVEN = 0.05  # of the distance of slices: by how much a place may be off
_SAME_DIRECTION = 1e-3
_HALF_DAY = 43200.0
_GATED = ("TriggerTime", "TemporalPositionIdentifier")
_TRUSTED = (*_GATED, "AcquisitionTime")
TIMES = (*_TRUSTED, "ContentTime", "InstanceNumber")
"""Tags that order frames in time, the most trusted first."""


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """Images of one series in their order.

    Attributes:
        frames: for each time the slices along the normal of their plane.
        affine: from index (x, y, z, 1) to mm, right, anterior, superior; ``None`` if the files do not give it.
        times: times of the frames in seconds; ``None`` if unknown.
    """

    folder_format: ClassVar[str] = "dicom"
    frames: tuple[tuple[DicomFrame, ...], ...]
    affine: np.ndarray | None = None
    times: tuple[float, ...] | None = None

    @property
    def first(self) -> DicomFrame:
        """Its first image."""
        return self.frames[0][0]

    @cached_property
    def has_one_rescale(self) -> bool:
        """True if one slope and intercept hold for all images."""
        return len({frame.rescale for frames in self.frames for frame in frames}) == 1


def arrange(
    path: Path, frames: list[DicomFrame], series: str | None, part: str | None, order: str | None, axis: str | None
) -> DicomSeries:
    """Choose one series and put its images in order; the options are those of ``dicom.open_source``.

    Raises:
        DataError: for several series or parts of which none is chosen; images that differ in size, type or orientation;
            places that are not evenly spaced; orders in time that contradict each other; echoes.
    """
    frames = _one_part(path, _one_series(path, frames, series), part)
    _check_alike(frames)
    first = frames[0]
    if len(frames) == 1:
        return DicomSeries(((first,),), _affine(first, first.position, None))
    if any(frame.position is None or frame.directions is None for frame in frames):
        return _without_places(path, frames, order, axis)
    groups = _by_place(frames)
    counts = [len(group) for group in groups]
    if len(set(counts)) > 1:
        usual = int(np.bincount(counts).argmax())
        odd = next(n for n, count in enumerate(counts) if count != usual)
        raise DataError(
            f"{path}: expected as many images at each of {len(groups)} places, got {counts[odd]} at that of "
            f"{groups[odd][0].file.name} and {usual} elsewhere; one is missing, or there twice or of another kind: add "
            "or remove it"
        )
    groups, times = _in_time(path, groups, order)
    step = _step(path, groups)
    affine = _affine(first, groups[0][0].position, step)
    return DicomSeries(tuple(zip(*groups, strict=True)), affine, times)


def _one_series(path: Path, frames: list[DicomFrame], series: str | None) -> list[DicomFrame]:
    if not frames:
        raise DataError(f"{path}: expected a DICOM image, found none; check the path")
    found: dict[str, list[DicomFrame]] = {}
    for frame in frames:
        found.setdefault(frame.series, []).append(frame)
    if series is None and (len(found) == 1 or _are_slices_of_a_cine(list(found.values()))):
        return frames
    if series in found:
        return found[series]
    listed = "; ".join(f"{uid} ({group[0].description}, {len(group)} images)" for uid, group in found.items())
    if series is None:
        raise DataError(
            f"{path}: expected one DICOM series, found {len(found)}: {listed}; choose one: "
            f"{source_option('series', next(iter(found)))}, or keep one in a folder"
        )
    raise DataError(f"{path}: no DICOM series {series}, found {listed}; choose one of these")


def _are_slices_of_a_cine(groups: Sequence[list[DicomFrame]]) -> bool:
    """Return True if each series has the frames of one place, as some scanners store a beating heart."""
    if any(frame.position is None or frame.directions is None for group in groups for frame in group):
        return False
    if any(len(group) < 2 or len(_by_place(group)) > 1 for group in groups):
        return False
    return len(_by_place([group[0] for group in groups])) == len(groups)


def _one_part(path: Path, frames: list[DicomFrame], part: str | None) -> list[DicomFrame]:
    parts = sorted({frame.part for frame in frames})
    if part is None and len(parts) == 1:
        return frames
    chosen = [frame for frame in frames if frame.part == part]
    if not chosen:
        raise DataError(
            f"{path}: expected images of one kind, got {', '.join(parts)} (ImageType); choose one: "
            f"{source_option('part', parts[0])}"
        )
    return chosen


def _check_alike(frames: Sequence[DicomFrame]) -> None:
    first = frames[0]
    for frame in frames[1:]:
        for name in ("size", "dtype", "limits", "padding", "spacing"):
            expected, got = getattr(first, name), getattr(frame, name)
            if expected != got:
                raise DataError(
                    f"{frame.file}: expected {name} {expected} as {first.file.name} has, got {got}; keep what differs "
                    "in a folder of its own, or convert the series to NIfTI"
                )
        if frame.directions is None or first.directions is None:
            continue
        if not np.allclose(frame.directions, first.directions, rtol=0, atol=_SAME_DIRECTION):
            raise DataError(
                f"{frame.file}: expected the orientation {first.directions.ravel().tolist()} of {first.file.name}, got "
                f"{frame.directions.ravel().tolist()}; keep one orientation in a folder"
            )


def _without_places(path: Path, frames: list[DicomFrame], order: str | None, axis: str | None) -> DicomSeries:
    """Images that do not say where they lie: frames in time if they say when, else as ``axis`` says."""
    missing = [frame for frame in frames if frame.position is None or frame.directions is None]
    if len(missing) < len(frames):
        raise DataError(
            f"{missing[0].file}: expected ImagePositionPatient and ImageOrientationPatient, as other files have; "
            "remove the file, or convert the series"
        )
    is_timed = any(len({frame.times.get(name) for frame in frames}) == len(frames) for name in _GATED)
    if axis not in ("t", "z", None):
        raise ValueError(f"axis must be 't' or 'z', got {axis!r}")
    if axis is None and not is_timed:
        raise DataError(
            f"{path}: its {len(frames)} images say neither where they lie (ImagePositionPatient) nor when they were "
            "taken; give them one at a time, or choose frames in time or slices, in the order of their numbers: "
            "--source_options \"{'axis': 't'}\" or \"{'axis': 'z'}\""
        )
    groups, times = _in_time(path, [frames], "InstanceNumber" if axis == "z" else order)
    if axis == "z":
        return DicomSeries((tuple(groups[0]),))
    return DicomSeries(tuple((frame,) for frame in groups[0]), None, times)


def _by_place(frames: Sequence[DicomFrame]) -> list[list[DicomFrame]]:
    """Images of each place, places in order along the normal."""
    directions = frames[0].directions
    assert directions is not None  # checked by the callers
    places = np.array([frame.position for frame in frames])
    order = np.lexsort((*places.T, np.round(places @ np.cross(*directions) / _PLACE_MM)))
    groups: list[list[DicomFrame]] = []
    for before, index in zip([None, *order[:-1]], order, strict=True):
        if before is None or np.linalg.norm(places[index] - places[before]) > _PLACE_MM:
            groups.append([])
        groups[-1].append(frames[index])
    return groups


def _in_time(
    path: Path, groups: Sequence[list[DicomFrame]], order: str | None
) -> tuple[list[list[DicomFrame]], tuple[float, ...] | None]:
    """The images of each place in the order in which they were taken, and their times in seconds."""
    n_frames = len(groups[0])
    if n_frames == 1:
        return list(groups), None
    _check_echoes(path, groups)
    tables = {
        name: _after_midnight(np.array([[frame.times[name] for frame in group] for group in groups]))
        for name in TIMES
        if all(name in frame.times for group in groups for frame in group)
    }
    distinct = [name for name, table in tables.items() if all(len(set(row)) == n_frames for row in table.tolist())]
    if order is not None and order not in distinct:
        raise ValueError(
            f"{path}: order must be a tag that differs from frame to frame, one of {', '.join(distinct) or 'none'}, "
            f"got {order!r}"
        )
    chosen = order or next(iter(distinct), None)
    tied = [name for name in _GATED if name in tables and name not in distinct and np.ptp(tables[name], axis=1).any()]
    if chosen is None or (order is None and tied and chosen not in _GATED):
        raise DataError(
            f"{path}: expected one image of each place and time, got {n_frames} images at the place of "
            f"{groups[0][0].file.name} that {tied[0] if tied else 'no tag'} does not tell apart; keep one kind, such "
            "as the magnitudes, or convert the series to NIfTI"
        )
    ranks = np.argsort(tables[chosen], axis=1, kind="stable")
    rivals = (*_TRUSTED, "InstanceNumber") if chosen == "ContentTime" else _TRUSTED
    for name in rivals if order is None else ():
        if name in tables and (np.diff(np.take_along_axis(tables[name], ranks, 1), axis=1) < 0).any():
            raise DataError(
                f"{path}: the frames have one order by {chosen} and another one by {name}; choose one: "
                f"{source_option('order', chosen)}"
            )
    clock = next((name for name in ("TriggerTime", "AcquisitionTime") if name in distinct), None)
    times = None
    if clock is not None:
        seconds = np.take_along_axis(tables[clock], ranks, 1) * (1e-3 if clock == "TriggerTime" else 1.0)
        seconds = seconds if clock == "TriggerTime" else seconds - seconds[:, :1]
        middle = np.median(seconds, axis=0)
        times = tuple(middle.tolist()) if (np.diff(middle) > 0).all() else None
    return [[group[n] for n in row] for group, row in zip(groups, ranks.tolist(), strict=True)], times


def _check_echoes(path: Path, groups: Sequence[list[DicomFrame]]) -> None:
    for place, name in enumerate(ECHOES):
        values = sorted({frame.echoes[place] for group in groups for frame in group}, key=lambda n: (n is None, n))
        if len(values) > 1:
            raise DataError(
                f"{path}: expected images of one {name}, got {', '.join(map(str, values[:6]))}; keep those of one in a "
                "folder of its own"
            )


def _after_midnight(times: np.ndarray) -> np.ndarray:
    """Times of day of which some are past midnight, made to rise; others unchanged."""
    wraps = (np.ptp(times, axis=1, keepdims=True) > _HALF_DAY) & (times.max() <= 2 * _HALF_DAY)
    return np.where(wraps & (times < _HALF_DAY), times + 2 * _HALF_DAY, times)


def _step(path: Path, groups: Sequence[Sequence[DicomFrame]]) -> np.ndarray | None:
    """From one slice to the next, in mm; ``None`` for a single one."""
    if len(groups) == 1:
        return None
    places = np.array([group[0].position for group in groups])
    steps = np.diff(places, axis=0)
    usual = np.median(steps, axis=0)
    distance = float(np.linalg.norm(usual))
    for index, step in enumerate(steps):
        if np.linalg.norm(step - usual) > _UNEVEN * distance or distance == 0:
            one, other = (groups[n][0] for n in (index, index + 1))
            raise DataError(
                f"{path}: expected evenly spaced slices, got {np.linalg.norm(step):.4g} mm between {_name(one)} and "
                f"{_name(other)} and {distance:.4g} mm elsewhere; a slice is missing, there twice or of another "
                "series: add or remove it"
            )
    return np.asarray((places[-1] - places[0]) / (len(places) - 1))


def _name(frame: DicomFrame) -> str:
    return frame.file.name if frame.n_in_file == 1 else f"frame {frame.number} of {frame.file.name}"


def _affine(frame: DicomFrame, origin: np.ndarray | None, step: np.ndarray | None) -> np.ndarray | None:
    if frame.directions is None or frame.spacing is None or origin is None:
        return None
    along_row, along_column = frame.directions
    if step is None:
        step = np.cross(along_row, along_column) * (frame.depth or 1.0)
    affine = np.eye(4)
    affine[:3] = np.stack([along_row * frame.spacing[1], along_column * frame.spacing[0], step, origin], axis=1)
    return LPS_TO_RAS @ affine
