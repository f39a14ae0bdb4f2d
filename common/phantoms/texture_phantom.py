"""Random grey textures of sixteen classes: what a network learns features from where there are no photographs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from common.errors import require_at_least
from common.phantoms.canvas import Field, path_distance
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.spatial import cKDTree


def texture_phantom(seed: int, texture: str, size: int = 128) -> NDArray[np.float32]:
    """Draw one texture of a class, of random scale, direction and shape.

    Brightness, contrast and sign are drawn alike for all classes, and a slow shading and some noise are added, so that
    neither the mean nor the contrast tells the class. Lengths are in pixels and do not grow with ``size``. Nothing in
    it is measured data.

    Args:
        seed: non-negative number of the texture.
        texture: class, one of ``TEXTURES``.
        size: height and width in pixels, 16 or more.

    Returns:
        float32 ``(size, size)``, in [0, 1].

    Raises:
        ValueError: for an unknown class, or a number out of range.
    """
    if texture not in TEXTURES:
        raise ValueError(f"texture must be one of {', '.join(TEXTURES)}, got {texture!r}")
    require_at_least(0, seed=seed)
    require_at_least(16, size=size)
    rng = np.random.default_rng((seed, TEXTURES.index(texture)))
    pattern = _DRAWN[texture](rng, size)
    pattern = (pattern - pattern.mean()) / pattern.std()
    contrast = _between(rng, 0.06, 0.22) * rng.choice((-1, 1))
    image = rng.uniform(0.3, 0.7) + contrast * np.clip(pattern, -3, 3)
    image += rng.uniform(0, 0.06) * _noise(rng, size, _low_pass(2.0 * size))
    image += _between(rng, 0.002, 0.02) * rng.standard_normal((size, size))
    return np.clip(image, 0, 1).astype(np.float32)


# -- noise -----------------------------------------------------------------------------------------------------------


def _noise_fine(rng: np.random.Generator, size: int) -> Field:
    """Nearly white: amplitude f^-0 to f^-0.5."""
    return _noise(rng, size, _power_law(rng.uniform(0, 0.5)))


def _noise_cloud(rng: np.random.Generator, size: int) -> Field:
    """Amplitude f^-1.1 to f^-1.7, as clouds and most photographs have."""
    return _noise(rng, size, _power_law(rng.uniform(1.1, 1.7)))


def _noise_band(rng: np.random.Generator, size: int) -> Field:
    """Spots of one scale in all directions."""
    frequency, width = 1 / _between(rng, 4, 14), rng.uniform(0.08, 0.25)
    return _noise(rng, size, lambda y, x: np.exp(-0.5 * ((np.hypot(y, x) - frequency) / (width * frequency)) ** 2))


def _noise_streaks(rng: np.random.Generator, size: int) -> Field:
    """Noise smoothed along one direction, as brushed metal."""
    angle, width = rng.uniform(0, np.pi), _between(rng, 0.5, 1.5)
    length = width * rng.uniform(6, 14)

    def gain(y: Field, x: Field) -> Field:
        along, across = _turned(y, x, angle)
        return np.exp(-2 * np.pi**2 * ((length * along) ** 2 + (width * across) ** 2))

    return _noise(rng, size, gain)


def _speckle(rng: np.random.Generator, size: int) -> Field:
    """Fully developed speckle: the magnitude, or its logarithm, of smooth complex noise."""
    gain = _low_pass(_between(rng, 2.5, 8))
    magnitude = np.hypot(_noise(rng, size, gain), _noise(rng, size, gain))
    return np.log(magnitude + 0.1) if rng.random() < 0.5 else magnitude


# -- waves -----------------------------------------------------------------------------------------------------------


def _grating_sine(rng: np.random.Generator, size: int) -> Field:
    period = _between(rng, 4, 18)
    _, x = _turned(*_bent(rng, size, rng.uniform(0, 0.15) * period, 6 * period), rng.uniform(0, np.pi))
    return np.cos(2 * np.pi * x / period)


def _grating_square(rng: np.random.Generator, size: int) -> Field:
    """Bars with sharp edges."""
    period, share = _between(rng, 5, 18), rng.uniform(0.3, 0.7)
    _, x = _turned(*_bent(rng, size, rng.uniform(0, 0.1) * period, 6 * period), rng.uniform(0, np.pi))
    return np.clip(period * (share / 2 - np.abs(x / period % 1 - 0.5)) + 0.5, 0, 1)


def _lattice(rng: np.random.Generator, size: int) -> Field:
    """Two waves at right angles, or three at 60 degrees."""
    period, n_waves, angle = _between(rng, 5, 18), int(rng.integers(2, 4)), rng.uniform(0, np.pi)
    y, x = _bent(rng, size, rng.uniform(0, 0.1) * period, 6 * period)
    waves = [np.cos(2 * np.pi * _turned(y, x, angle + n * np.pi / n_waves)[1] / period) for n in range(n_waves)]
    return np.sum(waves, axis=0)


def _checker(rng: np.random.Generator, size: int) -> Field:
    """Squares of two greys with sharp edges, in rows and columns of uneven width."""
    period = _between(rng, 8, 28)
    y, x = _turned(*_places(rng, size), rng.uniform(0, np.pi))
    stripes = []
    for axis in (y, x):
        bend = rng.uniform(0, 0.12) * period * np.sin(2 * np.pi * (axis / rng.uniform(2.5, 4) / period + rng.random()))
        stripes.append(np.clip(2 * period * (0.25 - np.abs((axis + bend) / period % 1 - 0.5)), -1, 1))
    return stripes[0] * stripes[1]


def _marble(rng: np.random.Generator, size: int) -> Field:
    """Bands that strong turbulence has bent."""
    period = _between(rng, 10, 24)
    _, x = _turned(*_places(rng, size), rng.uniform(0, np.pi))
    turbulence = _noise(rng, size, _power_law(rng.uniform(1.9, 2.5), longest=5 * period))
    return np.abs(np.cos(np.pi * (x / period + rng.uniform(0.5, 0.9) * turbulence))) ** rng.uniform(0.6, 1)


# -- shapes ----------------------------------------------------------------------------------------------------------


def _cells(rng: np.random.Generator, size: int) -> Field:
    """Polygons of different greys (Voronoi cells)."""
    spacing = _between(rng, 6, 18)
    near = _nearest_points(rng, *_bent(rng, size, 0.05 * spacing, 2 * spacing), spacing, jitter=0.5)
    grey = rng.standard_normal(near.n_points)
    return grey[near.first] + np.clip(0.5 - near.wall, 0, 0.5) * (grey[near.second] - grey[near.first])


def _cell_walls(rng: np.random.Generator, size: int) -> Field:
    """Walls between polygons, as in foam."""
    spacing = _between(rng, 7, 20)
    near = _nearest_points(rng, *_bent(rng, size, 0.05 * spacing, 2 * spacing), spacing, jitter=rng.uniform(0.25, 0.5))
    return np.clip(_between(rng, 0.5, 0.09 * spacing) + 0.5 - near.wall, 0, 1)


def _grains(rng: np.random.Generator, size: int) -> Field:
    """Round or oblong grains of similar greys that lie apart."""
    spacing, stretch = _between(rng, 6, 18), rng.uniform(1, 1.8)
    y, x = _turned(*_bent(rng, size, rng.uniform(0, 0.08) * spacing, spacing), rng.uniform(0, np.pi))
    near = _nearest_points(rng, y, x / stretch, spacing, jitter=0.3)
    radius = spacing * rng.uniform(0.18, 0.42, near.n_points) * (rng.random(near.n_points) > 0.1)
    grey = 1 + rng.uniform(0, 0.25) * rng.standard_normal(near.n_points)
    return grey[near.first] * np.clip(np.minimum(radius[near.first] - near.distance, near.wall) + 0.5, 0, 1)


def _rings(rng: np.random.Generator, size: int) -> Field:
    """Rings around scattered centres, as of agate or scales."""
    period = _between(rng, 4, 9)
    spacing = period * rng.uniform(4, 6)
    near = _nearest_points(rng, *_bent(rng, size, 0.25 * period, 6 * period), spacing, jitter=0.4)
    return np.cos(2 * np.pi * (near.distance / period + rng.random(near.n_points)[near.first]))


def _fibres_aligned(rng: np.random.Generator, size: int) -> Field:
    return _fibres(rng, size, rng.uniform(0.05, 0.15))


def _fibres_tangled(rng: np.random.Generator, size: int) -> Field:
    return _fibres(rng, size, np.pi / 2)


def _fibres(rng: np.random.Generator, size: int, spread: float) -> Field:
    """Bent threads over one another, within ``spread`` radians of one direction."""
    width, main = _between(rng, 1, 2.5), rng.uniform(0, np.pi)
    y, x = _bent(rng, size, rng.uniform(0.5, 2) * width, 24 * width)
    length = rng.uniform(20, 40) * width
    corner = np.array([y.min(), x.min()])
    n_fibres = math.ceil((size + length) ** 2 / (length * width * rng.uniform(2.5, 5)))
    image = np.zeros((size, size), np.float32)
    for _ in range(n_fibres):
        angle = main + rng.uniform(-spread, spread)
        middle = corner + rng.uniform(-length / 2, size + length / 2, 2)
        half = length / 2 * np.array([np.sin(angle), np.cos(angle)])
        ends = [(end[1], end[0]) for end in (middle - half, middle + half)]
        distance = path_distance(x, y, ends) / width
        height = rng.uniform(0.5, 1)
        image = np.maximum(image, height * np.clip(1.25 - distance**2, 0, 1), dtype=np.float32)
    return image


# -- what they are made of -------------------------------------------------------------------------------------------


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(low * (high / low) ** rng.random())


def _noise(rng: np.random.Generator, size: int, gain: Callable[[Field, Field], Field]) -> Field:
    """Gaussian noise of unit variance with the amplitude ``gain(y, x)`` at frequencies in cycles per pixel."""
    side = next_fast_len(size + 48)  # more than is shown: its opposite borders meet
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    spectrum *= gain(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(side, side))
    return noise[:size, :size] / noise.std()


def _low_pass(length: float) -> Callable[[Field, Field], Field]:
    """Gain of a smoothing by a Gaussian, whose amplitude is ``exp(-pi / 4)`` at ``length`` pixels a cycle."""
    return lambda y, x: np.exp(-0.25 * np.pi * length**2 * (y**2 + x**2))


def _power_law(exponent: float, longest: float = np.inf) -> Callable[[Field, Field], Field]:
    """Gain f^-exponent, and nothing beyond ``longest`` pixels a cycle."""

    def gain(y: Field, x: Field) -> Field:
        frequency = np.hypot(y, x)
        return np.where(frequency >= 1 / longest, np.maximum(frequency, 1e-9) ** -exponent, 0)

    return gain


def _places(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Row and column of each pixel, counted from a random origin."""
    y, x = np.indices((size, size)) + rng.uniform(0, 100, (2, 1, 1))
    return y, x


