"""Choice of the values of an image that become 0 and 1."""

from __future__ import annotations

import logging
import math

import numpy as np
from common.errors import DataError
from common.io.intensity import IntensityRange, given_range
from common.io.source import Source

logger = logging.getLogger("recon")

_BRIGHTEST = 1e-4  # share of the values above the robust maximum
_OUTLIER = 1.2  # maximum over robust maximum from which on it is reported
_NEGATIVE = 0.05  # of the largest value: what resampling leaves below zero


def find_range(source: Source, intensity_range: IntensityRange) -> tuple[float, float]:
    """Return the meant values of an image that become 0 and 1: one rule for training, inference and reports.

    Args:
        source: the image.
        intensity_range: the two values; or the upper one, the lower being 0. Or

            - "auto": 0 to what the file declares as its maximum; 0 to 255 for 8 bits (of stored values); else 0 to
              the largest magnitude, found in one pass over the image;
            - "robust": likewise, to the value that 0.01 % of the pixels exceed, at least one;
            - "measured": from the smallest value (0 if that is positive) to the largest.

    Returns:
        (low, high). (0, 1) for an image of zeros.

    Raises:
        ValueError: for a range that is none.
        DataError: for values that are not finite, and negative ones with "auto" or "robust" (more than a resampling
            leaves: 5 % of the largest).
    """
    given = given_range(intensity_range)
    if given is not None:
        return given
    rule = source.spec.intensity
    if intensity_range == "auto" and rule.declared_max is not None:
        return 0.0, rule.declared_max
    if intensity_range == "auto" and source.spec.dtype == np.uint8:
        ends = sorted((rule.intercept, 255 * rule.slope + rule.intercept))
        return float(ends[0]), float(ends[1])
    low, high, robust = _measured(source)
    if intensity_range != "measured" and low < -_NEGATIVE * abs(high):
        raise DataError(
            f"{source.name}: has values down to {low:g}; pass those which become 0 and 1, as in the network's "
            'training: intensity_range=[low, high], for example --intensity_range "[-1000, 2000]" for CT'
        )
    if high > max(_OUTLIER * robust, 0.0) and intensity_range != "robust":
        logger.warning(
            f"{source.name}: its maximum {high:g} is far above the value {robust:g} that 0.01 % of the pixels exceed; "
            'if that is a hot pixel, pass --intensity_range robust, or the two values as "[low, high]"'
        )
    if intensity_range == "measured":
        return (min(low, 0.0), high) if min(low, 0.0) < high else (0.0, 1.0)
    high = robust if intensity_range == "robust" else high
    return (0.0, high) if high > 0 else (0.0, 1.0)


def _measured(source: Source) -> tuple[float, float, float]:
    """Smallest, largest and robust largest meant value; magnitudes of a complex image."""
    rule = source.spec.intensity
    n_brightest = min(max(math.ceil(source.spec.n_values * _BRIGHTEST), 1), 2**22)
    smallest, brightest = math.inf, np.zeros(0)
    for region in source.blocks():
        values = source.read(region).ravel()
        # float64 first: abs of the smallest int16 does not fit int16
        values = np.abs(values) if values.dtype.kind == "c" else rule.meant(values.astype(np.float64))
        smallest = min(smallest, float(values.min()))
        # one more than are left out: the smallest of them is the robust maximum
        pool = np.concatenate((brightest, values))
        kept = min(n_brightest + 1, pool.size)
        brightest = np.partition(pool, pool.size - kept)[pool.size - kept :]
    return smallest, float(brightest.max()), float(brightest.min())
