"""K-space of any format: where its centre is, which samples are measured, and readout oversampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from common.errors import DataError, source_option
from common.io.source import Companion, DerivedSource, Source
from common.io.spec import Region, Spec

_SMALLEST = 8  # rows and columns from which on the centre is looked for
_MOST = 0.4  # share of the energy that a window around DC holds at least
_RATIO = 4.0
_EVEN, _PEAKED = 0.7, 0.3  # effective number of lines and of samples of each, over their number


class KspaceSource(DerivedSource):
    """K-space of another source, its centre checked at the first read, and moved if it lies in the corner.

    Args:
        source: k-space as stored.
        dc: "centre": DC is at (H//2, W//2). "corner": the values are ``numpy.fft.fft2(image)``, DC at (0, 0); they
            become ``fftshift(fft2(ifftshift(image)))``.
        companions: sources of the same pixels; those whose axes are those of k-space are moved with it.
        is_certain: True if the values are known to be k-space, and not just complex.

    Raises:
        ValueError: for another ``dc``.
        DataError: at a read, for k-space whose centre is elsewhere, or for an image.
    """

    def __init__(
        self,
        source: Source,
        dc: str | None = None,
        *,
        companions: Mapping[Companion, Source | None] | None = None,
        is_certain: bool = True,
    ) -> None:
        if dc not in (None, "centre", "center", "corner"):
            raise ValueError(f"{source.name}: dc must be 'centre' or 'corner', got {dc!r}")
        self._is_moved, self._is_checked, self._is_certain = dc == "corner", dc is not None, is_certain
        others: dict[Companion, Source | None] = dict(source.companions if companions is None else companions)
        for name in ("mask", "calibration") if self._is_moved else ():
            one = others.get(name)
            others[name] = None if one is None else _Moved(one, one.spec)
        super().__init__(source, source.spec, companions=others, key=f"dc {'corner' if self._is_moved else 'centre'}")

    def _read(self, region: Region) -> np.ndarray:
        if self._is_moved:
            return _moved(self._source, region)
        values = np.asarray(self._source._read(region))
        if not self._is_checked:
            whole = values
            if values.shape[-2:] != self.spec.shape[-2:]:
                first = tuple(slice(part.start, part.start + 1) for part in region[:-2])
                whole = np.asarray(self._source._read((*first, *(slice(0, n) for n in self.spec.shape[-2:]))))
            with np.errstate(all="ignore"):  # of values that are not finite, which `read` reports
                self._is_checked = check_centre(whole, self.name)
                if self._is_checked and not self._is_certain:
                    _check_spread(whole, self.name)
        return values


class _Moved(DerivedSource):
    """A mask or reference lines that belong to k-space with DC in the corner."""

    def _read(self, region: Region) -> np.ndarray:
        return _moved(self._source, region)


def _moved(source: Source, region: Region) -> np.ndarray:
    """A region of k-space with DC at (H//2, W//2), of a source with DC at (0, 0)."""
    *leading, rows, columns = region
    height, width = source.spec.shape[-2:]
    values = np.asarray(source._read((*leading, slice(0, height), slice(0, width))))
    values = np.fft.fftshift(values, (-2, -1))
    if values.dtype.kind == "c":
        for axis, n in ((-2, height), (-1, width)):
            # the image's own centre moves from pixel 0 to n // 2: a linear phase
            phase = np.exp(2j * np.pi * (n // 2) * (np.arange(n) - n // 2) / n)
            values = (values * (phase[:, None] if axis == -2 else phase)).astype(values.dtype)
    return values[..., rows, columns]


def check_centre(values: np.ndarray, name: str) -> bool:
    """Check that the energy of whole slices of k-space, complex ``[..., height, width]``, lies around its centre.

    Returns:
        True unless there was nothing to check, as in a blank slice.

    Raises:
        DataError: if a corner, or the middle of an edge, holds most of the energy, or lines are spokes.
    """
    finite = np.where(np.isfinite(values), values, 0)  # others are refused, or replaced, after this check
    energy = np.square(np.abs(finite)).sum(axis=tuple(range(values.ndim - 2)), dtype=np.float64)
    total = float(energy.sum())
    if not 0 < total < np.inf:
        return False
    if min(energy.shape) < _SMALLEST:
        return True
    windows = {where: [_window(n, where) for n in energy.shape] for where in ("centre", "edge")}
    shares = {
        (rows, columns): float(energy[np.ix_(windows[rows][0], windows[columns][1])].sum()) / total
        for rows in windows
        for columns in windows
    }
    place = max(shares, key=lambda key: shares[key])
    centre = shares["centre", "centre"]
    if shares[place] > max(_MOST, _RATIO * centre):
        height, width = energy.shape
        found = [0 if where == "edge" else n // 2 for where, n in zip(place, (height, width), strict=True)]
        is_corner = place == ("edge", "edge")
        way = (
            f"if it was made by fft2 without a shift, pass {source_option('dc', 'corner')}"
            if is_corner
            else "shift it along one axis"
        )
        raise DataError(
            f"{name}: expected k-space with its centre at [{height // 2}, {width // 2}], got {shares[place]:.0%} of "
            f"the energy around {found}; {way} (if it is right as it is: 'dc': 'centre')"
        )
    _check_grid(energy, name)
    return True


def _check_grid(energy: np.ndarray, name: str) -> None:
    """Check that lines of k-space are not spokes: each passes through the centre, so that all have much energy alike.

    Args:
        energy: energy of a slice of k-space, ``[height, width]``.
        name: name for errors.
    """
    for axis, title in ((1, "rows"), (0, "columns")):
        lines, along = energy.sum(axis), energy.sum(1 - axis)
        shares = [float(one.sum() ** 2 / np.square(one).sum()) / len(one) for one in (lines, along)]
        if shares[0] > _EVEN and shares[1] < _PEAKED:
            raise DataError(
                f"{name}: expected k-space on a grid, got {title} that all have their energy at one place, as spokes "
                "have; lay their trajectory beside it, see docs/DATA.md (if it is right as it is: "
                f"{source_option('dc', 'centre')})"
            )


def _window(n: int, place: str) -> np.ndarray:
    reach = max(n // 16, 1)
    return (np.arange(-reach, reach + 1) + (n // 2 if place == "centre" else 0)) % n


def _check_spread(values: np.ndarray, name: str) -> None:
    """Check that values, which could be k-space or an image, are not an image: its transform is the sparser one."""
    one = values.reshape(-1, *values.shape[-2:])[0]
    if _n_effective(one) > _RATIO * _n_effective(np.fft.fft2(one)):
        raise DataError(
            f"{name}: complex values that look like an image, and would be read as k-space; say which they are: "
            f"{source_option('kind', 'image')} or 'kspace'"
        )


def _n_effective(values: np.ndarray) -> float:
    """Number of values that hold the energy: n for a constant, 1 for a single peak."""
    energy = np.square(np.abs(values.astype(np.complex128)))
    return float(energy.sum()) ** 2 / max(float(np.square(energy).sum()), 1e-300)


class Mask(DerivedSource):
    """Sampling mask of k-space ``data`` of a name, bool: True where one other value than 0 is stored.

    Axes are some of (t, z, y, x); one entry stands for all of k-space.

    Raises:
        DataError: if the sizes do not fit; at a read, for several values, or none.
    """

    def __init__(self, source: Source, data: Spec, name: str) -> None:
        own = source.spec
        fits = all(own.size(axis) in (1, data.size(axis)) for axis in own.axes)
        if not fits or (own.shape[-2:] == (1, 1) and data.shape[-2:] != (1, 1)) or "coil" in own.axes:
            raise DataError(
                f"image and mask of different size: {name} is {data}, {source.name} is {own}; give a mask of shape "
                "[W], [H, W] or [slices, H, W]"
            )
        super().__init__(source, replace(own, dtype=np.dtype(bool), kind="image"), kind_of_file="a mask")

    def _read(self, region: Region) -> np.ndarray:
        values = np.asarray(self._source._read(region))
        levels = np.unique(values)
        if not np.isfinite(levels).all() or len(levels[levels != 0]) > 1:
            raise DataError(
                f"{self.name}: expected a mask of 0 and one other value, got {len(levels)} values from {levels[0]} to "
                f"{levels[-1]}; write 0 and 1"
            )
        if values.shape[-2:] == self.spec.shape[-2:] and not levels.any():
            raise DataError(f"{self.name}: the mask samples nothing; write 1 where sampled")
        return values != 0


class MeasuredColumns(DerivedSource):
    """Sampling mask of k-space that stores 0 where it is not sampled: columns with any value, ``[z, 1, width]``."""

    def __init__(self, source: Source) -> None:
        data = source.spec
        shape = tuple(1 if axis == "y" else data.size(axis) for axis in data.axes if axis != "coil")
        spec = data.as_image(bool, shape=shape, native=None)
        super().__init__(source, spec, name=f"{source.name} (sampling)", key="sampling")

    def _read(self, region: Region) -> np.ndarray:
        parts = dict(zip(self.spec.axes, region, strict=True))
        del parts["y"]
        values = np.asarray(self._source._read(self._source.spec.region(**parts))) != 0
        if "coil" in self._source.spec.axes:
            values = values.any(0)
        return values.any(-2, keepdims=True)


def central(n: int, wanted: int) -> slice:
    """The ``wanted`` of ``n`` entries whose centre ``wanted // 2`` lies at ``n // 2``."""
    start = n // 2 - wanted // 2
    return slice(start, start + wanted)


def crop_readout(kspace: np.ndarray, height: int) -> np.ndarray:
    """Return k-space of the central ``height`` rows of the image: oversampling along the readout removed.

    Columns are independent of each other, so this is exact for data sampled along whole columns. The transforms are
    orthonormal: pixels keep their values.

    Args:
        kspace: complex, ``[..., rows, columns]``, centred.
        height: rows to keep.

    Returns:
        complex of the same precision, ``[..., height, columns]``.
    """
    if kspace.shape[-2] == height:
        return kspace
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, -2), axis=-2, norm="ortho"), -2)
    image = image[..., central(kspace.shape[-2], height), :]
    cropped = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(image, -2), axis=-2, norm="ortho"), -2)
    return cropped.astype(kspace.dtype)


def as_kspace(source: Source, dc: str | None, companions: Any = None, *, is_certain: bool = True) -> Source:
    """Return a source with its centre checked if it is k-space; ``dc`` is refused for an image."""
    if source.spec.kind == "kspace":
        return KspaceSource(source, dc, companions=companions, is_certain=is_certain)
    if dc is not None:
        raise ValueError(f"{source.name}: dc is for k-space, and this is an image; leave it out")
    return source
