"""Errors of the pore space of a rock: porosity, two-point correlation and pore sizes of a segmented image.

All take grey images or pore masks as arrays of 2 or 3 axes. Pores are dark. Lengths are in voxels times `voxel_size`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common.metrics.otsu import otsu_threshold
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage, stats

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

MAX_LAG = 32
"""Longest lag, in voxels, to which correlations are compared if none is given; half the shortest side if less."""


def segment_pores(image: ArrayLike, threshold: float | None = None) -> BoolArray:
    """True in the pores: where the grey value is at most `threshold`, Otsu's of the image if None.

    Raises:
        ValueError: values that are not finite, or a single one where Otsu's threshold is asked for.
    """
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("segmentation needs finite grey values, got NaN or infinity; check the image")
    return values <= (otsu_threshold(values) if threshold is None else threshold)


def porosity(pores: ArrayLike) -> float:
    """Share of pore voxels: a checkerboard has 0.5."""
    return float(_pore_mask(pores).mean())


def two_point_correlation(pores: ArrayLike, max_lag: int | None = None) -> FloatArray:
    """Probability S2(r) that two points at the distance r are both in the pores (Torquato 2002, chapter 2).

    Counted over all pairs of voxels inside the image (it is not taken as periodic) whose distance rounds to r, by
    the autocorrelation through a padded FFT; the counts are exact. S2(0) is the porosity, and S2 tends to its square
    where pores are independent.

    Args:
        pores: mask of 2 or 3 axes, True in the pores.
        max_lag: longest distance in voxels, less than each side; None takes half the shortest side, at most `MAX_LAG`.

    Returns:
        float64 `(max_lag + 1,)`, by distance in voxels.

    Raises:
        ValueError: not 2 or 3 axes, or `max_lag` out of range.
    """
    mask = _pore_mask(pores)
    shortest = min(mask.shape)
    if max_lag is None:
        max_lag = min(MAX_LAG, shortest // 2)
    if not 0 <= max_lag < shortest:
        raise ValueError(f"max_lag must be 0 or more and below the shortest side, {shortest}, got {max_lag}")
    padded = tuple(fft.next_fast_len(side + max_lag, real=True) for side in mask.shape)
    spectrum = fft.rfftn(mask.astype(np.float64), s=padded)
    hits = fft.irfftn(np.abs(spectrum) ** 2, s=padded)

    lags = np.arange(-max_lag, max_lag + 1)
    hits = np.rint(hits[np.ix_(*[lags] * mask.ndim)])  # negative lags are at the end, and so are negative indices
    steps = np.meshgrid(*[lags] * mask.ndim, indexing="ij", sparse=True)
    pairs = np.ones_like(hits)
    for step, side in zip(steps, mask.shape, strict=True):
        pairs = pairs * (side - np.abs(step))
    distance = np.rint(np.sqrt(sum(step**2 for step in steps))).astype(np.int64)
    near = distance <= max_lag
    total = np.bincount(distance[near], weights=pairs[near], minlength=max_lag + 1)
    return np.bincount(distance[near], weights=hits[near], minlength=max_lag + 1) / total


def pore_diameters(pores: ArrayLike, voxel_size: float = 1.0) -> FloatArray:
    """Local thickness at each pore voxel: the diameter of the largest ball in the pores that covers it.

    Hildebrand and Ruegsegger 1997 (doi:10.1046/j.1365-2818.1997.1340694.x); here the radii, which are distances to
    the nearest solid voxel, are rounded down to halves of a voxel, from 1 on. A distance transform alone would call
    the rim of a wide pore narrow. A slit of w voxels has the diameter w if w is even and w + 1 if it is odd. Pores
    that the image's border cuts count as if they went on.

    Args:
        pores: mask of 2 or 3 axes, True in the pores.
        voxel_size: side of a voxel.

    Returns:
        float64 `(number of pore voxels,)` in units of `voxel_size`, in the order of the mask; its histogram is the
        pore-size distribution by volume.

    Raises:
        ValueError: not 2 or 3 axes, no solid voxel, or `voxel_size` that is not positive.
    """
    mask = _pore_mask(pores)
    if not 0 < voxel_size < np.inf:
        raise ValueError(f"voxel_size must be positive, got {voxel_size}")
    if mask.all():
        raise ValueError("pore sizes need solid voxels, got pores alone; check the threshold")
    radius = np.floor(2 * ndimage.distance_transform_edt(mask)) / 2
    thickness = np.zeros(mask.shape)
    for step in np.unique(radius[mask]):  # larger balls come later, and overwrite smaller ones
        # an open ball: a voxel just as far away as the radius may be solid
        covered = ndimage.distance_transform_edt(radius < step) < step
        thickness[covered] = 2 * step
    return thickness[mask] * voxel_size


def compare_pore_space(
    sr_image: ArrayLike, hr_image: ArrayLike, voxel_size: float = 1.0, max_lag: int | None = None
) -> dict[str, float]:
    """Errors of the pore space of a super-resolved image against the high-resolution one.

    Both are segmented with Otsu's threshold of the high-resolution image: their grey values are on one scale, so
    that a shift of brightness is an error and shall show, and Otsu's threshold of a blurred image, whose histogram
    has lost its valley, is itself unreliable and would mix segmentation with resolution. To segment each with its
    own, pass masks as images of 0 (pore) and 1: ``(~segment_pores(image)).astype(float)``.

    Args:
        sr_image: grey values of 2 or 3 axes, pores dark.
        hr_image: the same shape and scale.
        voxel_size: side of a voxel of both; the unit of `pore_size_error`.
        max_lag: largest distance of the two-point correlation in voxels; None as in `two_point_correlation`.

    Returns:
        `threshold`; `porosity_sr` and `porosity_hr`; `porosity_error`, their absolute difference;
        `correlation_error`, the mean of ``|S2_sr(r) - S2_hr(r)|`` over r = 0 ... max_lag; `pore_size_error`, the
        Wasserstein distance of the pore diameters by volume (no pore counts as diameter 0, no grain as infinity).

    Raises:
        ValueError: shapes that differ, axes other than 2 or 3, or a high-resolution image of one grey value.
    """
    sr_values, hr_values = np.asarray(sr_image), np.asarray(hr_image)
    if sr_values.shape != hr_values.shape:
        raise ValueError(
            f"expected images of one shape, got sr_image {list(sr_values.shape)} and hr_image "
            f"{list(hr_values.shape)}; crop or enlarge one"
        )
    threshold = otsu_threshold(hr_values)
    sr_pores, hr_pores = segment_pores(sr_values, threshold), segment_pores(hr_values, threshold)
    correlation = [two_point_correlation(pores, max_lag) for pores in (sr_pores, hr_pores)]
    porosities = porosity(sr_pores), porosity(hr_pores)
    if sr_pores.all():
        distance = np.inf
    else:
        sizes = [pore_diameters(pores, voxel_size) if pores.any() else np.zeros(1) for pores in (sr_pores, hr_pores)]
        distance = stats.wasserstein_distance(*sizes)
    return {
        "threshold": threshold,
        "porosity_sr": porosities[0],
        "porosity_hr": porosities[1],
        "porosity_error": abs(porosities[0] - porosities[1]),
        "correlation_error": float(np.abs(correlation[0] - correlation[1]).mean()),
        "pore_size_error": float(distance),
    }


def _pore_mask(pores: Any) -> BoolArray:
    mask = np.asarray(pores)
    if mask.ndim not in (2, 3) or mask.dtype != np.bool_ or not mask.size:
        raise ValueError(
            f"expected a boolean mask of 2 or 3 axes, True in the pores, got {mask.dtype} {list(mask.shape)}; "
            "make one with segment_pores(image)"
        )
    return mask
