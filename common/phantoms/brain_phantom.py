"""Random, anatomically plausible axial brain slices: data for a first run, for tests and for demonstrations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from common.errors import require_at_least
from common.phantoms.canvas import Canvas, Field, ellipse, over, path_distance, resolve, soft_cover
from numpy.typing import NDArray

FIELD_OF_VIEW = 256.0
"""Side of the square field of view in phantom units; one unit is about one millimetre."""

MIN_RENDER_SIZE = 192
"""Smaller images are rendered at a multiple of their size, at least this large, and averaged down."""

CONTRASTS: dict[str, dict[str, float]] = {
    "pd": {"fat": 0.70, "muscle": 0.36, "bone": 0.04, "marrow": 0.22, "csf": 0.74, "grey": 0.57, "white": 0.44,
           "nuclei": 0.52, "pallidum": 0.46, "lesion": 0.74},
    "t1": {"fat": 0.82, "muscle": 0.36, "bone": 0.05, "marrow": 0.45, "csf": 0.14, "grey": 0.41, "white": 0.60,
           "nuclei": 0.46, "pallidum": 0.54, "lesion": 0.28},
    "t2": {"fat": 0.55, "muscle": 0.20, "bone": 0.03, "marrow": 0.25, "csf": 0.92, "grey": 0.48, "white": 0.33,
           "nuclei": 0.40, "pallidum": 0.29, "lesion": 0.72},
}  # fmt: skip
"""Signal of each tissue, relative to the brightest, in three kinds of contrast."""


def brain_phantom(seed: int, size: int = 256, *, phase: bool = True) -> NDArray[np.complex64]:
    """Draw one axial slice through a random head.

    Every seed is another head: size, outline, rotation, level of the slice (basal ganglia up to centrum semiovale),
    cortical folding, ventricles, contrast (PD-, T1- or T2-like), lesions or none, coil shading, texture and noise.
    The same seed shows the same head at every size; only the noise differs.

    The cortex is a ribbon around the outer surface, the interhemispheric and lateral fissures and the level lines of
    a noisy angle field (the sulci), so it folds as a cortex does without any atlas. Nothing in it is measured data.

    Args:
        seed: non-negative number of the head.
        size: height and width in pixels, 32 or more.
        phase: multiply by a smooth phase (second-order polynomial plus slow noise); without it the image is real.

    Returns:
        complex64 array `(size, size)`, magnitude in [0, 1], air close to 0.

    Raises:
        ValueError: `size` is below 32 or `seed` is negative.
    """
    require_at_least(32, size=size)  # a smaller one has no anatomy left
    require_at_least(0, seed=seed)
    factor = max(1, math.ceil(MIN_RENDER_SIZE / size))
    rng = np.random.default_rng(seed)
    canvas = Canvas(rng, size * factor, FIELD_OF_VIEW)
    signal = _draw_head(_Head(rng), canvas)
    signal *= 1 + rng.uniform(0.03, 0.09) * canvas.noise(0.5, 2.1)

    signal = resolve(signal, factor, blur=rng.uniform(0.45, 0.65))
    sigma = rng.uniform(0.003, 0.010)
    noise = sigma * rng.standard_normal((2, size, size), dtype=np.float32)
    signal = np.hypot(signal + noise[0], noise[1])  # Rician, as in a magnitude image
    signal = np.clip(signal / (rng.uniform(1.06, 1.28) * np.quantile(signal, 0.9995)), 0, 1)
    image = signal.astype(np.complex64)
    if phase:
        slow = canvas.quadratic(rng.uniform(-1, 1, 6), 0.8, 0.9) + 0.25 * canvas.noise(1, 3)
        image *= np.exp(1j * resolve(slow, factor)).astype(np.complex64)
    return image


class _Head:
    """Random properties of a head; lengths in phantom units."""

    def __init__(self, rng: np.random.Generator) -> None:
        # 0: basal ganglia and third ventricle, 1: centrum semiovale; rather low, where most of the anatomy is
        self.level = rng.uniform(0, 1) ** 1.3
        self.half_length = rng.uniform(82, 98) * (1 - 0.12 * max(0.0, self.level - 0.5))
        self.half_width = self.half_length / rng.uniform(1.20, 1.42)
        atrophy = rng.beta(1.3, 3.0)
        contrast = CONTRASTS[str(rng.choice(["pd", "t1", "t2"], p=[0.5, 0.25, 0.25]))]
        self.squareness = rng.uniform(2.0, 2.2)
        self.rotation = math.radians(rng.normal(0, 3.5))
        self.shift = (rng.normal(0, 3), rng.normal(0, 4))
        # harmonics of the outline: order, amplitude, phase
        self.outline = [(order, rng.normal(0, 0.009 / order), rng.uniform(0, 2 * math.pi)) for order in range(1, 6)]
        self.scalp = rng.uniform(3.5, 6.5)
        self.skull = rng.uniform(3.8, 5.5)
        self.csf_gap = 0.5 + 2.2 * atrophy
        # height of the air-filled frontal sinus, 0: none
        self.sinus = rng.uniform(6, 13) if self.level < 0.4 and rng.random() < 0.55 else 0.0
        self.ventricles = 0.7 + 1.4 * atrophy + rng.uniform(-0.1, 0.1)  # width relative to a young adult's
        self.cortex = rng.uniform(3.8, 4.9)
        self.sulcus = 0.05 + 0.8 * atrophy  # half the width of a sulcus
        self.folds = int(rng.integers(9, 13))
        self.signal = {tissue: value * rng.uniform(0.92, 1.08) for tissue, value in contrast.items()}
        self.lesions: list[tuple[float, float, float]] = []  # x, y, radius
        n_small = int(rng.integers(2, 9)) if rng.random() < 0.35 else 0
        for radius in [*rng.uniform(1.5, 4.0, n_small), *(rng.uniform(7, 14, 1) if rng.random() < 0.15 else [])]:
            angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 0.68)
            place = reach * self.half_width * math.sin(angle), reach * self.half_length * math.cos(angle)
            self.lesions.append((*place, radius))


def _draw_head(head: _Head, canvas: Canvas) -> Field:
    """Signal of the whole slice before shading, blur and noise."""
    frame = _head_frame(head, canvas)
    shell = _draw_shell(head, canvas, frame)
    return over(shell, canvas.cover(frame.depth + head.csf_gap), _draw_brain(head, canvas, frame))


@dataclass(frozen=True)
class _Frame:
    """Coordinates that turn, move and slightly bend with the head."""

    x: Field  # to the right
    y: Field  # to the back
    angle: Field  # 0: forehead, +-pi: back of the head
    depth: Field  # below the surface of the brain, negative outside

    def of_average_brain(self, head: _Head) -> tuple[Field, Field]:
        """Distance from the midline and position front to back, as in a brain of average width and length."""
        return np.abs(self.x) * (68 / head.half_width), self.y * (92 / head.half_length)


def _head_frame(head: _Head, canvas: Canvas) -> _Frame:
    sine, cosine = math.sin(head.rotation), math.cos(head.rotation)
    right, back = canvas.x - np.float32(head.shift[0]), canvas.y - np.float32(head.shift[1])
    x = cosine * right + sine * back + 1.0 * canvas.noise(1, 4)
    y = cosine * back - sine * right + 1.1 * canvas.noise(1, 4)
    angle = np.arctan2(x, -y)
    return _Frame(x, y, angle, depth=_outline(head, angle) - np.hypot(x, y))


def _outline(head: _Head, angle: Field) -> Field:
    """Distance from the centre of the brain to its surface."""
    power = head.squareness
    ellipse = np.abs(np.sin(angle) / head.half_width) ** power + np.abs(np.cos(angle) / head.half_length) ** power
    egg = 1 - 0.035 * np.cos(angle) - 0.012 * np.cos(3 * angle)  # wider at the back
    for order, amplitude, shift in head.outline:
        egg += amplitude * np.cos(order * angle + shift)
    return ellipse ** (-1 / power) * egg


def _draw_shell(head: _Head, canvas: Canvas, frame: _Frame) -> Field:
    """Skull with its marrow, frontal sinus, muscle, subcutaneous fat, skin, and the air around."""
    signal, angle, out = head.signal, frame.angle, -frame.depth - head.csf_gap
    bumps = canvas.noise(1, 5)
    forehead = np.exp(-((angle / 0.55) ** 2))
    temple = np.exp(-(((np.abs(angle) - 1.15) / 0.40) ** 2)) * (1 - 0.7 * head.level)
    back = np.exp(-(((np.abs(angle) - 2.35) / 0.6) ** 2))
    skull = head.skull * (1 + 0.04 * bumps + 0.15 * back) + head.sinus * forehead
    scalp = head.scalp * (1 + 0.06 * canvas.noise(1, 4) + 0.35 * back - 0.2 * forehead) + 2.5 * temple
    fat = signal["fat"] * (0.82 + 0.04 * canvas.noise(2, 8) + 0.05 * canvas.noise(10, 50)) * (1 - 0.2 * forehead)
    muscle = signal["muscle"] * (1 + 0.10 * canvas.noise(8, 40))
    image = canvas.cover(skull + scalp - out) * signal["fat"] * 0.95  # skin
    image = over(image, canvas.cover(skull + scalp - 1.6 - out), fat)
    image = over(image, canvas.cover(skull + 4.0 * temple - 0.6 - out), muscle)
    image = over(image, canvas.cover(skull - out), signal["bone"])
    marrow = canvas.cover(0.16 * head.skull * (1 + 0.5 * bumps + back) - np.abs(out - 0.55 * skull)) * (1 - forehead)
    image = over(image, marrow, signal["marrow"])
    if head.sinus:
        wall = 0.8 + 0.4 * bumps
        cavity = np.minimum(np.minimum(out - wall, skull - 1.5 - wall - out), 3.0 * (forehead - 0.45) * head.sinus)
        septum = 0.45 - np.abs(frame.x + 0.3 * (out - 0.5 * skull) + 2.0 * bumps)
        image = over(image, canvas.cover(cavity), 0.0)
        image = over(image, canvas.cover(cavity) * canvas.cover(septum), signal["marrow"])
    return image


def _draw_brain(head: _Head, canvas: Canvas, frame: _Frame) -> Field:
    """White matter, cortex around the sulci, fluid, the deep structures and lesions."""
    signal = head.signal
    fine = canvas.noise(20, 70)
    cortex, sulcus, vessels = _cortical_distance(head, canvas, frame)
    myelin = 1 + 0.03 * canvas.noise(2, 6) + 0.02 * canvas.noise(6, 20) + 0.012 * fine
    image = signal["white"] * myelin
    ribbon = head.cortex * (1 + 0.18 * canvas.noise(4, 16))
    blur = 0.8 + 0.25 * np.clip(canvas.noise(3, 10), -2, 2)  # the border of grey and white matter is not sharp
    grey = soft_cover(ribbon - cortex, blur)
    image = over(image, grey, signal["grey"] * (1 + 0.05 * canvas.noise(3, 14) + 0.015 * fine))
    image = _draw_deep_grey(head, canvas, frame, image, fine)
    fluid = signal["csf"] * (1 + 0.05 * canvas.noise(6, 40))
    image = over(image, canvas.cover(sulcus - cortex), fluid)
    image = over(image, vessels, 0.3 * signal["csf"] + 0.02)
    image = _draw_ventricles(head, canvas, frame, image, fluid)
    for centre_x, centre_y, radius in head.lesions:
        blob = radius + 0.25 * radius * canvas.noise(4, 14) - np.hypot(frame.x - centre_x, frame.y - centre_y)
        image = over(image, 0.9 * soft_cover(blob, 0.4 * radius**0.5), signal["lesion"] * myelin)
    return image


def _cortical_distance(head: _Head, canvas: Canvas, frame: _Frame) -> tuple[Field, Field, Field]:
    """Distance to the nearest pial surface, half-width of the sulcus there, and cover of vessels in the fissures."""
    wide, long = head.half_width, head.half_length
    x, y, depth = frame.x, frame.y, frame.depth
    midline = np.abs(x + 1.2 * canvas.noise(2, 7))
    reach = np.clip((head.level - 0.60) / 0.12, 0, 1)  # above the corpus callosum the fissure is one
    front, back = -(0.46 - 0.46 * reach) * long, (0.52 - 0.52 * reach) * long
    fissure = np.hypot(midline, np.maximum(np.minimum(y - front, back - y), 0))
    surface = np.minimum(depth, fissure)

    # sulci: level lines of the angle around each hemisphere's centre, bent by noise, and as deep as noise says
    beside = np.abs(x) - 0.42 * wide
    around = np.arctan2(y / 1.35, beside)
    wave = np.sin(head.folds * around + 1.4 * canvas.noise(2, 7)) + 0.75 * canvas.noise(7, 13)
    line = np.abs(wave) / (canvas.slope(wave) + 1e-3)
    core = np.clip((np.hypot(x / wide, y / long) / (1 - 0.5 * reach) - 0.36) / 0.2, 0, 1)
    core *= np.clip((np.hypot(y / 1.35, beside) / wide - 0.16) / 0.2, 0, 1)
    sulcal_depth = core * np.clip(22 + 6.0 * canvas.noise(2, 7), 5, 34) * (wide / 68)
    sulci = line + np.maximum(surface - sulcal_depth, 0)

    sylvian = np.full_like(depth, np.inf)
    if head.level < 0.6:
        across, along = frame.of_average_brain(head)
        fork = np.minimum(
            path_distance(across, along, [(68, -9), (54, -5.5), (45, -2), (41, 15)]),
            path_distance(across, along, [(45, -2), (43, -20)]),
        )
        sylvian = np.abs(fork + 0.9 * canvas.noise(6, 18))
    cortex = np.minimum(np.minimum(surface, sulci), sylvian)

    opening = 1 + 0.8 * np.exp(-np.maximum(surface, 0) / 4)
    sulcus = head.sulcus * opening * (1 + 0.45 * canvas.noise(3, 10))
    sulcus += np.where(sylvian < 8, 0.8 * head.sulcus + 0.3, 0) + np.where(fissure < 4, 0.4, 0)
    dots = np.clip(canvas.noise(18, 50) - 2.1, 0, 1)
    near = np.exp(-((np.minimum(sylvian, fissure) / 3.0) ** 2))
    return cortex, sulcus.astype(np.float32), dots * near


def _draw_deep_grey(head: _Head, canvas: Canvas, frame: _Frame, image: Field, fine: Field) -> Field:
    """Caudate, putamen, pallidum and thalamus, vanishing towards the higher slices."""
    present = _appear((0.62 - head.level) / 0.2)
    if present == 0:
        return image
    across, along = frame.of_average_brain(head)
    texture = 1 + 0.02 * fine
    for tissue, centre, axes, tilt in (
        ("nuclei", (11.2 + 1.3 * head.ventricles, -26), (5.5, 10.5), 0.25),
        ("nuclei", (26, -9), (5.5, 17), -0.15),
        ("pallidum", (19.5, -6), (4.2, 9.5), -0.35),
        ("nuclei", (10.5, 6), (8.5, 13.5), -0.45),
    ):
        shape = ellipse(across, along, centre, (axes[0] * present, axes[1] * present), tilt)
        image = over(image, soft_cover(shape + 0.7 * canvas.noise(4, 14), 0.8), head.signal[tissue] * texture)
    return image


def _draw_ventricles(head: _Head, canvas: Canvas, frame: _Frame, image: Field, fluid: Field) -> Field:
    """Lateral ventricles (horns or bodies, as the level has it), third ventricle and the cistern behind it."""
    width, level = head.ventricles, head.level
    across, along = frame.of_average_brain(head)
    low, middle = _appear((0.56 - level) / 0.2), _appear(min(level - 0.38, 0.76 - level) / 0.12)
    wall = 0.5 * canvas.noise(5, 16)
    shapes = []
    if low > 0:
        bowed = across - 0.010 * (along + 26) ** 2
        shapes.append(ellipse(bowed, along, (6.5 + width, -26), (2.3 * width * low, 12.5 * low), 0.42))
        bowed = across - 0.010 * (along - 34) ** 2
        shapes.append(ellipse(bowed, along, (19, 33), (3.0 * width * low + 1.0, 12.5 * low), -0.5))
        shapes.append(ellipse(across, along, (0, 3), (1.3 * width * low, 9.5 * low)))
        if level < 0.3:
            shapes.append(ellipse(across, along, (0, 24), (5.5, 7.0)) + 1.2 * canvas.noise(10, 22))
    if middle > 0:
        bowed = across - 0.006 * along**2
        shapes.append(ellipse(bowed, along, (8 + width, -4), (3.4 * width * middle, 30 * middle), 0.05))
    for shape in shapes:
        image = over(image, canvas.cover(shape + wall), fluid)
    if low > 0:  # choroid plexus in the trigones
        plexus = canvas.cover(ellipse(across, along, (19, 32), (1.6 * low, 5.0 * low), -0.5) + 0.8 * wall)
        image = over(image, 0.7 * plexus, head.signal["grey"])
    return image


def _appear(share: float) -> float:
    """Size of a structure at this level of the head: in full, smaller, or (rather than as a speck) not at all."""
    return 0.0 if share < 0.3 else min(1.0, share)
