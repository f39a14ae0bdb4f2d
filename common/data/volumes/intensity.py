"""From stored values to the [0, 1] of the networks, and back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from common.data.stacks import to_dtype
from common.errors import DataError

if TYPE_CHECKING:
    from common.data.volumes.source import VolumeSource

logger = logging.getLogger("recon")
IntensityRange = Literal["auto", "measured"] | float | Sequence[float]


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

    A network must be given what it was trained on: "auto", a number and two numbers mean what they mean to
    :class:`~common.data.readers.SliceReader`, which reads slices for training.

    Args:
        source: the image.
        intensity_range: the two values; or the upper one, the lower being 0. Or "auto": 0 to 255 for 8 bits, else 0
            to the largest value, found in one pass over the image. Or "measured": likewise, from the smallest value
            if that is below 0.

    Raises:
        ValueError: for a range that is none.
        DataError: for values that are not finite, negative ones with "auto" (more than a resampling leaves: 5 % of
            the largest), or an image of zeros.
    """
    if intensity_range == "auto" and source.spec.dtype == np.uint8:
        slope, intercept = source.spec.rescale
        ends = sorted((intercept, 255 * slope + intercept))
        return float(ends[0]), float(ends[1])
    if intensity_range == "auto" or intensity_range == "measured":
        low, high = _measured(source)
        if intensity_range == "auto" and low < -0.05 * abs(high):
            raise DataError(
                f"{source.name}: has values down to {low:g}; say which become 0 and 1, as they did in the network's "
                "training: intensity_range=[low, high], for example [-1000, 2000] for CT"
            )
        return (0.0, high) if intensity_range == "auto" else (low, high)
    if isinstance(intensity_range, str):
        raise ValueError(
            f"intensity_range must be 'auto', 'measured', a number or two [low, high], got {intensity_range!r}"
        )
    return _checked((0.0, intensity_range) if isinstance(intensity_range, (int, float)) else intensity_range)


def _working_type(dtype: np.dtype) -> type[np.floating]:
    return np.float64 if dtype.itemsize > (4 if dtype.kind == "f" else 2) else np.float32


def _checked(intensity_range: Sequence[float]) -> tuple[float, float]:
    values = [float(n) for n in intensity_range]
    if len(values) != 2 or not -np.inf < values[0] < values[1] < np.inf:
        raise ValueError(f"intensity_range must be two rising numbers [low, high], got {list(intensity_range)}")
    return values[0], values[1]


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
        raise DataError(f"{source.name}: all values are {low:g}; pass intensity_range=[low, high]")
    return low, high
