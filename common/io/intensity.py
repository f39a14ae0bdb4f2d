"""Meaning of stored values, and their way to the [0, 1] of the networks and back."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from common.errors import DataError

logger = logging.getLogger("recon")

IntensityRange = Literal["auto", "measured", "robust"] | float | Sequence[float]

_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Intensity:
    """Meaning of the stored values of an image: ``meant = slope * stored + intercept``.

    Attributes:
        slope: rescale slope, or that of a calibration.
        intercept: rescale intercept.
        limits: smallest and largest value that may be stored, where they are not those of the type (12 bits in 16).
        declared_max: the largest meant value as the file declares it, such as fastMRI's attribute ``max``.
        window: the display window that the file gives, (low, high) of meant values.
        padding: stored value of pixels outside of the image, such as DICOM's PixelPaddingValue.
        quantity: name or unit of the meant values, such as "HU".
    """

    slope: float = 1.0
    intercept: float = 0.0
    limits: tuple[int, int] | None = None
    declared_max: float | None = None
    window: tuple[float, float] | None = None
    padding: float | None = None
    quantity: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept)) or self.slope == 0:
            raise ValueError(f"expected a finite slope other than 0 and a finite intercept, got {self}")

    @property
    def is_scaled(self) -> bool:
        """True if meant values differ from the stored ones."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    def meant(self, stored: np.ndarray) -> np.ndarray:
        """Meant values, float64 (complex128); the stored ones themselves if they are not scaled."""
        return stored * self.slope + self.intercept if self.is_scaled else stored

    def stored(self, meant: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Stored values in a type: rounded and clipped to what may be stored, for integers.

        Raises:
            DataError: as `to_dtype`.
        """
        values = to_dtype((meant - self.intercept) / self.slope if self.is_scaled else meant, dtype)
        return values if self.limits is None else values.clip(*self.limits)

    def as_meant(self) -> Intensity:
        """Rule of a file that stores the meant values themselves."""
        padding = None if self.padding is None else self.padding * self.slope + self.intercept
        return replace(self, slope=1.0, intercept=0.0, limits=None, padding=padding)


@dataclass(frozen=True)
class IntensityScale:
    """``unit = factor * stored + shift``; the range becomes [0, 1], values beyond it are not clipped.

    float32, and float64 on the side of stored values that need it. What a network gives is float32 in any case: more
    than 24 bits of a value are not kept.
    """

    factor: float
    shift: float

    @staticmethod
    def between(low: float, high: float, intensity: Intensity | None = None) -> IntensityScale:
        """Scale that maps the meant value ``low`` to 0 and ``high`` to 1."""
        rule = intensity or Intensity()
        return IntensityScale(rule.slope / (high - low), (rule.intercept - low) / (high - low))

    def to_unit(self, stored: np.ndarray) -> np.ndarray:
        """Stored values of any real type as float32, complex ones as complex64.

        Raises:
            DataError: for values that float32 cannot hold after scaling.
        """
        wide = stored.astype(_working_type(stored.dtype), order="C", copy=False)
        parts = wide.view(wide.real.dtype)  # a complex product with a number takes three times as long
        values = (parts * parts.dtype.type(self.factor)).view(wide.dtype)
        if self.shift:
            values += self.shift
        if parts.dtype.itemsize > 4:
            ends = values if values.dtype.kind == "f" else np.abs(values)
            largest = float(max(ends.max(initial=0.0), -ends.min(initial=0.0)))
            if not largest < _LARGEST_FLOAT32:
                raise DataError(
                    f"expected values below {_LARGEST_FLOAT32:.3g} (float32), got {largest:.3g}; pass a wider "
                    "intensity_range, or scale them"
                )
        return values.astype(np.complex64 if values.dtype.kind == "c" else np.float32, copy=False)

    def to_stored(self, unit: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Back to the stored type; integers are rounded and clipped to what the type can hold, not to the range.

        Raises:
            DataError: as `to_dtype`.
        """
        values = unit.astype(_working_type(dtype))
        values -= self.shift
        values /= self.factor
        return to_dtype(values, dtype)


class ClippedShare:
    """Count of the values beyond the range that becomes [0, 1], for the warning at the end of a file.

    Attributes:
        below: values under 0.
        above: values over 1.
        total: all values.
    """

    def __init__(self) -> None:
        self.below = self.above = self.total = 0

    def add(self, unit: np.ndarray) -> None:
        """Count the values of one block, scaled to [0, 1]; what rounding does (1e-6) does not count."""
        self.below += int((unit < -1e-6).sum())
        self.above += int((unit > 1 + 1e-6).sum())
        self.total += unit.size

    @staticmethod
    def sum(shares: Sequence[ClippedShare]) -> ClippedShare:
        """Add the counts of several processes."""
        total = ClippedShare()
        for share in shares:
            total.below, total.above = total.below + share.below, total.above + share.above
            total.total += share.total
        return total

    def warn(self, name: str, low: float, high: float) -> None:
        """Log one line with both shares, if there are any."""
        parts = []
        for count, where in ((self.below, f"below {low:g}"), (self.above, f"above {high:g}")):
            if count:
                parts.append(f"{100 * count / self.total:.3g} % of the values lie {where}")
        if parts:
            logger.warning(f"{name}: {' and '.join(parts)}, beyond the intensity range; a wider one keeps them")


def given_range(intensity_range: IntensityRange) -> tuple[float, float] | None:
    """Return the two values of a range that was given as numbers, ``None`` for one that is to be found.

    Raises:
        ValueError: for a range that is none.
    """
    if isinstance(intensity_range, str):
        if intensity_range in ("auto", "measured", "robust"):
            return None
        ends: list[object] = []
    elif isinstance(intensity_range, Sequence):
        ends = list(intensity_range)
    else:
        ends = [0.0, intensity_range]
    numbers = [float(end) for end in ends if isinstance(end, (int, float)) and not isinstance(end, bool)]
    if len(numbers) != 2 or len(ends) != 2 or not -math.inf < numbers[0] < numbers[1] < math.inf:
        raise ValueError(
            "intensity_range must be 'auto', 'robust', 'measured', a positive number or two rising ones [low, high], "
            f"got {intensity_range!r}"
        )
    return numbers[0], numbers[1]


def to_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Real values in another real type: rounded and clipped for integers, magnitudes' float type for complex.

    Raises:
        DataError: for values that are not finite, that a float type cannot hold, or that lie beyond the limits of an
            integer type by more than its whole range, which no overshoot of an image does.
    """
    if dtype.kind == "c":
        return to_dtype(values, np.dtype(np.float32 if dtype.itemsize == 8 else np.float64))
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        span = float(limits.max) - float(limits.min)
        if not (values >= limits.min - span).all() or not (values <= limits.max + span).all():
            raise _unfit(values, dtype)
        rounded = np.rint(values)
        # compared before the cast: float64(2**64 - 1) rounds up to 2**64, which does not fit
        low, high = rounded <= limits.min, rounded >= limits.max
        inside = np.where(low | high, 0, rounded).astype(dtype)
        return np.where(high, dtype.type(limits.max), np.where(low, dtype.type(limits.min), inside))
    with np.errstate(over="ignore"):
        stored = values.astype(dtype)
    if not np.isfinite(stored).all():
        raise _unfit(values, dtype)
    return stored


def _unfit(values: np.ndarray, dtype: np.dtype) -> DataError:
    n_wrong, largest = int((~np.isfinite(values)).sum()), float(np.abs(values).max())
    found = f"{n_wrong} NaN or infinite values" if n_wrong else f"values up to {largest:.3g}"
    return DataError(f"expected values that {dtype} can hold, got {found}; check the network and its input")


def _working_type(dtype: np.dtype) -> type[np.inexact]:
    if dtype.kind == "c":
        return np.complex128 if dtype.itemsize > 8 else np.complex64
    return np.float64 if dtype.itemsize > (4 if dtype.kind == "f" else 2) else np.float32
