"""Non-Cartesian k-space: samples along readouts such as spokes, and the trajectory that says where they lie.

Arrays keep the trajectory beside the samples: in a data set ``trajectory`` of the same HDF5 file, or in a file of its
own, see :func:`trajectory_path`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from common.errors import DataError, given_options, source_option
from common.io.geometry import Geometry
from common.io.source import DecodedSource, DerivedSource, Source
from common.io.spec import AXES, Region, Spec

UNITS = ("cycles/pixel", "1/fov", "radians")
"""Units of stored trajectories: a sample at the edge of k-space has 0.5, half the matrix, and pi."""

_REACH = (0.1, 0.5 * (1 + 1e-3))
"""Cycles per pixel within which the largest coordinate lies. Nyquist's is 0.5; it is less in a finer image."""

TRAJECTORY = "trajectory"
"""Data set of an HDF5 file with the places of its k-space."""

_SMALLEST = 8  # rows of an image
_ENDING = re.compile(r"traj(ectory)?$", re.IGNORECASE)


@dataclass(frozen=True)
class ArrayOptions:
    """Options of an array of non-Cartesian samples.

    Attributes:
        size: rows and columns of the image; ``None``: what the file says.
        unit: one of `UNITS`; ``None``: the one that is usual in the format.
        spokes: readouts of a frame, which follow each other along y; ``None``: frames are the axis t.
    """

    size: Sequence[int] | None = None
    unit: str | None = None
    spokes: int | None = None


def trajectory_path(path: Path) -> Path:
    """Return the path of the trajectory beside a file of samples.

    It is ``a_traj.cfl`` for ``a.cfl``, ``a_ksp.cfl`` and ``a_kspace.cfl``, and ``traj.cfl`` for ``ksp.cfl``.
    """
    stem = re.sub(r"[_-]?(ksp|kspace)$", "", path.stem, flags=re.IGNORECASE)
    return path.with_name(f"{stem}_traj{path.suffix}" if stem else f"traj{path.suffix}")


def is_trajectory(path: Path) -> bool:
    """Return True for a name that ends in "traj" or "trajectory": no data of its own."""
    return path.suffix.lower() in (".npy", ".npz", ".cfl") and _ENDING.search(path.stem) is not None


