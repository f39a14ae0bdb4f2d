"""From stored values to the [0, 1] of the networks, and back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from common.data.errors import DataError
from common.data.stacks import to_dtype

if TYPE_CHECKING:
    from common.data.volumes.source import VolumeSource

logger = logging.getLogger("recon")
IntensityRange = Literal["auto", "measured"] | Sequence[float]


@dataclass(frozen=True)
class IntensityScale:
    """``unit = factor * stored + shift``.

    float32, and float64 on the side of stored values that need it. What a network gives is float32 in any case: more
    than 24 bits of a value are not kept.
    """

    factor: float
    shift: float

    @staticmethod
    def between(low: float, high: float, rescale: tuple[float, float] = (1.0, 0.0)) -> IntensityScale:
        """Maps ``low`` to 0 and ``high`` to 1, of what stored values stand for, ``slope * stored + intercept``."""
        slope, intercept = rescale
        return IntensityScale(slope / (high - low), (intercept - low) / (high - low))

    def to_unit(self, stored: np.ndarray) -> np.ndarray:
        """Stored values of any real type as float32; the range becomes [0, 1]."""
        values = stored.astype(_working_type(stored.dtype))
        values *= self.factor
        values += self.shift
        return values.astype(np.float32, copy=False)

    def to_stored(self, unit: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Back to the stored type; integers are rounded and clipped to what the type can hold, not to the range."""
        values = unit.astype(_working_type(dtype))
        values -= self.shift
        values /= self.factor
        return to_dtype(values, dtype)


def find_range(source: VolumeSource, intensity_range: IntensityRange) -> tuple[float, float]:
    """The values of an image that become 0 and 1, in the units that the file's values stand for.

    Args:
        source: the image.
        intensity_range: the two values. Or "auto": all values of the type for unsigned integers of 8 and 16 bits, 0
            to 255 and 0 to 65535. Or "measured": found in one pass over the image; from its smallest value, or 0 if
            that is lower, to its largest. For example an image of 12 bits in uint16 is darker than it should be with
            "auto", and ``[0, 4095]`` is right. Take the range with which the network was trained.

    Raises:
        ValueError: "auto" for a type without such a range, or a range that is none.
        DataError: for values that are not finite, or an image of zeros with "measured".
    """
    if not isinstance(intensity_range, str):
        return _checked(intensity_range)
    if intensity_range == "measured":
        return _measured(source)
    if intensity_range == "auto":
        return _range_of_type(source)
    raise ValueError(f"intensity_range must be 'auto', 'measured' or two numbers [low, high], got {intensity_range!r}")


def _working_type(dtype: np.dtype) -> type[np.floating]:
    return np.float64 if dtype.itemsize > (4 if dtype.kind == "f" else 2) else np.float32


def _checked(intensity_range: Sequence[float]) -> tuple[float, float]:
    values = [float(n) for n in intensity_range]
    if len(values) != 2 or not -np.inf < values[0] < values[1] < np.inf:
        raise ValueError(f"intensity_range must be two rising numbers [low, high], got {list(intensity_range)}")
    return values[0], values[1]


def _range_of_type(source: VolumeSource) -> tuple[float, float]:
    dtype = source.spec.dtype
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise ValueError(
            f"{source.name}: {dtype.name} values have no range of their own; pass the one the network was trained "
            "with, intensity_range=[low, high], or 'measured'"
        )
    slope, intercept = source.spec.rescale
    ends = sorted((intercept, np.iinfo(dtype).max * slope + intercept))
    return float(ends[0]), float(ends[1])


def _measured(source: VolumeSource) -> tuple[float, float]:
    logger.info(f"{source.name}: looking for its smallest and largest value")
    slope, intercept = source.spec.rescale
    smallest, largest = np.inf, -np.inf
    for region in source.blocks():
        values = source.read(region)
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(f"{source.name}: has NaN or infinite values; replace them")
        smallest, largest = min(smallest, low), max(largest, high)
    ends = sorted((smallest * slope + intercept, largest * slope + intercept))
    low, high = min(ends[0], 0.0), ends[1]
    if low == high:
        raise DataError(f"{source.name}: all values are 0; pass intensity_range=[low, high]")
    return low, high