def _bent(rng: np.random.Generator, size: int, amplitude: float, length: float) -> tuple[Field, Field]:
    """:func:`_places`, shifted by slow noise of ``amplitude`` pixels."""
    y, x = _places(rng, size)
    gain = _low_pass(length)
    return y + amplitude * _noise(rng, size, gain), x + amplitude * _noise(rng, size, gain)


def _turned(y: Field, x: Field, angle: float) -> tuple[Field, Field]:
    """Coordinates in axes turned by ``angle``."""
    return np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x


class _Near(NamedTuple):
    """Each pixel's two nearest points and its distances, in pixels."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    distance: Field
    """To the first."""
    wall: Field
    """To the points that are as far from the second as from the first."""
    n_points: int


def _nearest_points(rng: np.random.Generator, y: Field, x: Field, spacing: float, jitter: float) -> _Near:
    """Points ``spacing`` apart, each moved by up to ``jitter`` of that, around the places ``(y, x)``."""
    rows, columns = (np.arange(axis.min() - 2 * spacing, axis.max() + 2 * spacing, spacing) for axis in (y, x))
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    points[1::2, :, 1] += spacing / 2
    points = points.reshape(-1, 2) + spacing * rng.uniform(-jitter, jitter, (len(rows) * len(columns), 2))
    distances, owners = cKDTree(points).query(np.stack((y, x), axis=-1), k=2)
    first, second = owners[..., 0], owners[..., 1]
    apart = np.maximum(np.linalg.norm(points[first] - points[second], axis=-1), 1e-6)
    wall = (distances[..., 1] ** 2 - distances[..., 0] ** 2) / (2 * apart)
    return _Near(first, second, distances[..., 0], wall, len(points))


_DRAWN: dict[str, Callable[[np.random.Generator, int], Field]] = {
    "cell_walls": _cell_walls,
    "cells": _cells,
    "checker": _checker,
    "fibres_aligned": _fibres_aligned,
    "fibres_tangled": _fibres_tangled,
    "grains": _grains,
    "grating_sine": _grating_sine,
    "grating_square": _grating_square,
    "lattice": _lattice,
    "marble": _marble,
    "noise_band": _noise_band,
    "noise_cloud": _noise_cloud,
    "noise_fine": _noise_fine,
    "noise_streaks": _noise_streaks,
    "rings": _rings,
    "speckle": _speckle,
}
TEXTURES = tuple(_DRAWN)
"""Names of the classes, in order."""
