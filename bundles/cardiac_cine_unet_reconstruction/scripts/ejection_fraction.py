"""Ejection fraction of the left ventricle, from its blood pool segmented in short-axis cine series.

A task metric: two reconstructions of one PSNR may differ in what a cardiologist would measure in them. The segmentation
is simple on purpose, and the same for all images that are compared; its own error is that in the truth images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common.metrics.otsu import otsu_threshold
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

WINDOW = 0.2
"""Radius about the centre in which grey values are looked at for the first threshold, of the image's shorter side."""
REACH = 0.33
"""Radius that a blood pool cannot leave, of the image's shorter side."""
NECK = 0.25
"""What is narrower than this part of the pool's width is no part of it: a leak into its surroundings."""
SOLID = 0.6
"""Least part of a pool's convex hull that is bright: myocardium and noise between bright pixels are no pool."""
CONTRAST = 0.15
"""Least difference of blood and what is about it, of the blood's grey value."""
FLAT = 1e-4
"""Least range of grey values, of the brightest."""
SMALLEST = 6
"""Fewest pixels of a pool."""
OFF_CENTER = 0.25
"""Farthest a pool's centre of mass may be from where it is expected, of the pool's radius, plus half a pixel."""
RAISES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Threshold of a frame, from halfway between muscle and blood (0) to blood (1): tried until nothing leaks."""
JUMP = 2.2
"""Most that a pool's area may differ by, as a ratio, from the median of its five neighbours in time."""


def segment_blood_pool(series: ArrayLike, center_px: ArrayLike) -> BoolArray:
    """Blood pool of the left ventricle in each frame, papillary muscles counted as cavity.

    Blood is what is brighter than halfway between pool and muscle: Otsu's threshold of all frames about the centre
    finds a first pool, and the medians inside it and in a ring about it the threshold that is used, one for all frames.
    The pool is the bright region at the centre, without what hangs on it by a narrow neck, and its convex hull. Where
    that leaks into the right ventricle all the same, since blur has opened the septum, the frame's threshold is raised
    by steps.

    A frame has no pool, all False, where none is plausible: nothing bright at the centre, a region that reaches too
    far or whose centre is elsewhere (a leak), that is scattered, or whose area leaps against the frames beside it.
    No grey value raises an error, NaN included.

    Args:
        series: magnitudes ``(height, width, frames)``, blood brighter than muscle.
        center_px: ``(frames, 2)``, row and column of the pool's centre in each frame, to a pixel or two.

    Returns:
        bool ``(height, width, frames)``.

    Raises:
        ValueError: shapes that do not fit.
    """
    images, centers = np.asarray(series, np.float64), np.asarray(center_px, np.float64)
    if images.ndim != 3 or not images.size:
        raise ValueError(f"expected a series (height, width, frames), got shape {list(images.shape)}; time is last")
    if centers.shape != (images.shape[2], 2):
        raise ValueError(
            f"expected a centre (row, column) for each of {images.shape[2]} frames, got shape {list(centers.shape)}"
        )
    usable = np.isfinite(images).all((0, 1)) & np.isfinite(centers).all(1)
    pools = np.zeros(images.shape, np.bool_)
    brightest = float(np.abs(images[..., usable]).max(initial=0.0)) or 1.0
    frames = [_Frame(images[..., i] / brightest, centers[i]) for i in np.flatnonzero(usable)]
    levels = _levels(frames)
    if levels is None:
        return pools
    for i, frame in zip(np.flatnonzero(usable), frames, strict=True):
        pools[(*frame.box, i)] = frame.pool(*levels)
    pools[..., _leaps(pools.sum((0, 1)))] = False
    return pools


def pool_areas_mm2(pools: ArrayLike, pixel_size_mm: float | ArrayLike = 1.0) -> FloatArray:
    """Area of the pool in each frame, NaN where there is none.

    Args:
        pools: bool ``(height, width, frames)``, of :func:`segment_blood_pool`.
        pixel_size_mm: side of a pixel, or its height and width.

    Returns:
        float64 ``(frames,)``.

    Raises:
        ValueError: a side that is not positive.
    """
    size = np.broadcast_to(np.asarray(pixel_size_mm, np.float64), (2,))
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"pixel_size_mm must be positive, got {size.tolist()}")
    n_pixels = np.asarray(pools).sum((0, 1)).astype(np.float64)
    return np.where(n_pixels > 0, n_pixels * size.prod(), np.nan)


def ejection_fraction(areas: ArrayLike) -> float:
    """``(EDV - ESV) / EDV`` of the volume, which is the sum of areas over the slices: areas 4 and 1 in time give 0.75.

    The end of diastole is the frame of the largest volume and the end of systole that of the smallest. Frames without
    an area are filled linearly from those beside them.

    Args:
        areas: ``(slices, frames)``, of slices of one thickness, in any unit; NaN where not known.

    Returns:
        in [0, 1]; NaN if more than a quarter of the frames of a slice have no area, or there is no volume.

    Raises:
        ValueError: not two axes.
    """
    values = np.asarray(areas, np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"expected areas (slices, frames), got shape {list(values.shape)}")
    volumes = np.sum([_filled(row) for row in values], axis=0)
    if not (np.isfinite(volumes).all() and volumes.max() > 0):
        return float("nan")
    return float((volumes.max() - volumes.min()) / volumes.max())


