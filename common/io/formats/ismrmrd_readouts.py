"""Non-Cartesian ISMRMRD scans: readouts of frames, such as the spokes of a real-time series, and their trajectory.

Fields and flags are those of version 1 of the format (Inati et al. 2017, doi 10.1002/mrm.26089).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from common.errors import DataError, file_errors, source_option
from common.io.choice import listed
from common.io.formats.ismrmrd_angles import spoke_angles
from common.io.formats.ismrmrd_grid import (
    NOISE,
    REFERENCE,
    REFERENCE_AND_IMAGING,
    SKIPPED,
    check_lines,
    has_flag,
    sampled_readout,
    slices_in_order,
    with_counter,
)
from common.io.formats.ismrmrd_lines import KIND, heads_of, open_lines
from common.io.formats.ismrmrd_times import frame_times
from common.io.geometry import Geometry
from common.io.ismrmrd_header import Encoding
from common.io.layout import Layout
from common.io.noncartesian import checked_size, trajectory_source
from common.io.source import DecodedSource, Opened, Source
from common.io.spec import AXES, Spec
from common.operators.coil_mixing import whitening_matrix

logger = logging.getLogger("recon")

TRAJECTORIES = ("radial", "goldenangle", "spiral", "other")
"""Trajectories of headers that are read here."""

_FRAMES = ("phase", "repetition")
_SAME_STEP = 0.01  # relative: pixels of radial scans are squares


@dataclass(frozen=True)
class ReadoutOptions:
    """Options of a non-Cartesian scan that the user gives.

    Attributes:
        spokes: readouts of a frame, which are consecutive; ``None``: frames are those of the counters.
        size: rows and columns of the image; ``None``: those of the header's field of view.
        angle: "golden", "tiny_golden_<n>", "uniform" or degrees from spoke to spoke, in place of a stored trajectory.
        unit: unit of the stored trajectory, see :data:`~common.io.noncartesian.UNITS`.
    """

    spokes: int | None = None
    size: Sequence[int] | None = None
    angle: str | float | None = None
    unit: str | None = None


@dataclass(frozen=True, eq=False)
class _Readouts:
    """Places of the readouts of a scan in its file.

    Attributes:
        numbers: place of each, ``[frames, slices, readouts]``.
        n_coils: receiver coils.
        n_samples: samples of a readout.
        used: those that are used.
        center: the one at the centre of k-space.
        noise: places of the readouts of a noise scan.
        n_noise: samples of one of these.
    """

    numbers: np.ndarray
    n_coils: int
    n_samples: int
    used: slice
    center: int
    noise: np.ndarray
    n_noise: int


def open_readouts(
    path: Path,
    data: h5py.Dataset,
    group: str,
    encoding: Encoding,
    counters: Mapping[str, int | None],
    options: ReadoutOptions,
) -> Source:
    """Open a scan that is no grid; headers of the readouts only.

    Frames are the values of the counter ``phase``, else ``repetition``, or ``options.spokes`` readouts that follow each
    other. The first coordinate in the file is that along the readout, which is y, the second that along the phase
    encoding, x. Samples of a file with a noise scan are prewhitened.

    Raises:
        DataError: for 3-D scans, readouts or frames of several sizes, less than two frames, or no trajectory.
    """
    name = f"{path}:{group}"
    if encoding.encoded[2] > 1:
        raise DataError(f"{name}: expected 2-D slices, got a 3-D encoding; transform the partitions to slices before")
    records = heads_of(data, np.arange(len(data)))
    heads = records["head"]
    is_skipped = has_flag(heads, *SKIPPED) | (has_flag(heads, REFERENCE) & ~has_flag(heads, REFERENCE_AND_IMAGING))
    imaging = np.flatnonzero(~is_skipped)
    if not len(imaging):
        raise DataError(f"{name}: expected imaging readouts, got none that is not noise, navigator or calibration")
    has_phases = len(np.unique(heads["idx"]["phase"][imaging])) > 1
    for counter, value in counters.items():
        if counter != "repetition" or value is not None or has_phases:
            imaging = with_counter(heads, imaging, counter, value, name)
    check_lines(heads[imaging], name)
    order, distance = slices_in_order(heads[imaging])
    numbers = _frames(heads["idx"], imaging, order, options.spokes, name)
    readouts = _readouts(heads, numbers, heads[imaging[0]])
    encoding = sampled_readout(heads[imaging[0]], encoding, name)
    spec = _spec(readouts, encoding, heads["acquisition_time_stamp"], distance, options.size, group, name)
    angles = None
    if options.angle is not None or not records["trajectory"][imaging].any():
        angles = spoke_angles(heads["idx"]["kspace_encode_step_1"], numbers, encoding, options.angle, name)
    if angles is None:
        dimensions = np.unique(heads["trajectory_dimensions"][imaging]).tolist()
        if dimensions not in ([2], [3]):
            raise DataError(
                f"{name}: expected a trajectory of 2 dimensions with each readout, got {listed(dimensions)}; store it"
            )
        load = partial(_stored, path, group, readouts, dimensions[0], name)
    else:
        load = partial(_straight, angles, readouts, encoding.encoded[0])
    trajectory = trajectory_source(
        path, spec, load, options.unit if angles is None else None, name=f"{name} (trajectory)"
    )
    return _Samples(path, spec, readouts, open_file=partial(open_lines, path, group), trajectory=trajectory)


class _Samples(DecodedSource):
    """Samples of a scan, prewhitened, a slice of a frame at a time."""

    def __init__(self, path: Path, spec: Spec, readouts: _Readouts, open_file: Any, trajectory: Source) -> None:
        stored = ("t", "z", "coil", "y", "x")
        shape = tuple(readouts.n_coils if axis == "coil" else spec.size(axis) for axis in stored)
        layout = Layout(stored, shape, {"coil": 0} if "coil" not in spec.axes else {})
        name = f"{path}:{spec.dataset}"
        companions: dict[Any, Source] = {"trajectory": trajectory}
        super().__init__(
            path, spec, None, 2, open_file=open_file, layout=layout, name=name, kind_of_file=KIND, companions=companions
        )
        self._own = readouts
        self._whitening: np.ndarray | None = None

    def _piece(self, *index: int) -> np.ndarray:
        """All coils of one slice of one frame, complex64 ``[coils, readouts, samples]``."""
        own = self._own
        samples = _by_coil(self.opened, own.numbers[index], own.n_coils, own.n_samples)[..., own.used]
        if not len(own.noise):
            return samples
        if self._whitening is None:
            noise = _by_coil(self.opened, own.noise, own.n_coils, own.n_noise).reshape(own.n_coils, -1)
            self._whitening = whitening_matrix(torch.from_numpy(noise)).numpy()
        return np.einsum("ab,bcd->acd", self._whitening, samples)


def _by_coil(opened: Opened, numbers: np.ndarray, n_coils: int, n_samples: int) -> np.ndarray:
    """Samples of readouts in any order, complex64 ``[coils, readouts, samples]``."""
    rising = np.argsort(numbers)
    return opened.read(numbers[rising], n_coils, n_samples)[np.argsort(rising)].transpose(1, 0, 2)


def _frames(counters: np.ndarray, imaging: np.ndarray, order: list[int], n_spokes: int | None, name: str) -> np.ndarray:
    """Places of readouts in the file, ``[frames, slices, readouts]``."""
    if n_spokes is not None and n_spokes < 1:
        raise ValueError(f"{name}: spokes must be at least 1, got {n_spokes}")
    slices = [imaging[counters["slice"][imaging] == number] for number in order]
    if n_spokes is not None:
        n_frames = min(map(len, slices)) // n_spokes
        if n_frames < 2:
            raise DataError(
                f"{name}: expected the {2 * n_spokes} readouts of 2 frames of {n_spokes}, got {min(map(len, slices))}; "
                f"take less for a frame: {source_option('spokes', max(min(map(len, slices)) // 2, 1))}"
            )
        if left := max(map(len, slices)) - n_frames * n_spokes:
            logger.warning(f"{name}: the last {left} readouts are no frame of {n_spokes}, and left out")
        return np.stack([one[: n_frames * n_spokes].reshape(n_frames, n_spokes) for one in slices], axis=1)
    values = {counter: np.unique(counters[counter][imaging]) for counter in _FRAMES}
    counter = max(_FRAMES, key=lambda one: len(values[one]))
    if len(values[counter]) < 2:
        raise DataError(
            f"{name}: expected frames by the counter phase or repetition, got one of {len(slices[0])} readouts; cut it "
            f"into frames of readouts that follow each other: {source_option('spokes', 13)}"
        )
    frames = [[one[counters[counter][one] == value] for one in slices] for value in values[counter]]
    sizes = [len(one) for frame in frames for one in frame]
    if len(set(sizes)) > 1:
        usual = max(set(sizes), key=sizes.count)
        place = next(n for n, size in enumerate(sizes) if size != usual)
        raise DataError(
            f"{name}: expected {usual} readouts in each frame, got {sizes[place]} for {counter} "
            f"{values[counter][place // len(order)]}; cut the scan into equal frames: {source_option('spokes', usual)}"
        )
    return np.array(frames)


def _readouts(heads: np.ndarray, numbers: np.ndarray, head: np.ndarray) -> _Readouts:
    n_coils, n_samples = int(head["active_channels"]), int(head["number_of_samples"])
    noise = np.flatnonzero(has_flag(heads, NOISE) & (heads["active_channels"] == n_coils))
    n_noise = int(heads["number_of_samples"][noise[0]]) if len(noise) else 0
    noise = noise[heads["number_of_samples"][noise] == n_noise]
    used = slice(int(head["discard_pre"]), n_samples - int(head["discard_post"]))
    return _Readouts(numbers, n_coils, n_samples, used, int(head["center_sample"]), noise, n_noise)


def _spec(
    readouts: _Readouts,
    encoding: Encoding,
    clock: np.ndarray,
    distance: float | None,
    size: Sequence[int] | None,
    group: str,
    name: str,
) -> Spec:
    n_frames, n_slices, n_spokes = readouts.numbers.shape
    rows, columns = encoding.encoded[:2]
    sides = [encoding.encoded_fov[0] / rows, encoding.encoded_fov[1] / columns]
    if size is not None:
        size, sides[1] = checked_size(size, name), sides[0]
    elif abs(sides[1] - sides[0]) > _SAME_STEP * sides[0]:
        raise DataError(
            f"{name}: expected square pixels, got {sides[0]:.4g} x {sides[1]:.4g} mm of its header; correct its "
            f"encoded matrix, or give the size of the image: {source_option('size', [rows, rows])}"
        )
    image = size or (encoding.wanted(0, rows), encoding.wanted(1, columns))
    sizes = {"coil": readouts.n_coils, "t": n_frames, "z": n_slices, "y": n_spokes}
    sizes["x"] = readouts.used.stop - readouts.used.start
    axes = tuple(axis for axis in AXES if axis != "coil" or sizes[axis] > 1)
    steps = {"y": sides[0], "x": sides[1], "z": encoding.geometry(axes, rows, columns, distance).spacing[0]}
    times = frame_times(readouts.numbers[:, 0, 0], clock, encoding, name)
    geometry = Geometry.of_spacing(axes, steps, "millimeter", frame_times_s=times)
    shape = tuple(sizes[axis] for axis in axes)
    return Spec(axes, shape, np.dtype(np.complex64), geometry, kind="noncartesian", recon_shape=image, dataset=group)


def _straight(angles: np.ndarray, readouts: _Readouts, matrix: int) -> np.ndarray:
    """Coordinates of spokes through the centre in cycles per pixel, ``[frames, slices, spokes, samples, 2]``."""
    radius = (np.arange(readouts.used.start, readouts.used.stop) - readouts.center) / matrix
    return np.stack((np.cos(angles)[..., None] * radius, np.sin(angles)[..., None] * radius), axis=-1)


def _stored(path: Path, group: str, readouts: _Readouts, dimensions: int, name: str) -> np.ndarray:
    """Coordinates that lie in the file, ``[frames, slices, readouts, samples, 2]``."""
    numbers = readouts.numbers.ravel()
    rising = np.sort(numbers)
    opened = open_lines(path, group)
    try:
        with file_errors(path, KIND):
            values = opened.read(rising, readouts.n_samples, dimensions, "traj")[np.searchsorted(rising, numbers)]
    finally:
        opened.close()
    if dimensions == 3 and values[..., 2].min() < 0:  # else it is 0, or the weight of a sample
        raise DataError(f"{name}: expected 2-D slices, got a trajectory of three dimensions; give a 2-D scan")
    return values[:, readouts.used, :2].reshape(*readouts.numbers.shape, -1, 2)
