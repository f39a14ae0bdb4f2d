"""Motion of a phantom's heart in time: beats and breath."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Frames = NDArray[np.float64]
"""A value for each frame, `(n_frames,)`."""

BREATH = 7.0
"""Largest shift of the diaphragm to either side within the plane, in millimetres."""


@dataclass(frozen=True)
class HeartMotion:
    """Motion of a heart and of its diaphragm in each frame."""

    frame_interval: float
    """Seconds from frame to frame."""
    contraction: Frames
    """0 where the ventricle is fullest, 1 where it is emptiest."""
    outflow: Frames
    """Speed of `contraction`, about -1 to 1: above 0 blood leaves, below 0 it flows in."""
    breath: Frames
    """Height of the diaphragm above its rest position, in millimetres."""


def random_motion(rng: np.random.Generator, n_frames: int) -> HeartMotion:
    """Draw the beats of one heart at a random rate from a random moment on, with or without breathing.

    The frames span 1.0 to 1.35 beats of 0.6 to 1.15 s, and the beats differ by a few percent. In each, the blood is
    expelled fast, flows in fast, then slowly (diastasis) and, at the end, by the contraction of the atria. Systole
    takes the square root of the beat's length times 0.36 s (Bazett's form), so a fast heart loses diastole.
    """
    beat = rng.uniform(0.6, 1.15)
    window = rng.uniform(1.0, 1.35) * beat
    interval = window / n_frames
    time = np.arange(n_frames) * interval
    systole = 0.36 * math.sqrt(beat) * rng.uniform(0.93, 1.07) / beat
    starts = -rng.uniform(0, 1) * beat + np.concatenate(([0.0], np.cumsum(beat * rng.normal(1, 0.03, 4))))
    number = np.searchsorted(starts, time, side="right") - 1
    phase = (time - starts[number]) / np.diff(starts)[number]
    curve = _contraction(systole, filling=rng.uniform(0.62, 0.8), kick=rng.uniform(0.12, 0.28))
    speed = curve.derivative()(phase)
    fastest = np.abs(curve.derivative()(np.linspace(0, 1, 200))).max()
    period, turn = rng.uniform(3.0, 5.5), rng.uniform(0, 2 * math.pi)
    amplitude = BREATH * rng.uniform(0.2, 1.0) * (rng.uniform() < 0.75)
    breath = amplitude * np.cos(2 * math.pi * time / period + turn)
    return HeartMotion(interval, np.clip(curve(phase), 0, 1), speed / fastest, breath)


def _contraction(systole: float, filling: float, kick: float) -> PchipInterpolator:
    """Contraction over the phase of a beat, from 0 (the ventricle begins to contract) to 1.

    Args:
        systole: length of systole, as a share of the beat.
        filling: part of the blood that flows in early, in [0, 1].
        kick: part of the blood that the atria press in at the end, in [0, 1].
    """
    diastole = 1 - systole
    knots = [
        (0.0, 0.0), (0.13 * systole, 0.02), (0.42 * systole, 0.55), (0.72 * systole, 0.93), (systole, 1.0),
        (systole + 0.10 * diastole, 0.97), (systole + 0.42 * diastole, 1 - filling),
        (systole + 0.76 * diastole, min(kick + 0.02, 1 - filling)), (systole + 0.95 * diastole, 0.01), (1.0, 0.0),
    ]  # fmt: skip
    return PchipInterpolator(*zip(*knots, strict=True))
