"""Random axial CT slices of a chest: data for a first run, for tests and for demonstrations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from common.errors import require_at_least
from common.phantoms.canvas import Canvas, Field, ellipse, over, path_distance, resolve
from numpy.typing import NDArray
from scipy import ndimage

FIELD_OF_VIEW = 400.0
"""Side of the square field of view in millimetres."""

MIN_RENDER_SIZE = 256
"""Smaller images are rendered at a multiple of their size, at least this large, and averaged down."""

WINDOW = (-1000.0, 1000.0)
"""Hounsfield units of 0 and of 1."""

HOUNSFIELD: dict[str, float] = {
    "air": -1000, "lung": -855, "bronchus": -970, "fat": -100, "muscle": 55, "blood": 45, "heart": 40, "cortical": 780,
    "cancellous": 190, "marrow": 130, "cartilage": 90, "cord": 30, "shell": -250, "foam": -910, "vessel": 30,
}  # fmt: skip
"""Hounsfield units of each structure, without contrast medium."""


def chest_ct_phantom(seed: int, size: int = 512) -> NDArray[np.float32]:
    """Draw one axial slice through a random chest, lying on the table of a CT scanner.

    Every seed is another chest: size, layers of fat and muscle, level (great vessels up to the heart's chambers),
    lungs with branching vessels and bronchi, ribs, sternum, spine, shoulder blades or none, contrast medium or none,
    texture, point spread and noise. The same seed shows the same chest at every size; only the noise differs.
    Nothing in it is measured data.

    Args:
        seed: non-negative number of the chest.
        size: height and width in pixels, 32 or more; the field of view is 400 mm at every size.

    Returns:
        float32 array `(size, size)`: Hounsfield units of `WINDOW` scaled to [0, 1] and clipped, so that air is 0,
        water 0.5, and a value is ``(HU + 1000) / 2000``. The front of the body is up, its left side to the right.

    Raises:
        ValueError: `size` is below 32 or `seed` is negative.
    """
    require_at_least(32, size=size)  # a smaller one has no anatomy left
    require_at_least(0, seed=seed)
    factor = max(1, math.ceil(MIN_RENDER_SIZE / size))
    rng = np.random.default_rng(seed)
    canvas = Canvas(rng, size * factor, FIELD_OF_VIEW)
    image = _draw_chest(_Chest(rng), canvas)
    image = resolve(image, factor, blur=rng.uniform(0.4, 0.6))
    image += rng.uniform(6, 18) * _scanner_noise(rng, size)
    low, high = WINDOW
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


class _Chest:
    """Random properties of a chest; lengths in millimetres."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.half_width = rng.uniform(118, 138)  # of the rib cage, inside
        self.level = rng.uniform(0, 1)  # 0: great vessels, 1: chambers of the heart
        self.half_height = self.half_width * rng.uniform(0.64, 0.74)
        self.squareness = rng.uniform(2.2, 2.6)
        self.wall = rng.uniform(15, 21)  # from the lung to the skin, without fat
        self.fat = rng.uniform(4, 20)
        self.shift = (rng.normal(0, 4), rng.uniform(-14, -4))
        self.rotation = math.radians(rng.normal(0, 2))
        self.first_rib = rng.uniform(0, 1)  # where along the cage the ribs begin
        self.enhancement = rng.uniform(90, 300) if rng.random() < 0.5 else 0.0  # of blood, in Hounsfield units
        self.emphysema = rng.uniform(0, 60)  # lowers the density of the lung


@dataclass(frozen=True)
class _Frame:
    """Coordinates that move, turn and slightly bend with the body."""

    x: Field  # to the image's right
    y: Field  # to the back
    angle: Field  # around the cage, 0 in front, +-pi at the spine
    out: Field  # outside of the rib cage's inner face, negative in the cavity


def _body_frame(chest: _Chest, canvas: Canvas) -> _Frame:
    sine, cosine = math.sin(chest.rotation), math.cos(chest.rotation)
    right, back = canvas.x - np.float32(chest.shift[0]), canvas.y - np.float32(chest.shift[1])
    x = cosine * right + sine * back + 1.2 * canvas.noise(1, 4)
    y = cosine * back - sine * right + 1.2 * canvas.noise(1, 4)
    angle = np.arctan2(x / chest.half_width, -y / chest.half_height)
    power = chest.squareness
    level = (np.abs(x / chest.half_width) ** power + np.abs(y / chest.half_height) ** power) ** (1 / power)
    radius = np.hypot(x, y)
    out = radius * (1 - 1 / np.maximum(level, 1e-3))
    return _Frame(x, y, angle, out.astype(np.float32))


def _draw_chest(chest: _Chest, canvas: Canvas) -> Field:
    """Hounsfield units of the whole slice before blur and noise."""
    frame = _body_frame(chest, canvas)
    image = _draw_table(chest, canvas)
    image = _draw_wall(chest, canvas, frame, image)
    cavity, mediastinum = _lung_borders(chest, canvas, frame)
    image = over(image, canvas.cover(cavity), HOUNSFIELD["fat"] + 25 + 12 * canvas.noise(10, 60))
    lungs = np.minimum(cavity - 1.0, -mediastinum)
    image = _draw_lungs(chest, canvas, frame, image, lungs)
    image = _draw_mediastinum(chest, canvas, frame, image)
    image = _draw_ribs(chest, canvas, frame, image)
    return _draw_spine(chest, canvas, frame, image)


def _draw_table(chest: _Chest, canvas: Canvas) -> Field:
    """Air, and the table's curved shell filled with foam, a hand's breadth below the body's axis."""
    image = np.full((canvas.size, canvas.size), HOUNSFIELD["air"], np.float32)
    back = chest.half_height + chest.wall + chest.fat + chest.shift[1] + 5.0
    below = canvas.y - np.float32(back) + np.float32(0.0011) * (canvas.x - np.float32(chest.shift[0])) ** 2
    inside = np.minimum(np.minimum(below, 26 - 0.6 * below), 190 - np.abs(canvas.x) - 0.5 * below)
    image = over(image, canvas.cover(inside), HOUNSFIELD["shell"])
    return over(image, canvas.cover(inside - 1.6), HOUNSFIELD["foam"])


def _draw_wall(chest: _Chest, canvas: Canvas, frame: _Frame, image: Field) -> Field:
    """Skin, fat below it, and muscles with fat between them."""
    angle = np.abs(frame.angle)
    side, back = np.exp(-(((angle - 2.1) / 0.5) ** 2)), np.exp(-(((angle - 2.7) / 0.35) ** 2))
    front = np.exp(-(((angle - 0.75) / 0.4) ** 2))
    muscle = chest.wall * (0.8 + 0.35 * front + 0.45 * side + 0.25 * back + 0.06 * canvas.noise(2, 8))
    skin = muscle + chest.fat * (1 + 0.5 * front - 0.35 * back + 0.08 * canvas.noise(1, 5)) + 2.0
    image = over(image, canvas.cover(skin - frame.out), 20.0)
    septa = np.clip(canvas.noise(12, 70) - 1.6, 0, 1) * 60
    image = over(image, canvas.cover(skin - 2.0 - frame.out), HOUNSFIELD["fat"] + 8 * canvas.noise(4, 30) + septa)
    tissue = HOUNSFIELD["muscle"] + 6 * canvas.noise(8, 60)
    image = over(image, canvas.cover(muscle - frame.out), tissue)
    layer = frame.out - muscle * (0.52 + 0.10 * canvas.noise(2, 7))  # the plane between two layers of muscle
    streaks = 0.9 + 0.6 * canvas.noise(3, 14) - np.abs(layer)
    image = over(image, 0.8 * canvas.cover(np.minimum(streaks, muscle - frame.out)), HOUNSFIELD["fat"])
    if chest.level < 0.45:  # shoulder blades
        for sign in (-1.0, 1.0):
            points = [(0.98, 0.62), (0.80, 0.93), (0.60, 1.08)]
            blade = path_distance(
                sign * frame.x / 1.06,
                frame.y / 1.06,
                [(u * chest.half_width, v * chest.half_height) for u, v in points],
            )
            blade = 3.2 + 1.2 * canvas.noise(3, 9) - blade
            blade = np.minimum(blade, frame.out - 5)
            image = over(image, canvas.cover(blade), HOUNSFIELD["cortical"] - 150)
            image = over(image, canvas.cover(blade - 1.6), HOUNSFIELD["marrow"])
    return image


def _lung_borders(chest: _Chest, canvas: Canvas, frame: _Frame) -> tuple[Field, Field]:
    """Signed distances (positive inside) to the cavity within the ribs, and to the space between the lungs."""
    x, y, height = frame.x, frame.y / chest.half_height, chest.half_height
    spine = ellipse(x, frame.y, (0, 0.98 * height), (27, 0.36 * height))
    cavity = np.minimum(-frame.out, -spine)
    waist = 15 + 26 * np.exp(-(((y + 0.05) / 0.42) ** 2)) + 10 * np.clip(y - 0.35, 0, 1)
    waist = waist + 3.0 * canvas.noise(2, 7)
    middle = waist - np.abs(x - 2.0)
    return cavity.astype(np.float32), np.maximum(middle, _heart_shape(chest, frame)).astype(np.float32)


def _heart_shape(chest: _Chest, frame: _Frame) -> Field:
    """Signed distance to the heart with the fat around it; it grows from the great vessels downwards."""
    grown = 0.5 + 0.5 * min(1.0, chest.level / 0.6)
    axes = (0.52 * chest.half_width * grown, 0.50 * chest.half_height * grown)
    return ellipse(frame.x, frame.y, (17 * grown, -0.27 * chest.half_height), axes, 0.45)


def _draw_lungs(chest: _Chest, canvas: Canvas, frame: _Frame, image: Field, lungs: Field) -> Field:
    """Parenchyma, denser towards the back, with fissures, vessels and bronchi."""
    density = HOUNSFIELD["lung"] - chest.emphysema + 38 * frame.y / chest.half_height
    density = density + 9 * canvas.noise(3, 15) + 11 * canvas.noise(20, 60) + 16 * canvas.noise(60, 110)
    image = over(image, canvas.cover(lungs), density)
    rng = canvas.rng
    vessels, bronchi, lumens = (np.zeros_like(image) for _ in range(3))
    for sign in (-1.0, 1.0):
        slope, offset = rng.uniform(0.2, 0.6), rng.uniform(0.0, 0.35) * chest.half_height
        fissure = np.abs(frame.y - offset - slope * (np.abs(frame.x) - 80) + 2.5 * canvas.noise(2, 6))
        image = over(
            image, 0.25 * canvas.cover(np.where(sign * frame.x > 0, 0.5 - fissure, -1)) * canvas.cover(lungs), -500.0
        )
        hilum = (sign * rng.uniform(30, 38), rng.uniform(-2, 10))
        for _ in range(int(rng.integers(34, 46))):
            root = (hilum[0], hilum[1], rng.normal(0, 32))
            heading = (rng.uniform(-1.25, 1.4), float(np.clip(rng.normal(-root[2] / 55, 0.6), -1.3, 1.3)))
            _grow_vessel(canvas, vessels, sign, root, heading, rng.uniform(2.2, 3.8))
        _scatter_vessels(chest, canvas, vessels, bronchi, lumens, sign)
    inside = canvas.cover(lungs)
    blood = HOUNSFIELD["vessel"] + 0.8 * chest.enhancement
    image = over(image, np.minimum(vessels, inside), blood)
    image = over(image, np.minimum(bronchi, inside), -120.0)
    return over(image, np.minimum(lumens, inside), HOUNSFIELD["bronchus"])


def _grow_vessel(
    canvas: Canvas,
    vessels: Field,
    sign: float,
    start: tuple[float, float, float],
    heading: tuple[float, float],
    radius: float,
    order: int = 0,
) -> None:
    """Grow a vessel with all its branches in space, and paint their section by the plane at 0 on the third axis.

    Radii follow Murray's law (the cubes of the branches add up to the cube of the stem).

    Args:
        canvas: canvas that gives coordinates and random numbers.
        vessels: cover of all vessels, in [0, 1], changed in place.
        sign: -1 for branches to the left of the image, 1 to the right.
        start: x, y and height above the plane, in millimetres.
        heading: angle in the plane and angle above it, in radians.
        radius: radius of the vessel in millimetres.
        order: number of divisions so far.
    """
    rng = canvas.rng
    length = radius * rng.uniform(4.5, 8.5)
    flat = length * math.cos(heading[1])
    step = (sign * flat * math.cos(heading[0]), flat * math.sin(heading[0]), length * math.sin(heading[1]))
    parts = (0.0, 0.25, 0.5, 0.75, 1.0)
    points = [(start[0] + part * step[0], start[1] + part * step[1], start[2] + part * step[2]) for part in parts]
    for first, second in pairwise(points):
        half_chord = radius**2 - (0.5 * (first[2] + second[2])) ** 2
        if half_chord > 0:
            _stamp(canvas, vessels, (first[0], first[1]), (second[0], second[1]), math.sqrt(half_chord))
    end = points[-1]
    leaves = abs(end[2]) > 45 or end[2] * heading[1] > 12  # on its way from the plane it will not come back
    if radius < 0.5 or order > 7 or leaves:
        return
    share = rng.uniform(0.25, 0.75)
    turn, tilt = rng.choice([-1.0, 1.0]), rng.uniform(-1, 1)
    for part, side in ((share, turn), (1 - share, -turn)):
        spread = (0.25 + 0.75 * (1 - part)) * rng.uniform(0.5, 1.2) * side
        onward = (heading[0] + spread * (1 - 0.5 * abs(tilt)), heading[1] + spread * tilt)
        _grow_vessel(
            canvas, vessels, sign, (end[0], end[1], end[2]), onward, 0.95 * radius * part ** (1 / 3), order + 1
        )


def _scatter_vessels(chest: _Chest, canvas: Canvas, vessels: Field, bronchi: Field, lumens: Field, sign: float) -> None:
    """Vessels that cross the plane, thick ones near the root of the lung, with a bronchus beside each of those."""
    rng = canvas.rng
    for _ in range(int(rng.integers(110, 160))):
        away, around = rng.uniform(0.02, 1) ** 0.75, rng.uniform(-1.7, 1.7)
        x = sign * (32 + away * 0.72 * chest.half_width * abs(math.cos(around)))
        y = 4 + away * 0.95 * chest.half_height * math.sin(around)
        radius = (0.5 + 3.2 * (1 - away) ** 2) * rng.uniform(0.7, 1.2)
        drift = rng.normal(0, radius, 2)  # few cross it at a right angle
        _stamp(canvas, vessels, (x, y), (x + drift[0], y + drift[1]), radius)
        if radius > 1.1 and rng.random() < 0.4:
            beside = rng.uniform(0, 2 * math.pi)
            reach = 2.1 * radius + 1.0
            at = (x + reach * math.cos(beside), y + reach * math.sin(beside))
            _stamp(canvas, bronchi, at, at, radius + 0.6)
            _stamp(canvas, lumens, at, at, radius * 0.85)


def _stamp(canvas: Canvas, layer: Field, start: tuple[float, float], stop: tuple[float, float], radius: float) -> None:
    """Paint a capsule onto `layer`, the largest cover counts; only the pixels around it are touched."""
    margin = radius + 2 * canvas.unit
    bounds = []
    for first, second in ((start[1], stop[1]), (start[0], stop[0])):
        low = math.floor(((min(first, second) - margin) / canvas.extent + 0.5) * canvas.size)
        high = math.ceil(((max(first, second) + margin) / canvas.extent + 0.5) * canvas.size)
        bounds.append(slice(max(low, 0), max(high, 0)))
    rows, columns = bounds
    end = (stop[0], stop[1] + 1e-3)  # a dot has a direction too
    distance = radius - path_distance(canvas.x[:, columns], canvas.y[rows], [start, end])
    # thinner than a pixel: fainter, not wider
    cover = canvas.cover(distance) * min(1.0, 2 * radius / canvas.unit)
    layer[rows, columns] = np.maximum(layer[rows, columns], cover)


def _draw_mediastinum(chest: _Chest, canvas: Canvas, frame: _Frame, image: Field) -> Field:
    """Heart or great vessels, the descending aorta, gullet, and windpipe or main bronchi."""
    x, y, height = frame.x, frame.y, chest.half_height
    wall = 1.0 * canvas.noise(3, 9)
    texture = 5 * canvas.noise(6, 50)
    blood = HOUNSFIELD["blood"] + chest.enhancement + texture
    aorta = ellipse(x, y, (21, 0.52 * height), (12.5, 12.5)) + 0.4 * wall
    shapes = [(aorta, blood)]
    if chest.level > 0.35:
        heart = _heart_shape(chest, frame) - 4 + wall
        shapes.append((heart, HOUNSFIELD["heart"] + 0.35 * chest.enhancement + texture))
        for centre, axes, share in (
            ((30, -0.18), (20, 13), 1.0),  # left ventricle
            ((2, -0.42), (24, 13), 0.85),  # right ventricle
            ((-16, -0.16), (15, 17), 0.75),  # right atrium
            ((8, 0.06), (21, 11), 0.95),  # left atrium
        ):
            chamber = ellipse(x, y, (centre[0], centre[1] * height), axes, 0.45) + wall
            shapes.append((np.minimum(chamber, heart - 3), HOUNSFIELD["blood"] + share * chest.enhancement + texture))
    else:
        for centre, axes, share in (
            ((-6, -0.34), (16, 16), 1.0),  # ascending aorta
            ((-23, -0.20), (9, 10), 0.8),  # superior vena cava
            ((16, -0.26), (14, 13), 1.1),  # pulmonary trunk
            ((3, -0.02), (34, 8), 1.1),  # its right branch
        ):
            vessel = ellipse(x, y, (centre[0], centre[1] * height), axes, -0.1) + 0.6 * wall
            shapes.append((vessel, HOUNSFIELD["blood"] + share * chest.enhancement + texture))
    shapes.append((ellipse(x, y, (7, 0.36 * height), (7, 5.5)) + 0.5 * wall, 35 + texture))
    for shape, value in shapes:
        image = over(image, canvas.cover(shape), value)
    apart = 4 + 22 * min(1.0, chest.level / 0.5)
    for sign in (-1.0, 1.0):
        airway = ellipse(x, y, (sign * apart - 2, 0.16 * height), (8.5, 6.5), sign * 0.3) + 0.4 * wall
        image = over(image, canvas.cover(airway + 1.3), 20.0)
    for sign in (-1.0, 1.0):
        airway = ellipse(x, y, (sign * apart - 2, 0.16 * height), (8.5, 6.5), sign * 0.3) + 0.4 * wall
        image = over(image, canvas.cover(airway), HOUNSFIELD["bronchus"])
    return image


def _draw_ribs(chest: _Chest, canvas: Canvas, frame: _Frame, image: Field) -> Field:
    """Oblique cuts through the ribs all around the cage, and the breastbone."""
    rng = canvas.rng
    rough = 0.5 * canvas.noise(6, 20)
    trabeculae = 45 * canvas.noise(40, 110)
    around = 0.5 * (chest.half_width + chest.half_height)
    for sign in (-1.0, 1.0):
        angle = 0.42 + 0.3 * chest.first_rib
        while angle < 2.85:
            half_length = rng.uniform(8, 21)
            thickness = rng.uniform(3.6, 5.0)
            along = (sign * frame.angle - angle) * around
            across = frame.out - 6.5 - 0.06 * along
            rib = ellipse(along, across, (0, 0), (half_length, thickness)) + rough
            cartilage = angle < 0.75
            image = over(image, canvas.cover(rib), HOUNSFIELD["cartilage" if cartilage else "cortical"] - 60)
            core = HOUNSFIELD["cartilage" if cartilage else "marrow"] + trabeculae
            image = over(image, canvas.cover(rib - rng.uniform(1.2, 1.7)), core)
            angle += (2 * half_length + rng.uniform(9, 26)) / around
    sternum = ellipse(frame.x, frame.out, (0, 7.5), (rng.uniform(15, 21), 6.0)) + rough
    sternum = np.where(frame.y < 0, sternum, -10)
    image = over(image, canvas.cover(sternum), HOUNSFIELD["cortical"] - 330)
    return over(image, canvas.cover(sternum - 1.4), HOUNSFIELD["marrow"] + trabeculae)


def _draw_spine(chest: _Chest, canvas: Canvas, frame: _Frame, image: Field) -> Field:
    """Vertebral body, arch with its processes, and the canal with the cord."""
    x, y = frame.x, frame.y - 0.80 * chest.half_height
    rough = 0.5 * canvas.noise(6, 20)
    trabeculae = 70 * canvas.noise(30, 110) + 25 * canvas.noise(6, 20)
    bone, core = HOUNSFIELD["cortical"], HOUNSFIELD["cancellous"] + trabeculae
    arch = [path_distance(np.abs(x), y, [(11, 10), (12, 22), (2, 31)])]
    arch.append(path_distance(np.abs(x), y, [(12, 21), (30, 27)]))
    arch.append(path_distance(np.abs(x), y, [(0, 30), (0, 41)]))
    posterior = 4.4 - np.minimum.reduce(arch) + rough
    image = over(image, canvas.cover(posterior), bone - 120)
    image = over(image, canvas.cover(posterior - 1.6), core)
    body = ellipse(x, y, (0, 0), (18, 14)) + rough
    image = over(image, canvas.cover(body), bone - 200)
    image = over(image, canvas.cover(body - 1.3), core)
    canal = ellipse(x, y, (0, 20.5), (9.5, 7.5))
    image = over(image, canvas.cover(canal), HOUNSFIELD["fat"] + 80)
    return over(image, canvas.cover(ellipse(x, y, (0, 20.5), (5.5, 4.5))), HOUNSFIELD["cord"])


def _scanner_noise(rng: np.random.Generator, size: int) -> Field:
    """Noise of unit variance whose power rises with frequency and falls again, as after filtered back-projection."""
    white = rng.standard_normal((size, size), dtype=np.float32)
    noise = ndimage.gaussian_filter(white, 0.6, mode="wrap") - 0.85 * ndimage.gaussian_filter(white, 1.8, mode="wrap")
    return noise / noise.std()
