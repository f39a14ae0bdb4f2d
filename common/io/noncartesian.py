"""Non-Cartesian k-space: samples along readouts such as spokes, and the trajectory that says where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from common.errors import DataError, source_option
from common.io.geometry import Geometry
from common.io.source import DecodedSource
from common.io.spec import Spec

UNITS = ("cycles/pixel", "1/fov", "radians")
"""Units of stored trajectories: a sample at the edge of k-space has 0.5, half the matrix, and pi."""

_REACH = (0.1, 0.5 * (1 + 1e-3))
"""Cycles per pixel within which the largest coordinate lies. Nyquist's is 0.5; it is less in a finer image."""


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
    hint = f"give the size of the image: {source_option('size', [256, 256])}"
    if fits:
        hint = f"its unit looks like {fits[0]}: {source_option('trajectory_unit', fits[0])}"
    elif unit == "1/fov" and largest > 1:
        hint = f"give the size of the image: {source_option('size', [2 * round(largest)] * 2)}"
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
