"""ISMRMRD raw files: the lines of a Cartesian 2-D scan put on a grid, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from monai.utils import min_version, optional_import

from common.data.arrays import write_reconstruction
from common.data.ismrmrd_header import Encoding, parse_encoding
from common.data.oversampling import crop_readout
from common.data.stacks import Slices, Stack
from common.errors import DataError, file_errors

_GROUP = "dataset"  # where ISMRMRD keeps the acquisitions, "data", and the header, "xml"
_SKIPPED = (  # flags of lines that are not of the image
    "ACQ_IS_NOISE_MEASUREMENT",
    "ACQ_IS_PARALLEL_CALIBRATION",  # those that are imaging lines too have another flag
    "ACQ_IS_NAVIGATION_DATA",
    "ACQ_IS_PHASECORR_DATA",
    "ACQ_IS_HPFEEDBACK_DATA",
    "ACQ_IS_DUMMYSCAN_DATA",
    "ACQ_IS_RTFEEDBACK_DATA",
    "ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA",
    "ACQ_IS_PHASE_STABILIZATION_REFERENCE",
    "ACQ_IS_PHASE_STABILIZATION",
)
_ONE_IMAGE = (
    "kspace_encode_step_2",
    "contrast",
    "phase",
    "repetition",
    "set",
)  # counters whose values are images of their own
_ONE_SIZE = ("active_channels", "number_of_samples", "center_sample", "discard_pre", "discard_post")


def is_ismrmrd(path: Path) -> bool:
    """Whether an HDF5 file is ISMRMRD raw data: it has the group ``dataset`` with ``data`` and ``xml``."""
    with file_errors(path, "an HDF5 file"), h5py.File(path, "r") as file:
        return all(isinstance(file.get(f"{_GROUP}/{key}"), h5py.Dataset) for key in ("data", "xml"))


class IsmrmrdStack(Stack):
    """K-space of an ISMRMRD raw file (doi 10.1002/mrm.26089), Cartesian and 2-D.

    - Noise measurements, navigators, calibration-only lines and others that are not of the image are passed over.
    - A line goes to the column that puts ``encodingLimits``' centre at ``width // 2`` of the encoded matrix, as
      fastMRI pads; averages of a line are averaged.
    - Rows are the readout. Its oversampling is removed: the image's rows are cropped to the field of view of
      reconSpace. An asymmetric echo is placed by its ``center_sample``; the missing samples are 0.
    - Slices are in the order of their positions along the slice direction, else of their counter.

    Written as fastMRI's evaluation reads it, see :class:`~common.data.arrays.Hdf5Stack`.

    Args:
        path: the file.

    Attributes:
        encoding: of the header.

    Raises:
        DataError: the package ismrmrd is missing, or the file holds another trajectory, 3-D encoding, several
            contrasts, phases, repetitions or sets, lines of several sizes, or none.
    """

    resizable = True

    def __init__(self, path: Path) -> None:
        lines = _lines_of(path)
        self.encoding = lines.encoding
        shape = (len(lines.columns), lines.encoding.readout_pixels, lines.encoding.encoded[1])
        super().__init__(path, shape, np.dtype(np.complex64), name=f"{path}:{_GROUP}", n_coils=lines.n_coils)

    def load(self, index: int) -> np.ndarray:
        """Reads the lines of one slice."""
        lines = _lines_of(self.path)
        rows, width = lines.encoding.encoded[:2]
        with _ismrmrd(self.path).File(self.path, "r") as file:
            stored = file[_GROUP].acquisitions.data.fields("data")[lines.numbers[index]]
        samples = np.stack(stored).view(np.complex64).reshape(len(stored), lines.n_coils, -1)[lines.order[index]]
        starts = lines.starts[index]
        counts = np.diff(starts, append=len(samples)).astype(np.float32)
        averaged = np.add.reduceat(samples, starts)[..., lines.used] / counts[:, None, None]
        kspace = np.zeros((lines.n_coils, rows, width), np.complex64)
        kspace[:, lines.rows, lines.columns[index][None]] = averaged.transpose(1, 2, 0)
        return crop_readout(kspace, self.shape[1]).astype(np.complex64).reshape(self.slice_shape)

    def write(self, volume: np.ndarray, path: Path) -> None:
        """Writes `reconstruction` and the header."""
        write_reconstruction(volume, path, {}, _lines_of(self.path).xml)

    def sampling(self) -> IsmrmrdSampling | None:
        """The mask of the measured samples; None if the scan is fully sampled."""
        lines = _lines_of(self.path)
        is_full = lines.row_mask().all() and all(lines.required <= set(columns) for columns in lines.columns)
        return None if is_full else IsmrmrdSampling(self)


class IsmrmrdSampling(Slices):
    """Where an ISMRMRD raw file has samples, bool ``[slices, height, width]``; padding is not sampled."""

    def __init__(self, stack: IsmrmrdStack) -> None:
        super().__init__(stack.path, stack.shape, np.dtype(bool), name=f"{stack.path}:{_GROUP} (sampling)")

    def load(self, index: int) -> np.ndarray:
        """The mask of one slice, from the headers of the lines."""
        lines = _lines_of(self.path)
        columns = np.zeros(self.shape[2], bool)
        columns[lines.columns[index]] = True
        return lines.row_mask()[:, None] & columns


@dataclass(frozen=True, eq=False)
class _Lines:
    """Which acquisitions make which slice, and where they go.

    Attributes:
        encoding: of the header.
        xml: the header.
        n_coils: of all lines.
        rows: of the encoded matrix to which the samples go, ``[samples, 1]``.
        used: the samples that go there.
        required: columns of which a fully sampled slice lacks none.
        numbers: per slice, the places of its acquisitions in the file, rising.
        order: per slice, what sorts them by column.
        starts: per slice, where each column starts in that order.
        columns: per slice, the columns, rising.
    """

    encoding: Encoding
    xml: bytes
    n_coils: int
    rows: np.ndarray
    used: slice
    required: set[int]
    numbers: list[np.ndarray] = field(default_factory=list)
    order: list[np.ndarray] = field(default_factory=list)
    starts: list[np.ndarray] = field(default_factory=list)
    columns: list[np.ndarray] = field(default_factory=list)

    def row_mask(self) -> np.ndarray:
        """Rows with samples, bool ``[height]``, of the cropped readout, whose samples lie further apart."""
        encoded, height = self.encoding.encoded[0], self.encoding.readout_pixels
        places = np.rint((np.arange(height) - height // 2) * (encoded / height)).astype(int) + encoded // 2
        return np.isin(places.clip(0, encoded - 1), self.rows)


def _lines_of(path: Path) -> _Lines:
    with file_errors(path, "ISMRMRD raw data"):
        state = path.stat()
        return _index(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1024)
def _index(path: Path, modified_ns: int, size: int) -> _Lines:
    """Reads the header and those of all lines, once in a process as long as the file is the same."""
    ismrmrd = _ismrmrd(path)
    with ismrmrd.File(path, "r") as file:
        heads = file[_GROUP].acquisitions.data.fields("head")[()]
    with h5py.File(path, "r") as file:
        xml = bytes(file[f"{_GROUP}/xml"][0])
    encoding = _checked(parse_encoding(xml, path), path)
    skipped = sum(1 << (getattr(ismrmrd, flag) - 1) for flag in _SKIPPED)
    numbers = np.flatnonzero((heads["flags"] & np.uint64(skipped)) == 0)
    heads = heads[numbers]
    if not len(heads):
        raise DataError(f"{path}: expected imaging lines, got none that is not noise, navigator or calibration")
    _check_lines(heads, 1 << (ismrmrd.ACQ_IS_REVERSE - 1), path)
    columns, required = _columns(heads["idx"]["kspace_encode_step_1"].astype(int), encoding, path)
    used, rows = _readout(heads[0], encoding, path)
    lines = _Lines(encoding, xml, int(heads["active_channels"][0]), rows, used, required)
    for place in _slices_in_order(heads):
        order = np.argsort(columns[place], kind="stable")
        filled, starts = np.unique(columns[place][order], return_index=True)
        lines.numbers.append(numbers[place])
        lines.order.append(order)
        lines.starts.append(starts)
        lines.columns.append(filled)
    return lines


def _ismrmrd(path: Path) -> Any:
    ismrmrd, is_there = optional_import("ismrmrd", "1.15", min_version)
    if not is_there:
        raise DataError(f"{path}: ISMRMRD raw data need the package ismrmrd; pip install 'ismrmrd>=1.15'")
    return ismrmrd


def _checked(encoding: Encoding | None, path: Path) -> Encoding:
    if encoding is None:
        raise DataError(f"{path}: expected an ISMRMRD header with an encoding, got none; convert the scan again")
    if encoding.trajectory != "cartesian":
        raise DataError(
            f"{path}: expected a Cartesian trajectory, got {encoding.trajectory or 'none'!r}; "
            f"grid the scan to Cartesian k-space before"
        )
    if encoding.encoded[2] > 1:
        raise DataError(
            f"{path}: expected 2-D slices, got a 3-D encoding with {encoding.encoded[2]} partitions; transform them to "
            f"slices and write fastMRI's layout"
        )
    return encoding


def _check_lines(heads: np.ndarray, reverse: int, path: Path) -> None:
    if (heads["flags"] & np.uint64(reverse)).any():
        raise DataError(f"{path}: expected lines read in one direction, got reversed ones (EPI); correct them before")
    for name in _ONE_SIZE:
        found = np.unique(heads[name])
        if len(found) > 1:
            raise DataError(f"{path}: expected lines of one {name}, got {_listed(found)}; write a file for each")
    for name in _ONE_IMAGE:
        found = np.unique(heads["idx"][name])
        if len(found) > 1:
            raise DataError(f"{path}: expected one {name} in a file, got {_listed(found)}; write a file for each")
    found = np.unique(heads["encoding_space_ref"])
    if found.tolist() != [0]:
        raise DataError(f"{path}: expected lines of the first encoding, got {_listed(found)}; write a file for each")


def _columns(steps: np.ndarray, encoding: Encoding, path: Path) -> tuple[np.ndarray, set[int]]:
    """Columns of phase-encoding steps, and those that a fully sampled slice has."""
    width = encoding.encoded[1]
    low, high, centre = encoding.line_limits or (0, width - 1, width // 2)
    columns = steps - centre + width // 2
    if columns.min() < 0 or columns.max() >= width:
        raise DataError(
            f"{path}: expected phase-encoding lines {centre - width // 2} to {centre - width // 2 + width - 1} for an "
            f"encoded matrix of {width} with its centre at {centre}, got {steps.min()} to {steps.max()}; "
            f"correct the header"
        )
    # padding is alike on both sides of the centre, up to one line; what is missing on one side only is undersampling
    reach = max(centre - low, high - centre)
    full = set(range(low, high + 1)) | set(range(centre - reach + 1, centre + reach))
    return columns, {step - centre + width // 2 for step in full} & set(range(width))


def _readout(head: np.ndarray, encoding: Encoding, path: Path) -> tuple[slice, np.ndarray]:
    """The samples of a line that are used, and the rows ``[samples, 1]`` to which they go."""
    n_samples, rows = int(head["number_of_samples"]), encoding.encoded[0]
    used = slice(int(head["discard_pre"]), n_samples - int(head["discard_post"]))
    first = 0 if n_samples == rows else rows // 2 - int(head["center_sample"])
    places = np.arange(used.start, used.stop) + first
    if not len(places) or places[0] < 0 or places[-1] >= rows:
        raise DataError(
            f"{path}: expected lines that fit an encoded matrix of {rows} along the readout, got {n_samples} samples "
            f"with their centre at {int(head['center_sample'])}; correct the header"
        )
    return used, places[:, None]


def _slices_in_order(heads: np.ndarray) -> list[np.ndarray]:
    """Per slice the places of its lines."""
    counters = heads["idx"]["slice"]
    found, first = np.unique(counters, return_index=True)
    # to a micrometre: rounding must not sort slices of one position
    along = np.round(heads["position"][first].astype(float) @ heads["slice_dir"][0].astype(float), 3)
    return [np.flatnonzero(counters == found[i]) for i in np.lexsort((found, along))]


def _listed(values: np.ndarray) -> str:
    return ", ".join(str(value) for value in values[:4]) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