def array_source(
    source: Source,
    load: Callable[[], np.ndarray],
    options: ArrayOptions,
    *,
    usual: str = "cycles/pixel",
    beside: Path | None = None,
) -> Source:
    """Return an array of samples, y the readouts and x their samples, with its trajectory.

    Args:
        source: samples, of the kind "kspace".
        load: returns real coordinates ``[readouts, samples, 2 or 3]``, the same for all frames, or ``[frames, readouts,
            samples, 2 or 3]``, those along y first; can be pickled.
        options: those of the user, or of the file.
        usual: unit if the options have none.
        beside: file of the trajectory, if that is another one.

    Raises:
        ValueError: for options that do not fit.
        DataError: for less readouts than two frames need, or an unknown size of the image.
    """
    spec, name = source.spec, source.name
    if options.size is None:
        raise DataError(
            f"{name}: samples with a trajectory do not say the size of their image; give rows and columns: "
            + source_option("size", [256, 256])
        )
    size, n_spokes = checked_size(options.size, name), options.spokes
    sizes = dict(zip(spec.axes, spec.shape, strict=True))
    if n_spokes is not None:
        if "t" in sizes or n_spokes < 1 or sizes["y"] < 2 * n_spokes:
            raise DataError(
                f"{name}: expected the {2 * n_spokes} readouts of 2 frames of {n_spokes} and no axis of time, got "
                f"{spec}; take less for a frame: {source_option('spokes', max(sizes['y'] // 2, 1))}"
            )
        sizes |= {"t": sizes["y"] // n_spokes, "y": n_spokes}
    axes = tuple(axis for axis in AXES if axis in sizes)
    own = replace(spec, axes=axes, shape=tuple(sizes[axis] for axis in axes), kind="noncartesian", recon_shape=size)
    files = (*source.files, *([] if beside is None else [beside]))
    places = trajectory_source(
        beside or source.path,
        own,
        partial(_in_frames, load, own.size("t"), n_spokes),
        options.unit,
        usual=usual,
        name=str(beside or f"{name} ({TRAJECTORY})"),
        files=files,
    )
    return _Readouts(source, own, files=files, companions={"trajectory": places}, key=f"frames of {n_spokes}")


class _Readouts(DerivedSource):
    """Samples of an array, their readouts cut into frames if it has no axis of time."""

    def _read(self, region: Region) -> np.ndarray:
        parts = dict(zip(self.spec.axes, region, strict=True))
        if "t" in self._source.spec.axes or "t" not in parts:
            return self._source.read(region)
        n_spokes, frames, readouts = self.spec.size("y"), parts.pop("t"), parts["y"]
        parts["y"] = slice(frames.start * n_spokes, frames.stop * n_spokes)
        values = self._source.read([parts[axis] for axis in self._source.spec.axes])
        split = values.reshape(*values.shape[:-2], -1, n_spokes, values.shape[-1])[..., readouts, :]
        return np.moveaxis(split, -3, self.spec.axes.index("t"))


def _in_frames(load: Callable[[], np.ndarray], n_frames: int, n_spokes: int | None) -> np.ndarray:
    """Coordinates of an array as ``[frames or 1, 1, readouts, samples, 2]``; others keep their shape, to be refused."""
    values = np.asarray(load())
    if values.ndim in (3, 4) and values.shape[-1] == 3 and not values[..., 2].any():
        values = values[..., :2]
    if values.ndim == 3 and n_spokes is not None:
        values = values[: n_frames * n_spokes].reshape(-1, n_spokes, *values.shape[1:])
    return values[:, None] if values.ndim == 4 else values[None, None] if values.ndim == 3 else values


def trajectory_source(
    path: Path,
    samples: Spec,
    load: Callable[[], np.ndarray],
    unit: str | None,
    *,
    usual: str = "cycles/pixel",
    name: str = "",
    files: Sequence[Path] = (),
) -> DecodedSource:
    """Return the companion "trajectory" of non-Cartesian samples.

    Its values are complex64: cycles per pixel along x (real part) and along y (imaginary part) of the image of
    ``samples.recon_shape``, whose origin is its pixel (H//2, W//2).

    Args:
        path: file of the samples, for errors.
        samples: description of the samples.
        load: returns real coordinates ``[t or 1, z or 1, readouts, samples, 2]``, those along y first, in their unit;
            can be pickled.
        unit: one of `UNITS`; ``None``: ``usual``, the one of the format.
        usual: unit where the user names none.
        name: name for errors.
        files: all files that the trajectory depends on.

    Raises:
        ValueError: for another unit.
        DataError: at a read, for another shape, or coordinates that are not in this unit.
    """
    if unit not in (None, *UNITS):
        raise ValueError(f"{path}: trajectory_unit must be one of {', '.join(UNITS)}, got {unit!r}")
    name = name or f"{path} (trajectory)"
    axes = tuple(axis for axis in samples.axes if axis != "coil")
    shape = tuple(samples.size(axis) for axis in axes)
    spec = Spec(axes, shape, np.dtype(np.complex64), Geometry.unknown(samples.geometry.axes), kind="image")
    decode = partial(_decoded, load, samples, unit or usual, name)
    return DecodedSource(path, spec, decode, name=name, files=files, key=f"trajectory in {unit or usual}")


def _decoded(load: Callable[[], np.ndarray], samples: Spec, unit: str, name: str) -> np.ndarray:
    values = np.asarray(load())
    wanted = [samples.size(axis) for axis in ("t", "z", "y", "x")]
    if values.dtype.kind not in "uif" or values.ndim != 5 or values.shape[-1] != 2:
        raise DataError(
            f"{name}: expected real coordinates [frames, readouts, samples, 2], got {list(values.shape)} {values.dtype}"
        )
    if (
        any(size not in (1, n) for size, n in zip(values.shape[:2], wanted[:2], strict=True))
        or list(values.shape[2:4]) != wanted[2:]
    ):
        raise DataError(
            f"{name}: expected coordinates of {wanted[0]} frames, {wanted[2]} readouts and {wanted[3]} samples as "
            f"the k-space has, got {values.shape[0]}, {values.shape[2]} and {values.shape[3]}; give that of these "
            "samples"
        )
    cycles = values.astype(np.float64) * _cycles(unit, samples)
    largest = float(np.abs(cycles).max())
    if not _REACH[0] <= largest <= _REACH[1]:
        raise DataError(_wrong_unit(name, float(np.abs(values).max()), unit, samples))
    whole = np.broadcast_to(cycles, (*wanted, 2))
    places = (whole[..., 1] + 1j * whole[..., 0]).astype(np.complex64)
    return places.reshape([samples.size(axis) for axis in samples.axes if axis != "coil"])


def _cycles(unit: str, samples: Spec) -> np.ndarray:
    """Factors from a unit to cycles per pixel along y and x."""
    size = np.asarray(samples.recon_shape, np.float64)
    return {"cycles/pixel": np.ones(2), "1/fov": 1 / size, "radians": np.full(2, 0.5 / math.pi)}[unit]


def _wrong_unit(name: str, largest: float, unit: str, samples: Spec) -> str:
    height, width = samples.recon_shape or (0, 0)
    fits = [other for other in UNITS if _REACH[0] <= largest * float(_cycles(other, samples).min()) <= _REACH[1]]
    ends = 0.5 / float(_cycles(unit, samples).min())
    matrix = 2 * round(largest)
    if fits:
        hint = f"its unit looks like {fits[0]}: {source_option('trajectory_unit', fits[0])}"
    elif matrix < _SMALLEST:
        hint = "scale them to this unit"
    else:
        with given_options({"trajectory_unit": "1/fov"}):
            hint = f"of an image of {matrix} x {matrix} they fit 1/fov: {source_option('size', [matrix, matrix])}"
    return (
        f"{name}: expected coordinates up to about {ends:g} ({unit}) for an image of {height} x {width}, got "
        f"{largest:g}; {hint}"
    )


def checked_size(size: object, name: str) -> tuple[int, int]:
    """Return rows and columns of an image that the user gives.

    Raises:
        ValueError: for anything else than two numbers above 0.
    """
    pair = tuple(size) if isinstance(size, (list, tuple)) else ()
    if len(pair) != 2 or not all(isinstance(n, int) and 0 < n < 2**16 for n in pair):
        raise ValueError(f"{name}: size must be the rows and columns of the image, got {size!r}")
    return pair
