"""The chest around a phantom's heart in a short-axis section, at rest."""

from __future__ import annotations

import math

import numpy as np
from common.phantoms.canvas import Field, ellipse, path_distance, soft_cover
from common.phantoms.sections import SectionCanvas
from numpy.typing import NDArray

SIGNAL: dict[str, float] = {
    "blood": 0.60, "fat": 0.46, "muscle": 0.13, "myocardium": 0.18, "liver": 0.16, "lung": 0.075, "bone": 0.035,
    "marrow": 0.22, "fluid": 0.60, "vessel": 0.45,
}  # fmt: skip
"""Signal of each tissue in a balanced steady state, as a share of the brightest of a real series."""


class Chest:
    """Random properties of a chest, slim or stout; lengths in millimetres from the middle of the picture."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.axes = (rng.uniform(162, 200), rng.uniform(110, 128))
        self.centre = (rng.uniform(-20, 20), rng.uniform(6, 20))
        self.fat = 9 + 28 * rng.beta(1.5, 2.2)
        self.muscle = rng.uniform(7, 12)
        down = self.centre[1] + self.axes[1] - 0.6 * self.fat
        self.spine = (rng.uniform(-45, -22), down - rng.uniform(46, 54))
        # number of ribs around the chest, and direction of the first
        self.ribs = (float(rng.integers(13, 18)), rng.uniform(0, 2 * math.pi))
        # centre and half-axes of ellipses
        self.liver = (rng.uniform(-95, -65), rng.uniform(48, 74), rng.uniform(78, 105), rng.uniform(50, 68))
        self.stomach = (rng.uniform(35, 75), rng.uniform(75, 105), rng.uniform(22, 40), rng.uniform(14, 28))
        right, down = self.spine
        self.aorta = (right + rng.uniform(27, 36), down - rng.uniform(-6, 6), rng.uniform(9.5, 12.5))  # and radius
        self.signal = {tissue: value * rng.uniform(0.88, 1.12) for tissue, value in SIGNAL.items()}
        # phase of fat against water in radians: near pi, as in the balanced steady state; a mixed pixel is dark
        self.fat_phase = math.pi + rng.normal(0, 0.25)


class _Picture:
    """A section while it is drawn."""

    def __init__(self, chest: Chest, canvas: SectionCanvas) -> None:
        self.chest, self.canvas = chest, canvas
        self.fat = np.complex64(np.exp(1j * chest.fat_phase))
        self.image = np.zeros((canvas.size, canvas.size), np.complex64)

    def paint(self, cover: Field, value: Field | float, *, fat: float = 0.0) -> None:
        """Paint tissue where `cover` is 1, of which the part `fat` is fat."""
        phase = np.complex64(1 + fat * (self.fat - 1)) if fat < 1 else self.fat
        self.image += cover * (phase * value - self.image)


def draw_chest(chest: Chest, canvas: SectionCanvas) -> NDArray[np.complex64]:
    """Skin, fat, muscles, ribs, lungs with vessels, liver, stomach, spine; no heart and no aorta yet."""
    picture = _Picture(chest, canvas)
    inside = _draw_wall(picture)
    _draw_lungs(picture, inside)
    _draw_belly(picture, inside)
    _draw_spine(picture)
    return picture.image


def _draw_wall(picture: _Picture) -> Field:
    """Skin, fat, muscles and ribs; gives the depth within the chest's cavity."""
    chest, canvas, signal = picture.chest, picture.canvas, picture.chest.signal
    x, y = canvas.x, canvas.y
    rough = 2.8 * canvas.noise(1, 4, reach=60) + 0.5 * canvas.noise(5, 16)
    skin = ellipse(x, y, chest.centre, chest.axes) + rough
    around = np.arctan2((y - chest.centre[1]) / chest.axes[1], (x - chest.centre[0]) / chest.axes[0])
    thickness = chest.fat * (1 - 0.25 * np.sin(around) + 0.15 * canvas.noise(1, 5, reach=40))
    mottled = 1 + 0.05 * canvas.noise(3, 12) + 0.03 * canvas.noise(20, 60, reach=5)
    web = soft_cover(0.7 - np.abs(canvas.noise(5, 22, reach=8)) * 12, 0.5) * np.clip(canvas.noise(2, 9), 0, 1)
    picture.paint(canvas.cover(skin), 0.8 * signal["muscle"])
    picture.paint(canvas.cover(skin - 1.8), signal["fat"] * mottled * (1 - 0.35 * web), fat=1.0)
    below = skin - thickness
    fibres = 1 + 0.10 * canvas.noise(4, 20) + 0.06 * canvas.noise(20, 70, reach=4)
    picture.paint(canvas.cover(below), signal["muscle"] * fibres)
    inside = below - chest.muscle * (1 + 0.2 * canvas.noise(2, 8))
    # fat between the layers of muscle, ribs in the innermost
    layer = np.abs(below - 0.35 * chest.muscle + 1.5 * canvas.noise(2, 10))
    picture.paint(soft_cover(0.8 * canvas.noise(3, 12) - layer, 0.5), 0.9 * signal["fat"], fat=1.0)
    count, first = chest.ribs
    between = (around * count / (2 * math.pi) + first + 0.12 * canvas.noise(1, 6)) % 1 - 0.5
    rib = 4.2 - np.hypot((inside + 4.5), between * (2 * math.pi * 100 / count) * 0.5)
    picture.paint(soft_cover(rib, 0.4), signal["bone"])
    picture.paint(soft_cover(rib - 1.4, 0.5), signal["marrow"] * mottled, fat=0.8)
    return inside


