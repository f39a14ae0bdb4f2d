"""Rank correlation of a map of uncertainty and the error, over tissue."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

TISSUE_FRACTION, TISSUE_QUANTILE = 0.1, 0.99


def tissue_mask(target: np.ndarray) -> np.ndarray:
    """Mask of tissue rather than air: voxels above 10 % of the 99th percentile of its values.

    The percentile, since a few bright pixels (vessels, spikes) must not decide for all. Air has nothing to make up and
    little error, so that with it any map ranks errors well.

    Args:
        target: magnitudes, ``(slices, height, width)``.

    Returns:
        boolean, of that shape; nowhere true in a volume of zeros.
    """
    return target > TISSUE_FRACTION * np.quantile(target, TISSUE_QUANTILE)


def rank_correlation(std: np.ndarray, error: np.ndarray, where: np.ndarray | None = None) -> float:
    """Spearman's rank correlation of a map of standard deviations and one of absolute errors.

    1 if the larger deviation always has the larger error, 0 if it tells nothing. A deviation that is right about the
    spread of Gaussian errors does not reach 1, since each error is one draw of its distribution: where it varies
    between pixels as ``exp(s n)``, n standard normal, about 0.45 for s = 0.5, 0.69 for s = 1.

    Args:
        std: not negative, any shape.
        error: not negative, the same shape.
        where: which pixels count, boolean; None for all. See :func:`tissue_mask`.

    Returns:
        in [-1, 1]; NaN where it is undefined: fewer than two pixels, or one of the maps the same everywhere.

    Raises:
        ValueError: if the shapes differ.
    """
    if std.shape != error.shape or (where is not None and where.shape != std.shape):
        raise ValueError(
            f"expected maps of one shape, got {list(std.shape)} and {list(error.shape)}"
            + ("" if where is None else f", to compare where {list(where.shape)} says")
        )
    chosen = slice(None) if where is None else where
    values = [np.asarray(image, np.float64)[chosen].ravel() for image in (std, error)]
    if values[0].size < 2 or any(np.ptp(one) == 0 for one in values):
        return float("nan")
    return float(spearmanr(*values).statistic)
