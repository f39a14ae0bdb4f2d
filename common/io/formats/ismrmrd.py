"""ISMRMRD raw data: the lines of a Cartesian 2-D scan put on a grid, slice by slice.

Inati et al. 2017, ISMRM Raw data format: A proposed standard for MRI raw datasets, doi 10.1002/mrm.26089. Flags and
counters are those of version 1 of the format; the file is HDF5, and read by h5py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common.errors import DataError
from common.io.bounded import n_bytes_of
from common.io.choice import chosen, listed
from common.io.geometry import Geometry
from common.io.hdf5_file import Hdf5Native, check_dataset, check_heaps, contents_of, described, find, text_of
from common.io.ismrmrd_header import Encoding, parse_encoding
from common.io.kspace import KspaceSource, crop_readout
from common.io.layout import Layout
from common.io.source import DecodedSource, DerivedSource, Opened, Source
from common.io.spec import AXES, Region, Spec

logger = logging.getLogger("recon")

_KIND = "ISMRMRD raw data"
_REFERENCE, _REFERENCE_AND_IMAGING, _REVERSED = 20, 21, 22  # numbers of flags, from 1
# noise, navigator, phase correction, feedback, dummy, surface coil correction, phase stabilisation and its reference
_SKIPPED = (19, 23, 24, 26, 27, 28, 29, 30, 31)
_ONE_SIZE = ("active_channels", "number_of_samples", "center_sample", "discard_pre", "discard_post")
_CHOSEN = ("contrast", "repetition", "set")  # counters whose values are images of their own
_SAME_PLACE = 1e-3  # mm: rounding must not sort slices of one position
_LARGEST_GRID = 2**26  # bytes of a slice on its grid; larger ones must be plausible for the size of the file
_SPARSEST = 100


def recognises(path: Path) -> bool:
    """Return True for an HDF5 file with a group of acquisitions, ``data`` beside ``xml``."""
    groups = contents_of(path).groups
    if not groups:
        return False
    with described(path, _KIND) as file, file:
        return bool(_measurements(file, path))


def open_source(
    path: Path,
    *,
    measurement: str | None = None,
    contrast: int | None = None,
    repetition: int | None = None,
    set: int | None = None,
    average: int | None = None,
    dc: str | None = None,
) -> Source:
    """Open Cartesian 2-D k-space; headers of the lines only.

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

    Raises:
        DataError: for another trajectory, 3-D encoding, several images without a choice, lines of several sizes, or
        none.
    """
    with described(path, _KIND) as file:
        group = chosen(_measurements(file, path)[::-1], measurement, "measurement", "measurement", path)
        counters = {"contrast": contrast, "repetition": repetition, "set": set}
        source, mask, calibration = _sources(file, path, group, counters, average)
        source.keep(_open_lines(path, group, file))
        return KspaceSource(source, dc, companions={"mask": mask, "calibration": calibration})


def _measurements(file: h5py.File, path: Path) -> list[str]:
    groups = [key for key in file if isinstance(file.get(key, getlink=True), h5py.HardLink)]
    return [
        key
        for key in groups
        if all(isinstance(find(file, f"{key}/{name}", path), h5py.Dataset) for name in ("data", "xml"))
    ]


@dataclass(frozen=True, eq=False)
class _Grid:
    """Places of the samples of a scan.

    Attributes:
        encoding: first encoding of the header, with the readout as it was sampled.
        n_coils: receiver coils.
        n_samples: samples of a line.
        used: those that are used.
        rows: rows of the encoded matrix to which they go.
        height: rows of the image's field of view.
        numbers: for each (frame, slice), the places of its lines in the file.
        columns: for each of these lines, its column.
        full: columns of which a fully sampled slice lacks none.
        shape: number of frames and slices.
    """

    encoding: Encoding
    n_coils: int
    n_samples: int
    used: slice
    rows: np.ndarray
    height: int
    numbers: dict[tuple[int, int], np.ndarray]
    columns: dict[tuple[int, int], np.ndarray]
    full: frozenset[int]
    shape: tuple[int, int]

    def row_mask(self) -> np.ndarray:
        """Rows with samples, bool ``[height]``, of the cropped readout, whose samples lie further apart."""
        encoded = self.encoding.encoded[0]
        places = np.rint((np.arange(self.height) - self.height // 2) * (encoded / self.height)).astype(int)
        return np.isin((places + encoded // 2).clip(0, encoded - 1), self.rows)

    @property
    def is_full(self) -> bool:
        """Return True if every slice has all its samples."""
        every = all(self.full <= {int(n) for n in columns} for columns in self.columns.values())
        return every and bool(self.row_mask().all())


class _Scan(DecodedSource):
    """Lines of a file on a grid, a slice of a frame at a time."""

    def __init__(self, path: Path, spec: Spec, group: str, grid: _Grid) -> None:
        stored = ("t", "z", "coil", "y", "x")
        shape = tuple(grid.n_coils if axis == "coil" else spec.size(axis) for axis in stored)
        layout = Layout(stored, shape, {axis: 0 for axis in ("t", "coil") if axis not in spec.axes})
        super().__init__(
            path,
            spec,
            None,
            2,
            open_file=partial(_open_lines, path, group),
            layout=layout,
            name=f"{path}:{group}",
            kind_of_file=_KIND,
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


def _open_lines(path: Path, group: str, file: h5py.File | None = None) -> Opened:
    opened = h5py.File(path, "r") if file is None else file
    return Opened(partial(_read_lines, path, opened, group), opened.close)


def _read_lines(
    path: Path, file: h5py.File, group: str, numbers: np.ndarray, n_coils: int, n_samples: int
) -> np.ndarray:
    """Samples of lines, complex64 ``[lines, coils, samples]``, after checks of where they lie in the file."""
    dataset = find(file, f"{group}/data", path)
    if not isinstance(dataset, h5py.Dataset) or int(numbers[-1]) >= len(dataset):
        raise DataError(f"{path}:{group}: changed since it was opened; open it again")
    records = _heads(dataset, numbers)
    lengths = np.unique(records["length"]).tolist()
    if lengths != [2 * n_coils * n_samples]:
        raise ValueError(f"expected {2 * n_coils * n_samples} numbers a line, got {listed(lengths)}")
    if 4 * int(records["trajectory"].max()) > path.stat().st_size:
        raise ValueError("its trajectories are longer than the file")
    places = np.concatenate((records["place"], records["trajectory_place"])).tolist()
    check_heaps(path, places, file.userblock_size)
    stored = dataset.fields("data")[numbers]
    return np.stack(stored).astype(np.float32).view(np.complex64).reshape(len(stored), n_coils, -1)


def _heads(dataset: h5py.Dataset, numbers: np.ndarray) -> np.ndarray:
    """Headers of lines at rising places, ``head``, the count of their numbers, ``length``, and their ``trajectory``.

    They are taken from the chunks as they lie in the file: the HDF5 library also looks up the samples, for which it
    reserves whatever memory a damaged file says.

    Raises:
        ValueError: for lines in another layout than that of the ISMRMRD library.
    """
    if dataset.ndim != 1 or dataset.chunks is None or dataset.id.get_create_plist().get_nfilters():
        raise ValueError("its lines are compressed or not in chunks; write it with the ISMRMRD library")
    kind = dataset.id.get_type()
    offsets = [kind.get_member_offset(kind.get_member_index(name)) for name in (b"head", b"data", b"traj")]
    record = np.dtype(
        {
            "names": ["head", "length", "trajectory", "place", "trajectory_place"],
            "formats": [dataset.dtype["head"], "<u4", "<u4", "<u8", "<u8"],
            "offsets": [*offsets, offsets[1] + 4, offsets[2] + 4],  # length, address and index
            "itemsize": kind.get_size(),
        }
    )
    (n_lines,) = dataset.chunks
    parts = []
    for chunk in np.unique(numbers // n_lines).tolist():
        data = dataset.id.read_direct_chunk((chunk * n_lines,))[1]
        inside = numbers[numbers // n_lines == chunk] if n_lines > 1 else numbers[:1] * 0 + chunk
        parts.append(np.frombuffer(data, record)[inside - chunk * n_lines])
    return np.concatenate(parts)


class _Sampling(DerivedSource):
    """Sampling mask of a raw file, bool ``[(t,) z, height, width]``; padding is not sampled."""

    def __init__(self, source: _Scan, grid: _Grid) -> None:
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
    file: h5py.File, path: Path, group: str, chosen: Mapping[str, int | None], average: int | None
) -> tuple[_Scan, Source | None, _Scan | None]:
    """The scan, its mask unless all is measured, and its reference lines if they are a scan of their own."""
    name = f"{path}:{group}"
    data: Any = find(file, f"{group}/data", path)
    header: Any = find(file, f"{group}/xml", path)
    text = text_of(header)
    encoding = _checked(parse_encoding(text, path), name)
    check_dataset(data, name)
    heads = _heads(data, np.arange(len(data)))["head"]
    numbers = np.flatnonzero(~_has(heads, *_SKIPPED))
    # Siemens flags the lines that serve both purposes as both
    is_reference = _has(heads[numbers], _REFERENCE) & ~_has(heads[numbers], _REFERENCE_AND_IMAGING)
    imaging, reference = numbers[~is_reference], numbers[is_reference]
    if not len(imaging):
        raise DataError(f"{name}: expected imaging lines, got none that is not noise, navigator or calibration")
    for counter, value in {**chosen, **({} if average is None else {"average": average})}.items():
        imaging = _with_counter(heads, imaging, counter, value, name)
    for counter in chosen:
        values = heads["idx"][counter]
        same = values[reference] == values[imaging[0]]
        reference = reference[same] if same.any() else reference
    is_like = np.ones(len(reference), bool)
    for counter in _ONE_SIZE:
        is_like &= heads[counter][reference] == heads[counter][imaging[0]]
    if not is_like.all():
        logger.warning(
            f"{name}: {int((~is_like).sum())} reference lines have another length than the imaging lines and are left "
            "out; coil maps come from the imaging lines"
        )
        reference = reference[is_like]
    if len(reference) and _is_integrated(heads, imaging, reference, encoding):
        imaging, reference = np.sort(np.concatenate((imaging, reference))), reference[:0]
    _check_lines(heads[imaging], name)
    encoding = _sampled_readout(heads[imaging[0]], encoding, name)
    order, distance = _slices_in_order(heads[imaging])
    grid = _grid(heads, imaging, encoding, order, name)
    n_bytes = n_bytes_of((grid.n_coils, *encoding.encoded[:2]), np.dtype(np.complex64), name)
    if n_bytes > _LARGEST_GRID and n_bytes > _SPARSEST * path.stat().st_size:
        raise DataError(
            f"{name}: its header declares slices of {encoding.encoded[0]} x {encoding.encoded[1]} and {grid.n_coils} "
            "coils, of which the file holds little; it is damaged: replace or remove it"
        )
    spec = _spec(grid, distance, Hdf5Native("reconstruction", None, text), group)
    calibration = None
    if len(reference):
        own = _grid(heads, reference, encoding, order, name, frames=grid.shape[0])
        calibration = _Scan(path, replace(spec, native=None), group, own)
    scan = _Scan(path, spec, group, grid)
    return scan, None if grid.is_full else _Sampling(scan, grid), calibration


def _spec(grid: _Grid, distance: float | None, native: Hdf5Native, group: str) -> Spec:
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


def _has(heads: np.ndarray, *flags: int) -> np.ndarray:
    bits = sum(1 << (flag - 1) for flag in flags)
    return (heads["flags"] & np.uint64(bits)) != 0


def _with_counter(heads: np.ndarray, lines: np.ndarray, counter: str, value: int | None, name: str) -> np.ndarray:
    """The lines of one value of a counter, which must be chosen if there are several."""
    values = heads["idx"][counter][lines]
    return lines[values == chosen(np.unique(values).tolist(), value, counter, counter, name)]


def _is_integrated(heads: np.ndarray, imaging: np.ndarray, reference: np.ndarray, encoding: Encoding) -> bool:
    """Return True for reference lines that the accelerated scan left out; else they are a scan of their own."""
    if encoding.calibration in ("embedded", "interleaved"):
        return True
    counters = heads["idx"]
    own = [np.unique(counters[name][imaging]).tolist() for name in _CHOSEN]
    if encoding.calibration in ("separate", "external") or own != [
        np.unique(counters[name][reference]).tolist() for name in _CHOSEN
    ]:
        return False

    def places(lines: np.ndarray) -> set[tuple[int, ...]]:
        names = ("slice", "phase", "kspace_encode_step_1")
        return set(zip(*(counters[name][lines].tolist() for name in names), strict=True))

    return places(imaging).isdisjoint(places(reference))


def _checked(encoding: Encoding | None, name: str) -> Encoding:
    if encoding is None:
        raise DataError(f"{name}: expected an ISMRMRD header with an encoding, got none; convert the scan again")
    if encoding.trajectory != "cartesian":
        raise DataError(
            f"{name}: expected a Cartesian trajectory, got {encoding.trajectory or 'none'!r}; grid the scan to "
            "Cartesian k-space before, or give its reconstructed images"
        )
    if encoding.encoded[2] > 1:
        raise DataError(
            f"{name}: expected 2-D slices, got a 3-D encoding with {encoding.encoded[2]} partitions; transform them to "
            "slices and write fastMRI's layout"
        )
    return encoding


def _check_lines(heads: np.ndarray, name: str) -> None:
    if _has(heads, _REVERSED).any():
        raise DataError(f"{name}: expected lines read in one direction, got reversed ones (EPI); correct them before")
    for counter in _ONE_SIZE:
        found = np.unique(heads[counter])
        if len(found) > 1:
            raise DataError(
                f"{name}: expected lines of one {counter}, got {listed(found.tolist())}; write a file for each"
            )
    if len(np.unique(heads["idx"]["kspace_encode_step_2"])) > 1:
        raise DataError(f"{name}: expected 2-D slices, got lines of several kspace_encode_step_2; write slices")
    if (found := np.unique(heads["encoding_space_ref"])).tolist() != [0]:
        raise DataError(
            f"{name}: expected lines of the first encoding, got {listed(found.tolist())}; write a file for each"
        )


def _sampled_readout(head: np.ndarray, encoding: Encoding, name: str) -> Encoding:
    """The encoding with the readout as it was sampled.

    Some headers give the encoded matrix at base resolution while lines keep their oversampling: lines of a whole
    multiple of the matrix, centred, cover that multiple of the field of view.

    Raises:
        DataError: for centred lines as short as the image's, whose oversampling may have been removed or not.
    """
    n_samples, rows = int(head["number_of_samples"]), encoding.encoded[0]
    is_centred = int(head["center_sample"]) == n_samples // 2
    if n_samples > rows and n_samples % rows == 0 and is_centred:
        factor = n_samples // rows
        return replace(
            encoding,
            encoded=(n_samples, *encoding.encoded[1:]),
            encoded_fov=(encoding.encoded_fov[0] * factor, *encoding.encoded_fov[1:]),
            recon=encoding.recon or encoding.encoded,
            recon_fov=encoding.recon_fov if encoding.recon else encoding.encoded_fov,
        )
    if encoding.recon is not None and is_centred and n_samples == encoding.recon[0] < rows:
        raise DataError(
            f"{name}: expected lines of {rows} samples as the encoded matrix has, got {n_samples} as the image has; "
            f"write {n_samples} as encoded matrix if oversampling was removed, or fill the lines up"
        )
    return encoding


def _grid(
    heads: np.ndarray, lines: np.ndarray, encoding: Encoding, order: list[int], name: str, frames: int | None = None
) -> _Grid:
    """Places of lines; ``frames`` is the number of frames that reference lines of one frame are for."""
    counters = heads["idx"][lines]
    columns, full = _columns(counters["kspace_encode_step_1"].astype(int), encoding, name)
    used, rows = _readout(heads[lines[0]], encoding, name)
    phases = np.unique(counters["phase"]).tolist()
    numbers, places = {}, {}
    n_frames = len(phases) if frames is None else frames
    for z, number in enumerate(order):
        of_slice = counters["slice"] == number
        for t in range(n_frames):
            inside = of_slice & (counters["phase"] == phases[t]) if len(phases) == n_frames else of_slice
            if not inside.any() and frames is None:
                raise DataError(f"{name}: slice {number} has no lines of phase {phases[t]}; the scan is incomplete")
            numbers[t, z], places[t, z] = lines[inside], columns[inside]
    height = encoding.wanted(0, encoding.encoded[0])
    n_coils, n_samples = (int(heads[field][lines[0]]) for field in ("active_channels", "number_of_samples"))
    return _Grid(encoding, n_coils, n_samples, used, rows, height, numbers, places, full, (n_frames, len(order)))


def _columns(steps: np.ndarray, encoding: Encoding, name: str) -> tuple[np.ndarray, frozenset[int]]:
    """Columns of phase-encoding steps, and those that a fully sampled slice has."""
    width = encoding.encoded[1]
    low, high, centre = encoding.line_limits or (0, width - 1, width // 2)
    columns = steps - centre + width // 2
    if columns.min() < 0 or columns.max() >= width:
        raise DataError(
            f"{name}: expected phase-encoding lines {centre - width // 2} to {centre - width // 2 + width - 1} for an "
            f"encoded matrix of {width} with its centre at {centre}, got {steps.min()} to {steps.max()}; correct the "
            "header"
        )
    # padding is alike on both sides of the centre, up to one line; what is missing on one side only is undersampling
    reach = min(max(centre - low, high - centre), 2 * width)
    full = {*range(max(low, 0), min(high, low + 4 * width) + 1), *range(centre - reach + 1, centre + reach)}
    return columns, frozenset(step - centre + width // 2 for step in full) & frozenset(range(width))


def _readout(head: np.ndarray, encoding: Encoding, name: str) -> tuple[slice, np.ndarray]:
    """The samples of a line that are used, and the rows ``[samples]`` to which they go."""
    n_samples, rows = int(head["number_of_samples"]), encoding.encoded[0]
    start, stop = int(head["discard_pre"]), n_samples - int(head["discard_post"])
    first = 0 if n_samples == rows else rows // 2 - int(head["center_sample"])
    places = np.arange(start, stop) + first
    if not len(places) or places[0] < 0 or places[-1] >= rows:
        raise DataError(
            f"{name}: expected lines that fit an encoded matrix of {rows} along the readout, got {n_samples} samples "
            f"with their centre at {int(head['center_sample'])}; correct the header"
        )
    return slice(start, stop), places


def _slices_in_order(heads: np.ndarray) -> tuple[list[int], float | None]:
    """Counters of the slices in the order of their positions, and their distance in mm.

    The distance is ``None`` for one slice (then it is its thickness), and NaN where positions do not give it.
    """
    found, first = np.unique(heads["idx"]["slice"], return_index=True)
    direction = heads["slice_dir"][0].astype(float)
    along = np.nan_to_num(heads["position"][first].astype(float) @ direction)
    along = np.round(along / _SAME_PLACE) * _SAME_PLACE
    order = np.lexsort((found, along))
    counters = [int(found[n]) for n in order]
    if len(counters) == 1:
        return counters, None
    steps = np.diff(along[order]) / max(float(np.linalg.norm(direction)), 1e-6)
    is_regular = steps.min() > 0 and steps.max() - steps.min() <= 0.01 * steps.max() + 2 * _SAME_PLACE
    return counters, float(steps.mean()) if is_regular else float("nan")
