"""BART's arrays: sizes in ``.hdr``, complex values in ``.cfl``, the first axis fastest.

Uecker et al. 2015, Berkeley Advanced Reconstruction Toolbox, Proc. ISMRM 23:2486; src/misc/mri.h for the axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from common.errors import DataError, file_errors, source_option
from common.io.bounded import n_bytes_of
from common.io.flat import FlatArray, flat_source
from common.io.kspace import as_kspace
from common.io.layout import Layout, kind_of
from common.io.noncartesian import ArrayOptions, array_source, trajectory_path
from common.io.source import Source

_KIND = "a BART array"
_TYPE = np.dtype("<c8")
_LARGEST_HEADER = 2**20
_NAMES = (
    *("y", "x", "phs2", "coil", "maps", "te", "coeff", "coeff2"),
    *("iter", "cshift", "time", "time2", "level", "slice", "avg", "batch"),
)
_READOUTS = ("read", "samples", "readouts", *_NAMES[3:])  # of k-space beside a trajectory
_AXES = {
    **{"y": "y", "x": "x", "coil": "coil", "phs2": "z", "slice": "z", "time": "t", "time2": "t"},
    **{"readouts": "y", "samples": "x"},
}


def open_source(
    path: Path,
    *,
    kind: str | None = None,
    take: Mapping[str, int] | None = None,
    dc: str | None = None,
    size: Sequence[int] | None = None,
    trajectory_unit: str | None = None,
    spokes: int | None = None,
) -> Source:
    """Open a BART array: readout is y, the first phase encoding x; the pixel size is unknown.

    Slices (or, of an image, partitions) are z, time is t. An axis "maps", "te" or another one longer than 1 is chosen
    by ``take``, such as ``{"maps": 0}``. ``kind`` is needed unless the name has "ksp" in it: the file does not say.

    Beside k-space ``[1, samples, spokes, ...]`` a trajectory ``[3, samples, spokes, ...]`` may lie, in units of 1 /
    field of view, ``traj.cfl`` of ``ksp.cfl``, see :func:`~common.io.noncartesian.trajectory_path`: then y are the
    readouts and x their samples, and ``size``, ``trajectory_unit`` and ``spokes`` are those of
    :class:`~common.io.noncartesian.ArrayOptions`.
    """
    shape, header = _shape(path)
    found = kind_of(_TYPE, kind, str(path), path.stem)
    places = trajectory_path(path)
    has_places = found == "kspace" and places.is_file() and places != path
    layout = _layout(shape, dict(take or {}), found, path, _READOUTS if has_places else _NAMES).reversed
    array = FlatArray(0, layout.shape, _TYPE)
    spec = layout.spec(_TYPE, kind=found)
    source = flat_source(path, spec, array, layout, files=[path, header], kind_of_file=_KIND)
    if has_places:
        options = ArrayOptions(size, trajectory_unit, spokes)
        return array_source(source, partial(_coordinates, places), options, usual="1/fov", beside=places)
    if (size, trajectory_unit, spokes) != (None, None, None):
        raise ValueError(f"{path}: size, trajectory_unit and spokes are for k-space beside {places.name}, not found")
    return as_kspace(source, dc)


def _shape(path: Path) -> tuple[tuple[int, ...], Path]:
    """Sizes of an array, and the file that has them."""
    header = path.with_suffix(".hdr")
    if not header.is_file():
        raise DataError(f"{path}: expected its sizes in {header.name} beside it, found none; copy both files")
    with file_errors(header, f"the header of {_KIND}"):
        shape = _sizes(header)
    n_bytes_of(shape, _TYPE, str(path))
    return shape, header


def _coordinates(path: Path) -> np.ndarray:
    """Coordinates of a trajectory, ``[(frames,) readouts, samples, 3]``."""
    shape = _shape(path)[0]
    stored = np.fromfile(path, _TYPE).real
    if stored.size != np.prod(shape, dtype=object) or shape[0] not in (2, 3):
        raise DataError(f"{path}: expected a trajectory [3, samples, readouts, ...], got {list(shape)}")
    components, n_samples, n_readouts = (*shape, 1)[:3]
    frames = [n for n in shape[:2:-1] if n > 1]
    return stored.reshape(*frames, n_readouts, n_samples, components)


def _layout(shape: tuple[int, ...], take: dict[str, int], kind: str, path: Path, names: tuple[str, ...]) -> Layout:
    if unknown := set(take) - set(names):
        raise ValueError(f"{path}: take must name axes of {', '.join(names)}, got {', '.join(sorted(unknown))}")
    stored: list[str] = []
    taken: dict[str, int] = {}
    for n, (name, size) in enumerate(zip(names, shape, strict=False)):
        if name == "phs2" and kind == "kspace" and size > 1:
            raise DataError(
                f"{path}: expected 2-D slices, got a 3-D encoding of {size} partitions; transform them first: bart fft "
                "-u -i 4"
            )
        axis = _AXES.get(name, "")
        is_plane = axis in ("y", "x")
        if axis and axis not in stored and name not in take and (is_plane or size > 1):
            stored.append(axis)
            continue
        entry = take.get(name, 0 if size == 1 else -1)
        if is_plane or not 0 <= entry < size:
            raise DataError(
                f"{path}: expected one entry of the axis {name} (number {n}), got {size}; choose one: "
                + source_option("take", {name: 0})
            )
        stored.append(f"{name} taken")
        taken[f"{name} taken"] = entry
    return Layout(tuple(stored), shape, taken)


def _sizes(header: Path) -> tuple[int, ...]:
    if header.stat().st_size > _LARGEST_HEADER:
        raise ValueError(f"it has {header.stat().st_size} bytes")
    lines = header.read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if line.strip() == "# Dimensions")
    sizes = [int(n) for n in lines[place + 1].split()]
    while len(sizes) > 2 and sizes[-1] == 1:
        del sizes[-1]
    sizes += [1] * (2 - len(sizes))
    if len(sizes) > len(_NAMES) or min(sizes) < 1:
        raise ValueError(f"expected up to {len(_NAMES)} positive sizes, got {sizes[:20]}")
    return tuple(sizes)