def _filled(areas: FloatArray) -> FloatArray:
    known = np.isfinite(areas)
    if known.mean() < 0.75:
        return np.full(areas.shape, np.nan)
    times = np.arange(len(areas))
    return np.interp(times, times[known], areas[known])


class _Frame:
    """The part of an image about the centre, `box` of it, and distances from the centre in it."""

    def __init__(self, image: FloatArray, center: FloatArray) -> None:
        side = min(image.shape)
        reach = max(3.0, REACH * side)
        start = np.clip(np.floor(center - reach - 1), 0, np.array(image.shape) - 1).astype(int)
        stop = np.clip(np.ceil(center + reach + 2), start + 1, image.shape).astype(int)
        self.box = slice(start[0], stop[0]), slice(start[1], stop[1])
        self.image = image[self.box]
        self.center = center - start
        rows, columns = np.indices(self.image.shape)
        self.distance = np.hypot(rows - self.center[0], columns - self.center[1])
        self.window = self.distance <= max(2.0, WINDOW * side)
        self.reach = self.distance <= reach

    def pool(self, muscle: float, blood: float) -> BoolArray:
        """The pool, or nothing where none is plausible; grey values of muscle and blood are typical ones."""
        for raised in RAISES:
            threshold = muscle + (0.5 + raised / 2) * (blood - muscle)
            bright = self.body(threshold)
            if bright.sum() < SMALLEST:
                break
            hull = _convex_hull(bright)
            if self._inside(hull) and (hull & (self.image > threshold)).sum() >= SOLID * hull.sum():
                return hull
        return np.zeros_like(self.reach)

    def _inside(self, hull: BoolArray) -> bool:
        """Return True if a hull is about the centre and ends before the reach does."""
        shift = np.hypot(*(np.argwhere(hull).mean(0) - self.center))
        near = shift <= 0.5 + OFF_CENTER * np.sqrt(hull.sum() / np.pi)
        return bool(near) and not (ndimage.binary_dilation(hull) & ~self.reach).any()

    def body(self, threshold: float) -> BoolArray:
        """Bright region at the centre without what hangs on it by a neck."""
        bright = self._at_center((self.image > threshold) & self.reach)
        if not bright.any():
            return bright
        inner = ndimage.distance_transform_edt(np.pad(ndimage.binary_fill_holes(bright), 1))[1:-1, 1:-1]
        # as wide as the pool is where it is widest near the centre; a right ventricle it leaks into may be wider
        near = np.where(self.distance <= max(3.0, self.distance[self.reach].max() / 3), inner, 0)
        depth = max(1.0, NECK * near.max())
        core = self._at_center(inner >= depth)
        return (ndimage.distance_transform_edt(~core) < depth) & (inner > 0) if core.any() else bright

    def _at_center(self, mask: BoolArray) -> BoolArray:
        """The connected region of a mask that is nearest to the centre; nothing if that is far from it."""
        labels, n = ndimage.label(mask)
        distance = np.where(mask, self.distance, np.inf)
        nearest = np.unravel_index(distance.argmin(), distance.shape)
        if n == 0 or not self.window[nearest]:
            return np.zeros_like(mask)
        return labels == labels[nearest]


def _levels(frames: list[_Frame]) -> tuple[float, float] | None:
    """Grey values of muscle and blood; None where they cannot be told apart."""
    values = np.concatenate([frame.image[frame.window] for frame in frames]) if frames else np.zeros(0)
    if not values.size or np.ptp(values) < FLAT:
        return None
    first = otsu_threshold(values)
    blood, muscle = list[FloatArray](), list[FloatArray]()
    for frame in frames:
        body = frame.body(first)
        if body.any():
            hull = _convex_hull(body)
            width = max(2.0, 0.35 * np.sqrt(hull.sum() / np.pi))
            outside = ndimage.distance_transform_edt(~hull)
            blood.append(frame.image[body])
            muscle.append(frame.image[(outside > 1) & (outside <= 1 + width)])
    if not blood or not np.concatenate(muscle).size:
        return None
    inside, about = float(np.median(np.concatenate(blood))), float(np.median(np.concatenate(muscle)))
    return (about, inside) if inside - about > CONTRAST * inside else None


def _convex_hull(mask: BoolArray) -> BoolArray:
    """Pixels whose centre is in the convex hull of those of the mask."""
    points = np.argwhere(mask)
    try:
        equations = ConvexHull(points).equations
    except QhullError:  # a point or a line
        return mask
    rows, columns = np.indices(mask.shape)
    sides = equations[:, 0, None, None] * rows + equations[:, 1, None, None] * columns + equations[:, 2, None, None]
    return np.asarray((sides <= 1e-9).all(0))


def _leaps(n_pixels: NDArray[Any]) -> BoolArray:
    """Frames whose area is far from those about them."""
    sizes = np.where(n_pixels > 0, n_pixels, np.nan).astype(np.float64)
    padded = np.pad(sizes, 2, constant_values=np.nan)
    leaps = np.zeros(len(sizes), np.bool_)
    for i, size in enumerate(sizes):
        about = padded[i : i + 5]
        about = about[np.isfinite(about)]
        if np.isfinite(size) and len(about) >= 3:
            leaps[i] = not 1 / JUMP <= size / np.median(about) <= JUMP
    return leaps
