"""Drawing neighbouring sections through one body: noise that changes slowly from section to section, and outlines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from common.phantoms.canvas import Canvas, Field
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Points = NDArray[np.float64]
"""Corners of an outline, `(n, 2)`: x and y."""


class SectionCanvas(Canvas):
    """A `Canvas` at height `z` in a body: with the same draws, near sections have similar noise.

    All sections of a body must draw the same noises in the same order, even those that they do not use.

    Args:
        rng: source of the noise, in the same state for each section of a body.
        size: pixels per side.
        extent: length of a side in units; the origin is in the middle.
        z: position of the section along the third axis, in units.
    """

    def __init__(self, rng: np.random.Generator, size: int, extent: float, z: float) -> None:
        super().__init__(rng, size, extent)
        self.z = z

    def noise(self, low: float, high: float, *, reach: float = 10.0, stretch: float = 1.0, angle: float = 0.0) -> Field:
        """Noise of unit variance with `low` to `high` cycles per side.

        Each Fourier coefficient turns along z at its own random speed, so two sections at a distance d correlate by
        ``exp(-d^2 / (2 reach^2))``.

        Args:
            low: smallest number of cycles per side.
            high: largest number of cycles per side.
            reach: length along z over which the noise changes, in units.
            stretch: ratio of length to width of the grains; 1 or more stretches them along `angle`.
            angle: direction of the long side of the grains, in radians from the vertical, positive to the lower right.

        Raises:
            ValueError: the grid is too coarse for `high` cycles.
        """
        if 2 * high >= self.size:
            raise ValueError(f"a canvas of {self.size} pixels holds fewer than {self.size / 2} cycles, got {high}")
        top = math.ceil(high)
        rows, columns = np.arange(-top, top + 1)[:, None], np.arange(top + 1)[None, :]
        sine, cosine = math.sin(angle), math.cos(angle)
        frequency = np.hypot(stretch * (cosine * rows + sine * columns), cosine * columns - sine * rows)
        real, imaginary, speed = self.rng.standard_normal((3, *frequency.shape), dtype=np.float32)
        inside = (frequency >= low) & (frequency <= high)
        turn = np.exp(1j * (self.z / reach) * speed)
        return self._from_coefficients((real + 1j * imaginary) * turn * inside)


def smooth_outline(points: Sequence[tuple[float, float]] | Points, per_corner: int = 4) -> Points:
    """Draw a closed smooth curve through points in order, as a polygon of `per_corner` times as many corners.

    The spline is periodic, its parameter centripetal, so that it does not loop where points are close.
    """
    knots = np.asarray(points, np.float64)
    closed = np.concatenate((knots, knots[:1]))
    steps = np.sqrt(np.linalg.norm(np.diff(closed, axis=0), axis=1))
    parameter = np.concatenate(([0.0], np.cumsum(steps)))
    spline = CubicSpline(parameter, closed, bc_type="periodic")
    between = np.linspace(0, 1, per_corner, endpoint=False)
    return np.asarray(spline((parameter[:-1, None] + steps[:, None] * between).ravel()))


def polygon_distance(x: Field, y: Field, corners: Points, margin: float) -> Field:
    """Compute the signed distance (positive inside) to a polygon.

    The distance is exact up to `margin` outside the polygon; further away it is -margin.

    Args:
        x: x of each pixel of the grid, `(height, width)`.
        y: y of each pixel of the grid, `(height, width)`.
        corners: corners of the polygon in order, `(n, 2)`, x before y; the last is joined to the first.
        margin: largest distance outside the polygon that is computed.
    """
    (left, top), (right, bottom) = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    near = (x > left) & (x < right) & (y > top) & (y < bottom)
    result = np.full(x.shape, -margin, np.float32)
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if not rows.size:
        return result
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    x, y = x[box], y[box]
    squared = np.full(x.shape, np.inf, np.float32)
    inside = np.zeros(x.shape, bool)
    for (start_x, start_y), (stop_x, stop_y) in pairwise(np.concatenate((corners, corners[:1])).tolist()):
        step_x, step_y = stop_x - start_x, stop_y - start_y
        from_x, from_y = x - start_x, y - start_y
        along = np.clip((from_x * step_x + from_y * step_y) / (step_x**2 + step_y**2), 0, 1)
        squared = np.minimum(squared, (from_x - along * step_x) ** 2 + (from_y - along * step_y) ** 2)
        if step_y:
            crossed = (y >= min(start_y, stop_y)) & (y < max(start_y, stop_y))
            inside ^= crossed & (from_x < from_y * (step_x / step_y))
    distance = np.sqrt(squared)
    result[box] = np.where(inside, distance, np.maximum(-distance, -margin))
    return result
