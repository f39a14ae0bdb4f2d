"""The grey value that separates two classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def otsu_threshold(image: ArrayLike, bins: int = 256) -> float:
    """Grey value that separates two classes best (Otsu 1979, doi:10.1109/TSMC.1979.4310076).

    The variance between the classes is largest there; as in scikit-image, values up to the threshold are one class
    and those above it the other. Half zeros, half ones: 1/512, the centre of the lowest of 256 bins.

    Args:
        image: grey values, any shape; integers have a bin for each value if they span less than 65536.
        bins: bins between the smallest and the largest value, for all others.

    Raises:
        ValueError: fewer than two grey values, or values that are not finite.
    """
    values = np.asarray(image).ravel()
    if not values.size or not np.isfinite(values).all():
        raise ValueError("Otsu's threshold needs finite grey values, got none or NaN or infinity; check the image")
    low, high = values.min(), values.max()
    if low == high:
        raise ValueError(f"Otsu's threshold needs two grey values, got only {low}; check the image")
    if np.issubdtype(values.dtype, np.integer) and int(high) - int(low) < 2**16:
        counts = np.bincount(values.astype(np.int64) - int(low)).astype(np.float64)
        centres = np.arange(int(low), int(high) + 1, dtype=np.float64)
    else:
        histogram, edges = np.histogram(values, bins)
        counts, centres = histogram.astype(np.float64), (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    first = np.cumsum(counts * centres)
    mean_below, mean_above = first[:-1] / below, (first[-1] - first[:-1]) / above
    return float(centres[np.argmax(below * above * (mean_below - mean_above) ** 2)])