def _draw_lungs(picture: _Picture, inside: Field) -> None:
    canvas, signal = picture.canvas, picture.chest.signal
    uneven = 1 + 0.18 * canvas.noise(2, 8) + 0.10 * canvas.noise(20, 70, reach=3)
    picture.paint(canvas.cover(inside), signal["lung"] * uneven)
    # more vessels, and wider ones, towards the middle of the chest
    deep = np.clip(inside / 40, 0, 1)
    dots = np.clip(1.6 * canvas.noise(14, 45, reach=5) - 2.7, 0, 1) * deep
    branches = np.abs(canvas.noise(5, 18, reach=6)) * 14 + 1.2 - 1.6 * np.clip(canvas.noise(3, 10) - 0.5, 0, 1.2)
    picture.paint(soft_cover(inside - 3, 1.0) * dots, signal["vessel"])
    picture.paint(0.7 * deep * soft_cover(-branches, 0.35), signal["vessel"])
    # fat between the heart and the breastbone
    x, y = canvas.x, canvas.y
    pad = ellipse(x, y, (-18, picture.chest.centre[1] - picture.chest.axes[1] + 30), (52, 34)) + 5 * canvas.noise(2, 7)
    pad = np.minimum(pad, inside - 0.5)
    tissue = np.clip(0.9 + 0.25 * canvas.noise(4, 16, reach=6), 0.3, 1.1)
    picture.paint(canvas.cover(pad + 1.2), 0.8 * signal["muscle"])
    picture.paint(canvas.cover(pad), signal["fat"] * tissue, fat=1.0)


def _draw_belly(picture: _Picture, inside: Field) -> None:
    """Draw the organs below the diaphragm: liver with vessels, stomach, and the fat between them."""
    chest, canvas, signal = picture.chest, picture.canvas, picture.chest.signal
    x, y = canvas.x, canvas.y
    right, down, wide, high = chest.liver
    rough = 2.5 * canvas.noise(2, 6, reach=25)
    liver = np.minimum(ellipse(x, y, (right, down - 0.25 * canvas.z), (wide, high)) + rough, inside - 1)
    right, down, wide, high = chest.stomach
    stomach = np.minimum(ellipse(x, y, (right, down - 0.25 * canvas.z), (wide, high)) + rough, inside - 2)
    floor = ellipse(x, y, (-10, 125 - 0.2 * canvas.z), (150, 66)) + rough
    around = np.minimum(np.maximum(np.maximum(liver + 2.5, stomach + 4), floor), inside)
    mottled = 1 + 0.10 * canvas.noise(3, 12)
    picture.paint(canvas.cover(around), signal["fat"] * 0.9 * mottled, fat=1.0)
    grain = 1 + 0.05 * canvas.noise(2, 8) + 0.05 * canvas.noise(20, 70, reach=4)
    picture.paint(canvas.cover(liver), signal["liver"] * grain)
    vessels = soft_cover(2.2 * np.clip(canvas.noise(2, 9) + 0.1, 0, 1) - np.abs(canvas.noise(3, 10)) * 12, 0.5)
    picture.paint(0.8 * vessels * soft_cover(liver - 6, 2.0), signal["vessel"])
    content = signal["muscle"] * np.clip(1.3 + 1.2 * canvas.noise(2, 9), 0.15, 3)
    picture.paint(canvas.cover(stomach), 1.3 * signal["muscle"])
    picture.paint(soft_cover(stomach - 3, 0.6), content)


def _draw_spine(picture: _Picture) -> None:
    chest, canvas, signal = picture.chest, picture.canvas, picture.chest.signal
    x, y = canvas.x, canvas.y
    right, down = chest.spine
    rough = 0.8 * canvas.noise(3, 12)
    fibres = 1 + 0.12 * canvas.noise(4, 20)
    for side in (-1, 1):  # muscles of the back
        muscle = ellipse(x, y, (right + side * 24, down + 31), (20, 15), side * 0.2) + rough
        picture.paint(canvas.cover(muscle + 1.5), 0.9 * signal["fat"], fat=1.0)
        picture.paint(canvas.cover(muscle), signal["muscle"] * fibres)
    process = path_distance(x, y, [(right, down + 24), (right, down + 44)])
    wings = path_distance(x, y, [(right - 24, down + 26), (right, down + 18), (right + 24, down + 26)])
    picture.paint(soft_cover(4.5 - np.minimum(process, wings) + rough, 0.5), signal["bone"])
    picture.paint(soft_cover(3.0 - np.minimum(process, wings) + rough, 0.5), signal["marrow"], fat=0.6)
    body = ellipse(x, y, (right, down), (21, 17)) + rough
    grain = 1 + 0.08 * canvas.noise(3, 12) + 0.08 * canvas.noise(25, 80, reach=4)
    picture.paint(canvas.cover(body + 2), 0.8 * signal["fat"], fat=1.0)
    picture.paint(canvas.cover(body), signal["bone"])
    picture.paint(soft_cover(body - 1.2, 0.5), signal["marrow"] * grain)
    canal = ellipse(x, y, (right, down + 22), (8.5, 6.5))
    picture.paint(canvas.cover(canal + 1.5), signal["bone"])
    picture.paint(canvas.cover(canal), signal["fluid"])
    picture.paint(soft_cover(ellipse(x, y, (right, down + 22), (4.5, 3.2)), 0.4), 1.6 * signal["muscle"])
