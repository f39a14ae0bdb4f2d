"""Order of the axes of arrays that do not name them: NumPy, raw, HDF5, MATLAB, Zarr and BART files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common.errors import DataError, source_option
from common.io.geometry import Geometry
from common.io.grey import grey_channel
from common.io.spec import AXES, Kind, Region, Spec

CHANNEL = "channel"
"""Name of an axis of colours, which no source has: one entry is taken, or all must be equal."""

MASK_AXES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}
"""Axes of a sampling mask by their number."""

_COLOURS = (3, 4)


@dataclass(frozen=True)
class Layout:
    """Axes of a stored array, in the order of the file, and their way to the axes of a source.

    Attributes:
        stored: name of each axis: one of `AXES`, `CHANNEL`, or another name that stands in ``taken``.
        shape: their sizes.
        taken: the entry that is read of axes which the source does not have.
    """

    stored: tuple[str, ...]
    shape: tuple[int, ...]
    taken: Mapping[str, int] = field(default_factory=dict)

    @property
    def reversed(self) -> Layout:
        """The layout of the same array with its axes in the opposite order, as Fortran, MATLAB and BART store them."""
        return Layout(self.stored[::-1], self.shape[::-1], self.taken)

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes of the source; y or x of one entry are added where the array lacks them."""
        return tuple(axis for axis in AXES if (axis in self.stored and axis not in self.taken) or axis in ("y", "x"))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Size of the source along each of `axes`."""
        return tuple(self.shape[self.stored.index(axis)] if axis in self.stored else 1 for axis in self.axes)

    def spec(self, dtype: np.dtype, geometry: Geometry | None = None, **others: Any) -> Spec:
        """Spec of the source; without a geometry the pixel size is unknown."""
        return Spec(self.axes, self.sizes, np.dtype(dtype), geometry or Geometry.unknown(self.axes), **others)

    def inside(self, region: Region) -> Region:
        """The part of the stored array that holds a region of the source."""
        wanted = dict(zip(self.axes, region, strict=True))
        parts = []
        for axis, size in zip(self.stored, self.shape, strict=True):
            if axis in self.taken:
                parts.append(slice(self.taken[axis], self.taken[axis] + 1))
            else:
                parts.append(wanted.get(axis, slice(0, size)))
        return tuple(parts)

    def shown(self, block: np.ndarray, name: str) -> np.ndarray:
        """A stored part with the axes of the source; ``name`` is for the error that colours give."""
        stored = list(self.stored)
        if CHANNEL in stored and CHANNEL not in self.taken:
            place = stored.index(CHANNEL)
            block = grey_channel(np.moveaxis(block, place, -1), name)
            del stored[place]
        kept = [n for n, axis in enumerate(stored) if axis not in self.taken]
        block = block.reshape([block.shape[n] for n in kept])
        names = [stored[n] for n in kept]
        block = block.transpose([names.index(axis) for axis in self.axes if axis in names])
        missing = tuple(n for n, axis in enumerate(self.axes) if axis not in names)
        return np.expand_dims(block, missing) if missing else block


def layout_of(
    shape: Sequence[int],
    dtype: np.dtype,
    name: str,
    axes: str | Sequence[str] | None = None,
    channel: int | None = None,
    usual: str = "z,y,x",
) -> Layout:
    """Return the order of axes of an array, if it can be read in one way only.

    ==================  ===============================================================
    [H, W]              y, x
    [n, H, W] real      z, y, x; a last axis of 1 is a channel, one of 3 or 4 is refused
    [n, H, W] complex   refused unless n is 1: slices or coils
    more axes           refused, unless all others have one entry
    ==================  ===============================================================

    Args:
        shape: shape of the stored array.
        dtype: type of its values.
        name: name for errors.
        axes: names that the user gives, such as "coil,y,x": some of `AXES` and "channel", in the order of the array.
        channel: the entry of an axis "channel" to take; ``None``: one, or all equal.
        usual: order of three axes of real values: "y,x,z" for MATLAB.

    Raises:
        DataError: for an array that can be read in several ways.
        ValueError: for ``axes`` that do not fit.
    """
    sizes = tuple(int(n) for n in shape)
    if any(n < 1 for n in sizes):
        raise DataError(f"{name}: expected at least one value, got an array {list(sizes)}; remove the file")
    stored = _given(axes, sizes, name) if axes else _found(sizes, dtype, name, usual)
    taken = {axis: 0 for axis in stored if axis not in (*AXES, CHANNEL)}
    n_channels = sizes[stored.index(CHANNEL)] if CHANNEL in stored else 0
    if channel is not None:
        if not 0 <= channel < n_channels:
            raise ValueError(
                f"{name}: no channel {channel}, it has {n_channels or 'no such axis'}; choose another, or name axes: "
                + source_option("axes", "y,x,channel")
            )
        taken[CHANNEL] = channel
    return Layout(stored, sizes, taken)


def _given(axes: str | Sequence[str], sizes: tuple[int, ...], name: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in (axes.split(",") if isinstance(axes, str) else axes))
    known = (*AXES, CHANNEL)
    if len(names) != len(sizes) or len(set(names)) != len(names) or not {"y", "x"} <= set(names) <= set(known):
        raise ValueError(
            f"{name}: axes must name each axis of {list(sizes)} once, in its order, some of {', '.join(known)}, y and "
            f"x among them, got {axes!r}"
        )
    return names


def _found(sizes: tuple[int, ...], dtype: np.dtype, name: str, usual: str) -> tuple[str, ...]:
    is_complex = dtype.kind == "c"
    after, before = int(len(sizes) > 2 and sizes[-1] == 1), 0
    while len(sizes) - after - before > 3 and sizes[before] == 1 and not is_complex:  # else it may be coils
        before += 1
    left = sizes[before : len(sizes) - after]
    ones = [f"one{n}" for n in range(before + after)]
    if len(left) == 2:
        return (*ones[:before], "y", "x", *ones[before:])
    is_clear = (left[0] == 1 and usual[0] != "y") if is_complex else left[-1] not in _COLOURS
    if len(left) == 3 and is_clear:
        return (*ones[:before], *usual.split(","), *ones[before:])
    raise _ambiguous(sizes, is_complex, name, usual)


def _ambiguous(sizes: tuple[int, ...], is_complex: bool, name: str, usual: str) -> DataError:
    if len(sizes) == 1 or len(sizes) > 5:
        return DataError(f"{name}: expected an array of rows and columns, got {list(sizes)}; reshape it")
    if usual == "y,x,z":
        ways = {3: ("y,x,coil", "y,x,z"), 4: ("y,x,coil,z", "y,x,z,t"), 5: ("y,x,coil,z,t",)}
    elif is_complex:
        ways = {
            3: ("coil,y,x", "z,y,x", "y,x,coil"),
            4: ("z,coil,y,x", "coil,z,y,x", "z,y,x,coil", "z,y,x,t"),
            5: ("t,z,coil,y,x", "z,coil,y,x,t"),
        }
    else:
        ways = {3: ("z,y,x", "y,x,channel"), 4: ("t,z,y,x", "z,y,x,channel", "z,y,x,t")}
    few = ways.get(len(sizes), ("t,z,coil,y,x",))
    return DataError(
        f"{name}: an array {list(sizes)} can have its axes in several orders ({' or '.join(few)}); name them: "
        + source_option("axes", few[0])
    )


def fastest_first(path: Path, sizes: Sequence[int], axes: str | None, usual: str) -> tuple[list[str], list[int]]:
    """Names and sizes of array axes of which the first is the fastest; those of one entry at the end are left out.

    Args:
        path: the file, for errors.
        sizes: declared size of each axis.
        axes: names that the user gives: "xy", "xyz", "xyt" (time instead of slices) or "xyzt".
        usual: names of the most axes that need not be given, of which fewer axes are the first: "xyz" or "xyzt".

    Raises:
        ValueError: for other names.
        DataError: for sizes that do not fit.
    """
    if axes not in (None, "xy", "xyz", "xyt", "xyzt"):
        raise ValueError(f"axes must be 'xy', 'xyz', 'xyt' or 'xyzt', got {axes!r}")
    kept = list(sizes)
    while len(kept) > (3 if axes is None else len(axes)) and kept[-1] == 1:
        kept.pop()
    names = axes or usual[: max(len(kept), 2)]
    if len(kept) != len(names) or min(kept, default=0) < 1:
        raise DataError(
            f"{path}: expected the axes {', '.join(axes or usual)} (t is time), got the size {list(sizes)}; name them, "
            f"the fastest first: {source_option('axes', 'xyzt')}, or split the file"
        )
    return list(names), kept


def kind_of(dtype: np.dtype, kind: str | None, name: str, text: str, *, default: Kind | None = None) -> Kind:
    """Return "image" or "kspace" for the values of an array: what the user says, else what its name (``text``) says.

    Real values are images. Complex ones are k-space if the name has "ksp" in it, images if it is "image" or
    "reconstruction", else ``default``; ``None``: refused.

    Raises:
        DataError: for complex values that could be either.
        ValueError: for another kind.
    """
    if kind is not None:
        if kind not in ("image", "kspace"):
            raise ValueError(f"{name}: kind must be 'image' or 'kspace', got {kind!r}")
        return "kspace" if kind == "kspace" else "image"
    label = text.rsplit("/", 1)[-1].lower()
    if dtype.kind != "c" or label in ("image", "images", "img", "reconstruction"):
        return "image"
    if "ksp" in label:
        return "kspace"
    if default is None:
        raise DataError(
            f"{name}: complex values can be k-space or an image; say which: {source_option('kind', 'kspace')}"
        )
    return default
