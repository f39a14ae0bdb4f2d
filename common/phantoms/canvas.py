"""Drawing with anti-aliased shapes and smooth noise on a pixel grid, in units of length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.floating[Any]]


class Canvas:
    """A square pixel grid in units of length, with soft edges on it and smooth noise that is the same at any size.

    Args:
        rng: source of the noise.
        size: pixels per side.
        extent: length of a side in units; the origin is in the middle.
    """

    def __init__(self, rng: np.random.Generator, size: int, extent: float) -> None:
        self.rng = rng
        self.size = size
        self.extent = extent
        self.unit = extent / size
        axis = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * np.float32(extent)
        self.y, self.x = axis[:, None], axis[None, :]

    def noise(self, low: float, high: float) -> Field:
        """Noise of unit variance with `low` to `high` cycles per side, drawn as Fourier coefficients.

        Raises:
            ValueError: the grid is too coarse for `high` cycles.
        """
        if 2 * high >= self.size:
            raise ValueError(f"a canvas of {self.size} pixels holds fewer than {self.size / 2} cycles, got {high}")
        top = math.ceil(high)
        rows, columns = np.arange(-top, top + 1), np.arange(top + 1)
        frequency = np.hypot(rows[:, None], columns[None, :])
        draws = self.rng.standard_normal((2, *frequency.shape))
        inside = (frequency >= low) & (frequency <= high)
        return self._from_coefficients((draws[0] + 1j * draws[1]) * inside)

    def _from_coefficients(self, coefficients: NDArray[np.complexfloating[Any]]) -> Field:
        """Noise of unit variance from its Fourier coefficients, ``(2 top + 1, top + 1)`` around frequency 0."""
        top = coefficients.shape[1] - 1
        spectrum = np.zeros((self.size, self.size // 2 + 1), np.complex64)
        spectrum[np.ix_(np.arange(-top, top + 1), np.arange(top + 1))] = coefficients
        result = np.fft.irfft2(spectrum, s=(self.size, self.size)).astype(np.float32)
        return result / result.std()

    def quadratic(self, coefficients: Iterable[float], linear: float, square: float) -> Field:
        """Polynomial of second order in x and y from -1 to 1, with a constant up to pi.

        Args:
            coefficients: those of 1, x, y, x^2, x y and y^2, each in [-1, 1].
            linear: factor of the linear terms.
            square: factor of the terms of second order.
        """
        x, y = self.x * (2 / self.extent), self.y * (2 / self.extent)
        offset, right, down, xx, xy, yy = coefficients
        return math.pi * offset + linear * (right * x + down * y) + square * (xx * x * x + xy * x * y + yy * y * y)

    def shading(self, background: float, coils: Sequence[tuple[float, float, float]], reach: float) -> Field:
        """Sensitivity of surface coils, given as (x, y, strength), which falls to a third within `reach`."""
        shading = np.full((self.size, self.size), background, np.float32)
        for x, y, strength in coils:
            shading += strength / (1 + ((self.x - x) ** 2 + (self.y - y) ** 2) / reach**2) ** 1.5
        return shading

    def cover(self, distance: Field) -> Field:
        """Part of each pixel inside a shape, from the signed distance to its edge (positive inside)."""
        return np.clip(distance / self.unit + 0.5, 0, 1)

    def slope(self, values: Field) -> Field:
        """Length of the gradient per unit."""
        down, right = np.gradient(values, self.unit)
        return np.hypot(down, right)


def ellipse(x: Field, y: Field, centre: tuple[float, float], axes: tuple[float, float], tilt: float = 0.0) -> Field:
    """Signed distance (positive inside, exact along the short axis) to a tilted ellipse."""
    sine, cosine = math.sin(tilt), math.cos(tilt)
    right, back = x - centre[0], y - centre[1]
    first, second = (cosine * right + sine * back) / axes[0], (cosine * back - sine * right) / axes[1]
    return ((1 - np.hypot(first, second)) * min(axes)).astype(np.float32)


def path_distance(x: Field, y: Field, points: Sequence[tuple[float, float]]) -> Field:
    """Distance to the polyline through `points`."""
    distances = []
    for (start_x, start_y), (stop_x, stop_y) in pairwise(points):
        step_x, step_y = stop_x - start_x, stop_y - start_y
        along = np.clip(((x - start_x) * step_x + (y - start_y) * step_y) / (step_x**2 + step_y**2), 0, 1)
        distances.append(np.hypot(x - start_x - along * step_x, y - start_y - along * step_y))
    return np.minimum.reduce(distances)


def soft_cover(distance: Field, width: Field | float) -> Field:
    """Cover of a shape with a soft border: the logistic function of the signed distance."""
    return 0.5 + 0.5 * np.tanh(0.5 * distance / width)


def over(image: Field, cover: Field, value: Field | float) -> Field:
    """`value` painted over `image` where `cover` is 1."""
    return image + cover * (value - image)


def resolve(image: Field, factor: int, blur: float = 0.0) -> Field:
    """Average blocks of the rendering grid down to pixels, after the point spread of the scanner (sigma in pixels)."""
    if blur:
        image = ndimage.gaussian_filter(image, blur * factor)
    if factor == 1:
        return image
    size = image.shape[0] // factor
    return image.reshape(size, factor, size, factor).mean(axis=(1, 3))
