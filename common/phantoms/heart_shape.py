"""Outlines of a beating heart in short-axis sections, as distances from the middle of the left ventricle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from common.phantoms.heart_motion import HeartMotion
from numpy.typing import NDArray

Outlines = NDArray[np.float64]
"""Distance in millimetres from the middle of the left ventricle in each frame and direction, `(n_frames, N_ANGLES)`."""

N_ANGLES = 360
ANGLES = np.linspace(0, 2 * math.pi, N_ANGLES, endpoint=False)
"""Directions: 0 is to the right of the image, a quarter turn is down."""

COVERED = 0.90
"""Part of the long axis, from the base on, over which the sections are spread."""


@dataclass(frozen=True)
class Ventricles:
    """Random properties of a heart; lengths in millimetres, directions in radians."""

    length: float
    """Length of the full left ventricle from base to apex."""
    radius: float
    """Radius of the full cavity of the left ventricle at its widest place."""
    wall: float
    ejection_fraction: float
    """Ejection fraction, about that of the volume in the sections; frames need not meet both ends of the beat."""
    septum: float
    """Direction of the right ventricle."""
    right_depth: float
    right_width: float
    right_wall: float
    right_ejection: float
    stiff: tuple[float, float, float]
    """Part of the wall that hardly moves, after an infarct: direction, half its width, lost part of the motion."""
    waves: NDArray[np.float64]
    """Waves of the outlines, `(2, 5)`: amplitude, as a share of the radius, and angle of the orders 2 to 6."""
    drift: tuple[float, float]
    """Shift of the middle of the ventricle from full to empty, right and down."""


@dataclass(frozen=True)
class Section:
    """A section through the heart."""

    depth: float
    """Distance of the section from the base, as a share of the length."""
    cavity: Outlines
    """Inner border of the left ventricle."""
    wall: Outlines
    """Outer border of the left ventricle."""
    right_cavity: Outlines
    """Outer border of the right ventricle's cavity, which begins at `wall`; equal to it where there is none."""
    surface: Outlines
    """Outer border of the right ventricle's wall; equal to `wall` where there is none."""
    area: NDArray[np.float64]
    """Area of the left cavity in square millimetres, `(n_frames,)`."""
    centroid: NDArray[np.float64]
    """Centroid of the left cavity, right and down of the middle in millimetres, `(n_frames, 2)`."""


def random_ventricles(rng: np.random.Generator) -> Ventricles:
    """Draw a healthy, dilated, thickened or infarcted heart with an ejection fraction from 25 to 70 %."""
    fraction = rng.uniform(0.25, 0.70)
    weak = (0.70 - fraction) / 0.45  # weak hearts are wide
    infarct = rng.uniform(0.3, 0.8) * (rng.uniform() < 0.15 + 0.5 * weak)
    return Ventricles(
        length=rng.uniform(76, 98),
        radius=rng.uniform(21.5, 26.5) + 5 * weak * rng.uniform(),
        wall=rng.uniform(7.0, 11.0) - 1.5 * weak,
        ejection_fraction=fraction,
        septum=math.pi + rng.uniform(0.0, 0.75),
        right_depth=rng.uniform(19, 33),
        right_width=rng.uniform(1.1, 1.35),
        right_wall=rng.uniform(2.5, 4.0),
        right_ejection=rng.uniform(0.35, 0.6),
        stiff=(rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.3), infarct),
        waves=np.stack((rng.normal(0, 1, 5) * (0.035, 0.025, 0.015, 0.01, 0.008), rng.uniform(0, 2 * math.pi, 5))),
        drift=(rng.normal(-1.5, 1.5), rng.normal(-1.0, 1.5)),
    )


def heart_sections(heart: Ventricles, motion: HeartMotion, n_slices: int) -> tuple[list[Section], float]:
    """Cut the heart across its long axis, from base to apex, in planes that do not move with it.

    The full left cavity is a truncated half-ellipsoid, its outline a little wavy; its length is 1.25 times the
    half-axis. The wall's area grows in systole as the ventricle becomes shorter, so that its volume is kept; with a
    smaller cavity it gets thicker. Areas are integrals over the outlines, exact for such smooth curves.

    Returns:
        The sections, and their distance in millimetres.
    """
    distance = COVERED * heart.length / n_slices
    depths = (np.arange(n_slices) + 0.5) * distance / heart.length
    half_axis = 0.8
    profile = np.sqrt(1 - ((half_axis - (1 - depths)) / half_axis) ** 2)
    ejected = heart.ejection_fraction * (0.9 + 0.3 * depths)
    ejected *= heart.ejection_fraction * (profile**2).sum() / (ejected * profile**2).sum()
    return [
        _section(heart, motion, *values) for values in zip(depths.tolist(), profile, ejected, strict=True)
    ], distance


def _section(heart: Ventricles, motion: HeartMotion, depth: float, profile: float, ejected: float) -> Section:
    waves = sum(
        share * np.cos(order * ANGLES + turn + 2 * depth) for order, (share, turn) in enumerate(heart.waves.T, 2)
    )
    cavity = heart.radius * profile * (1 + waves)
    wall = cavity + heart.wall * (0.7 + 0.3 * profile) * (1 - 0.5 * waves)
    where, half_width, lost = heart.stiff
    moving = 1 - lost * np.exp(-((_turned(where) / half_width) ** 2))
    moving *= (cavity**2).sum() / (moving * cavity**2).sum()
    contraction = motion.contraction[:, None]
    empty = np.minimum(ejected * moving, 0.9)
    cavities = cavity * np.sqrt(1 - empty * contraction)
    shortening = 0.04 + 0.2 * heart.ejection_fraction
    walls = np.sqrt(cavities**2 + (wall**2 - cavity**2) / (1 - shortening * contraction))
    reach = np.clip(profile * 1.25 - 0.35, 0.05, 1)
    turn = _turned(heart.septum)
    crescent = np.clip(1 - (turn / heart.right_width) ** 2, 0, None) ** 0.65 * (1 + 0.2 * turn)
    depths = heart.right_depth * reach * crescent * (1 - heart.right_ejection * 0.8 * contraction)
    right_wall = heart.right_wall * (1 + 0.35 * contraction) * np.clip(depths / 4, 0, 1)
    area = (cavities**2).sum(1) * (math.pi / N_ANGLES)
    moment = cavities**3 * (2 * math.pi / N_ANGLES / 3)
    centroid = np.stack((moment @ np.cos(ANGLES), moment @ np.sin(ANGLES)), 1) / area[:, None]
    return Section(depth, cavities, walls, walls + depths, walls + depths + right_wall, area, centroid)


def _turned(direction: float) -> NDArray[np.float64]:
    """All directions, counted from this one, from -pi to pi."""
    return (ANGLES - direction + math.pi) % (2 * math.pi) - math.pi
