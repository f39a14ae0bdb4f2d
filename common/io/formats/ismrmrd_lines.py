"""Lines of ISMRMRD raw data as they lie in an HDF5 file: their headers, and their samples."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import h5py
import numpy as np
from common.errors import DataError
from common.io.choice import listed
from common.io.hdf5_file import check_heaps, find
from common.io.source import Opened

KIND = "ISMRMRD raw data"


def open_lines(path: Path, group: str, file: h5py.File | None = None) -> Opened:
    """Open the lines of a group; `Opened.read` takes their rising places in the file, see `_read_lines`."""
    opened = h5py.File(path, "r") if file is None else file
    return Opened(partial(_read_lines, path, opened, group), opened.close)


def _read_lines(
    path: Path, file: h5py.File, group: str, numbers: np.ndarray, rows: int, columns: int, field: str = "data"
) -> np.ndarray:
    """Values of lines ``[lines, rows, columns]``, after checks of where they lie in the file.

    They are complex64 samples ``[lines, coils, samples]``, or with the field "traj" float32 coordinates ``[lines,
    samples, dimensions]``.
    """
    dataset = find(file, f"{group}/data", path)
    if not isinstance(dataset, h5py.Dataset) or int(numbers[-1]) >= len(dataset):
        raise DataError(f"{path}:{group}: changed since it was opened; open it again")
    records = heads_of(dataset, numbers)
    n_numbers = rows * columns * (2 if field == "data" else 1)
    lengths = np.unique(records["length" if field == "data" else "trajectory"]).tolist()
    if lengths != [n_numbers]:
        raise ValueError(f"expected {n_numbers} numbers a line, got {listed(lengths)}")
    if 4 * int(records["trajectory"].max()) > path.stat().st_size:
        raise ValueError("its trajectories are longer than the file")
    places = np.concatenate((records["place"], records["trajectory_place"])).tolist()
    check_heaps(path, places, file.userblock_size)
    stored = np.stack(dataset.fields(field)[numbers]).astype(np.float32)
    return (stored.view(np.complex64) if field == "data" else stored).reshape(len(stored), rows, columns)


def heads_of(dataset: h5py.Dataset, numbers: np.ndarray) -> np.ndarray:
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
        # as bytes: numpy compares all the fields of records that it joins, a third of the time of a scan
        parts.append(np.frombuffer(data, np.dtype((np.void, record.itemsize)))[inside - chunk * n_lines])
    return np.concatenate(parts).view(record)
