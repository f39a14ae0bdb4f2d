"""ISMRMRD raw data: the lines of a Cartesian 2-D scan put on a grid, slice by slice.

Inati et al. 2017, ISMRM Raw data format: A proposed standard for MRI raw datasets, doi 10.1002/mrm.26089. Flags and
counters are those of version 1 of the format; the file is HDF5, and read by h5py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from common.errors import DataError
from common.io.bounded import n_bytes_of
from common.io.choice import chosen
from common.io.formats.cine_hdf5 import truth_of
from common.io.formats.ismrmrd_grid import (
    ONE_SIZE,
    REFERENCE,
    REFERENCE_AND_IMAGING,
    SKIPPED,
    Grid,
    check_lines,
    checked_encoding,
    grid_of,
    has_flag,
    is_integrated,
    sampled_readout,
    slices_in_order,
    with_counter,
)
from common.io.formats.ismrmrd_lines import KIND, heads_of, open_lines
from common.io.formats.ismrmrd_readouts import TRAJECTORIES, ReadoutOptions, open_readouts
from common.io.geometry import Geometry
from common.io.handed import hand_over
from common.io.hdf5_file import Hdf5Native, check_dataset, contents_of, described, find, text_of
from common.io.ismrmrd_header import Encoding, parse_encoding
from common.io.kspace import KspaceSource, crop_readout
from common.io.layout import Layout
from common.io.source import DecodedSource, DerivedSource, Source
from common.io.spec import AXES, Region, Spec

logger = logging.getLogger("recon")

_LARGEST_GRID = 2**26  # bytes of a slice on its grid; larger ones must be plausible for the size of the file
_SPARSEST = 100


def recognises(path: Path) -> bool:
    """Return True for an HDF5 file with a group of acquisitions, ``data`` beside ``xml``."""
    groups = contents_of(path).groups
    if not groups:
        return False
    with described(path, KIND) as file:
        found = bool(_measurements(file, path))
    hand_over(path, file)
    return found


def open_source(
    path: Path,
    *,
    measurement: str | None = None,
    contrast: int | None = None,
    repetition: int | None = None,
    set: int | None = None,
    average: int | None = None,
    dc: str | None = None,
    spokes: int | None = None,
    size: Sequence[int] | None = None,
    angle: str | float | None = None,
    trajectory_unit: str | None = None,
) -> Source:
    """Open 2-D k-space; headers of the lines only.

    Of a Cartesian scan:

    - A line goes to the column that puts ``encodingLimits``' centre at ``width // 2`` of the encoded matrix, as fastMRI
      pads. The lines of several averages are averaged, unless ``average`` names one. Noise, navigators and the like are
      left out.
    - Rows are the readout. Its oversampling is removed: rows are cropped to the image's field of view. An asymmetric
      echo is placed by its ``center_sample``; the missing samples are 0.
    - Slices are in the order of their positions, and as far apart; the counter ``phase`` is t.
    - GRAPPA's reference lines fill k-space where they lie between the imaging lines; those of a scan of their own are
      the companion "calibration". Companion "mask", unless fully sampled.

    Of several echoes, repetitions or sets one is chosen by ``contrast``, ``repetition``, ``set``, and of several groups
    one by ``measurement``, such as "dataset_2".

    Radial and other non-Cartesian scans are of the kind "noncartesian", see
    :func:`~common.io.formats.ismrmrd_readouts.open_readouts`; ``spokes``, ``size``, ``angle`` and ``trajectory_unit``
    are for them, see :class:`~common.io.formats.ismrmrd_readouts.ReadoutOptions`. The truth of a simulated scan may lie
    beside it, as :mod:`~common.io.formats.cine_hdf5` names it: companions "target" and "phase".

    Raises:
        DataError: for echo-planar or 3-D scans, several images without a choice, lines of several sizes, or none.
        ValueError: for an option of the other kind of scan.
    """
    with described(path, KIND) as file:
        group = chosen(_measurements(file, path)[::-1], measurement, "measurement", "measurement", path)
        name = f"{path}:{group}"
        header, data = (find(file, f"{group}/{part}", path) for part in ("xml", "data"))
        assert isinstance(header, h5py.Dataset)
        assert isinstance(data, h5py.Dataset)
        text = text_of(header)
        encoding = parse_encoding(text, path)
        check_dataset(data, name)
        counters = {"contrast": contrast, "repetition": repetition, "set": set, "average": average}
        readouts = ReadoutOptions(spokes, size, angle, trajectory_unit)
        if encoding is not None and encoding.trajectory in TRAJECTORIES:
            if dc is not None:
                raise ValueError(f"{name}: dc is for Cartesian k-space; leave it out")
            scan = open_readouts(path, data, group, encoding, counters, readouts)
            scan.companions.update(truth_of(path, file))
            scan.keep(open_lines(path, group, file))
            return scan
        if readouts != ReadoutOptions():
            raise ValueError(f"{name}: spokes, size, angle and trajectory_unit are for non-Cartesian scans")
        source, mask, calibration = _sources(data, path, group, checked_encoding(encoding, name), text, counters)
        source.keep(open_lines(path, group, file))
        return KspaceSource(source, dc, companions={"mask": mask, "calibration": calibration})


def _measurements(file: h5py.File, path: Path) -> list[str]:
    groups = [key for key in file if isinstance(file.get(key, getlink=True), h5py.HardLink)]
    return [
        key
        for key in groups
        if all(isinstance(find(file, f"{key}/{name}", path), h5py.Dataset) for name in ("data", "xml"))
    ]


class _Scan(DecodedSource):
    """Lines of a file on a grid, a slice of a frame at a time."""

    def __init__(self, path: Path, spec: Spec, group: str, grid: Grid) -> None:
        stored = ("t", "z", "coil", "y", "x")
        shape = tuple(grid.n_coils if axis == "coil" else spec.size(axis) for axis in stored)
        layout = Layout(stored, shape, {axis: 0 for axis in ("t", "coil") if axis not in spec.axes})
        super().__init__(
            path,
            spec,
            None,
            2,
            open_file=partial(open_lines, path, group),
            layout=layout,
            name=f"{path}:{group}",
            kind_of_file=KIND,
        )
        self._grid = grid

    def _piece(self, *index: int) -> np.ndarray:
        """All coils of one slice of one frame, complex64 ``[coils, height, width]``."""
        grid = self._grid
        rows, width = grid.encoding.encoded[:2]
        kspace = np.zeros((grid.n_coils, rows, width), np.complex64)
        numbers = grid.numbers.get((index[0], index[1]), np.zeros(0, int))
        if not len(numbers):
            return kspace[:, : grid.height]
        samples = self.opened.read(numbers, grid.n_coils, grid.n_samples)
        columns = grid.columns[index[0], index[1]]
        order = np.argsort(columns, kind="stable")
        filled, starts = np.unique(columns[order], return_index=True)
        counts = np.diff(starts, append=len(order)).astype(np.float32)
        with np.errstate(all="ignore"):  # values that are not finite are reported by `read`
            averaged = np.add.reduceat(samples[order], starts)[..., grid.used] / counts[:, None, None]
            kspace[:, grid.rows[:, None], filled[None]] = averaged.transpose(1, 2, 0)
            return crop_readout(kspace, grid.height)


class _Sampling(DerivedSource):
    """Sampling mask of a raw file, bool ``[(t,) z, height, width]``; padding is not sampled."""

    def __init__(self, source: _Scan, grid: Grid) -> None:
        own = source.spec.as_image(bool, native=None)
        super().__init__(source, own, name=f"{source.name} (sampling)", key="sampling")
        self._grid = grid

    def _read(self, region: Region) -> np.ndarray:
        parts = dict(zip(self.spec.axes, region, strict=True))
        frames, slices = (parts.get(axis, slice(0, 1)) for axis in ("t", "z"))
        columns = np.zeros((frames.stop - frames.start, slices.stop - slices.start, 1, self.spec.size("x")), bool)
        for t in range(frames.start, frames.stop):
            for z in range(slices.start, slices.stop):
                columns[t - frames.start, z - slices.start, 0, self._grid.columns[t, z]] = True
        values = columns[..., parts["x"]] & self._grid.row_mask()[parts["y"], None]
        return values if "t" in parts else values[0]


def _sources(
    data: h5py.Dataset, path: Path, group: str, encoding: Encoding, text: bytes, chosen: Mapping[str, int | None]
) -> tuple[_Scan, Source | None, _Scan | None]:
    """The scan, its mask unless all is measured, and its reference lines if they are a scan of their own."""
    name = f"{path}:{group}"
    heads = heads_of(data, np.arange(len(data)))["head"]
    numbers = np.flatnonzero(~has_flag(heads, *SKIPPED))
    # Siemens flags the lines that serve both purposes as both
    is_reference = has_flag(heads[numbers], REFERENCE) & ~has_flag(heads[numbers], REFERENCE_AND_IMAGING)
    imaging, reference = numbers[~is_reference], numbers[is_reference]
    if not len(imaging):
        raise DataError(f"{name}: expected imaging lines, got none that is not noise, navigator or calibration")
    for counter, value in chosen.items():
        if counter != "average" or value is not None:
            imaging = with_counter(heads, imaging, counter, value, name)
    for counter in ("contrast", "repetition", "set"):
        values = heads["idx"][counter]
        same = values[reference] == values[imaging[0]]
        reference = reference[same] if same.any() else reference
    is_like = np.ones(len(reference), bool)
    for counter in ONE_SIZE:
        is_like &= heads[counter][reference] == heads[counter][imaging[0]]
    if not is_like.all():
        logger.warning(
            f"{name}: {int((~is_like).sum())} reference lines have another length than the imaging lines and are left "
            "out; coil maps come from the imaging lines"
        )
        reference = reference[is_like]
    if len(reference) and is_integrated(heads, imaging, reference, encoding):
        imaging, reference = np.sort(np.concatenate((imaging, reference))), reference[:0]
    check_lines(heads[imaging], name)
    encoding = sampled_readout(heads[imaging[0]], encoding, name)
    order, distance = slices_in_order(heads[imaging])
    grid = grid_of(heads, imaging, encoding, order, name)
    n_bytes = n_bytes_of((grid.n_coils, *encoding.encoded[:2]), np.dtype(np.complex64), name)
    if n_bytes > _LARGEST_GRID and n_bytes > _SPARSEST * path.stat().st_size:
        raise DataError(
            f"{name}: its header declares slices of {encoding.encoded[0]} x {encoding.encoded[1]} and {grid.n_coils} "
            "coils, of which the file holds little; it is damaged: replace or remove it"
        )
    spec = _spec(grid, distance, Hdf5Native("reconstruction", None, text), group)
    calibration = None
    if len(reference):
        own = grid_of(heads, reference, encoding, order, name, frames=grid.shape[0])
        calibration = _Scan(path, replace(spec, native=None), group, own)
    scan = _Scan(path, spec, group, grid)
    return scan, None if grid.is_full else _Sampling(scan, grid), calibration


def _spec(grid: Grid, distance: float | None, native: Hdf5Native, group: str) -> Spec:
    n_frames, n_slices = grid.shape
    rows, width = grid.encoding.encoded[:2]
    sizes = {"coil": grid.n_coils, "t": n_frames, "z": n_slices, "y": grid.height, "x": width}
    axes = tuple(axis for axis in AXES if axis not in ("coil", "t") or sizes[axis] > 1)
    whole = grid.encoding.geometry(axes, rows, width, distance)
    return Spec(
        axes,
        tuple(sizes[axis] for axis in axes),
        np.dtype(np.complex64),
        Geometry(whole.axes, whole.spacing, whole.unit),
        kind="kspace",
        recon_shape=(grid.height, grid.encoding.wanted(1, width)),
        dataset=group,
        native=native,
    )
