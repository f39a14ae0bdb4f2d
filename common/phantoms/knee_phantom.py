"""Random sagittal sections through a knee in fat-suppressed MRI: complex images for a first run and for tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from common.errors import require_at_least
from common.phantoms import knee_anatomy as anatomy
from common.phantoms.canvas import Field, ellipse, path_distance, resolve, soft_cover
from common.phantoms.knee_anatomy import Outline
from common.phantoms.sections import Points, SectionCanvas, polygon_distance, smooth_outline
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

FIELD_OF_VIEW = 160.0
"""Side of the square field of view in millimetres."""

SLICE_DISTANCE = 3.0
"""Millimetres between neighbouring sections, or less where so many would leave the joint."""

REACH = 22.0
"""Sections lie within so many millimetres of the middle of the joint."""

MIN_RENDER_SIZE = 256
"""Smaller images are rendered at a multiple of their size, at least this large, and averaged down."""

SIGNAL: dict[str, float] = {
    "fluid": 1.0, "cartilage": 0.46, "muscle": 0.31, "fat": 0.170, "skin_fat": 0.22, "marrow": 0.088, "cortex": 0.022,
    "tendon": 0.035, "meniscus": 0.07, "ligament": 0.10, "capsule": 0.24, "lumen": 0.03,
}  # fmt: skip
"""Signal of each tissue without shading, relative to fluid."""


def knee_phantom(seed: int, size: int = 256, *, n_slices: int = 5) -> NDArray[np.complex64]:
    """Draw neighbouring sagittal sections through a random knee, without noise.

    Every seed is another knee: size, bend, place of the sections between the two condyles, muscles, effusion, signals,
    texture, shading by surface coils and phase. Fat is suppressed but not gone and lies off resonance, so that the
    phase jumps where it borders water. All that varies from point to point varies slowly from section to section. The
    same seed shows the same knee at every size. No pixel of it is measured data.

    The outlines follow a few real fat-suppressed proton density slices by eye (:mod:`common.phantoms.knee_anatomy`).
    Signals, shading and texture were set by hand until these statistics came near those of 125 such slices
    (single-coil, 256 x 256, from mridata.org), as shares of a volume's maximum: quantiles 0.5, 0.8, 0.95 and 0.99 of
    0.12, 0.26, 0.41 and 0.53; energy of a sample of k-space at radius 12, 40 and 88 of 10^-4.1, 10^-5.6 and 10^-6.6 of
    the total; a median step of phase of 0.04 rad from pixel to pixel in tissue. The real slices hold noise, which here
    :func:`common.phantoms.knee_set.knee_kspace` adds; their phase was folded into a quarter of the circle, so its slow
    course is not after them.

    Args:
        seed: non-negative number of the knee.
        size: height and width in pixels, 32 or more; the field of view is 160 mm at every size.
        n_slices: number of sections, 3 mm apart, or closer if there are more than 14, to stay within the joint.

    Returns:
        complex64 array `(n_slices, size, size)`, largest magnitude 1, air 0. The front of the knee is to the left.

    Raises:
        ValueError: `size` is below 32, `n_slices` below 1 or `seed` negative.
    """
    require_at_least(32, size=size)  # a smaller one has no anatomy left
    require_at_least(1, n_slices=n_slices)
    require_at_least(0, seed=seed)
    factor = max(1, math.ceil(MIN_RENDER_SIZE / size))
    rng = np.random.default_rng(seed)
    knee = _Knee(rng)
    texture_seed = int(rng.integers(2**63))
    distance = min(SLICE_DISTANCE, 2 * REACH / n_slices)
    half = distance * (n_slices - 1) / 2
    middle = (REACH - half) * knee.place
    image = np.empty((n_slices, size, size), np.complex64)
    for index in range(n_slices):
        z = middle + distance * index - half
        canvas = SectionCanvas(np.random.default_rng(texture_seed), size * factor, FIELD_OF_VIEW, z)
        image[index] = resolve(_draw_section(knee, canvas), factor, blur=knee.blur)
    return image / np.abs(image).max()


class _Knee:
    """Random properties of a knee; lengths in millimetres."""

    def __init__(self, rng: np.random.Generator) -> None:
        front, back = rng.uniform(0.6, 1.5), rng.uniform(0.4, 0.9)
        self.place = rng.uniform(-0.8, 0.8)  # position of the middle section between the condyles, -1 to 1
        self.scale = rng.uniform(0.93, 1.07)
        self.rotation = math.radians(rng.normal(0, 2.5))
        self.shift = (rng.normal(0, 3), rng.normal(0, 4))
        self.bend_above = rng.normal(0, 0.06)  # tangents of the angles of thigh and lower leg
        self.bend_below = rng.normal(0.02, 0.07)
        self.notch = rng.uniform(12, 16)  # half the distance over which the notch changes into a condyle
        self.patella = (rng.normal(0, 0.8), rng.normal(0, 3.5))  # shift of the patella
        # extent of gastrocnemius, hamstring and quadriceps, relative to usual
        self.muscles = (rng.uniform(-9, 14), rng.uniform(-26, 8), rng.uniform(-22, 10))
        self.septa = rng.uniform(9, 14)  # distance between septa in muscles
        self.fat = rng.uniform(3, 7)  # thickness of the fat under the skin
        self.effusion = 0.6 + 2.4 * rng.beta(1.2, 3.0)
        self.artery = rng.uniform(-10, 10)  # z where artery and vein run
        self.cartilage = rng.uniform(0.75, 1.15)
        self.signal = {tissue: value * rng.uniform(0.88, 1.12) for tissue, value in SIGNAL.items()}
        self.coils = [  # x, y, strength
            (-74 + rng.normal(0, 4), 38 + rng.normal(0, 8), front),
            (-82 + rng.normal(0, 4), -38 + rng.normal(0, 8), 0.8 * front),
            (80 + rng.normal(0, 4), 62 + rng.normal(0, 10), back),
            (84 + rng.normal(0, 4), -28 + rng.normal(0, 10), 0.45 * back),
        ]
        self.fat_phase = float(rng.choice([-1, 1])) * rng.uniform(0.3, 0.9)
        self.phase: list[float] = rng.uniform(-1, 1, 6).tolist()
        self.mottle = 0.07 + 0.25 * rng.beta(1, 4)  # uneven marrow
        self.blur = rng.uniform(0.42, 0.6)


class _Section:
    """One section while it is drawn: coordinates that move, turn and bend with the knee, and the picture so far."""

    def __init__(self, knee: _Knee, canvas: SectionCanvas) -> None:
        self.knee, self.canvas = knee, canvas
        self.condyle = 1 - math.exp(-((canvas.z / knee.notch) ** 4))  # 0: between the condyles, 1: within one
        sine, cosine = math.sin(knee.rotation), math.cos(knee.rotation)
        right, down = (canvas.x - knee.shift[0]) / knee.scale, (canvas.y - knee.shift[1]) / knee.scale
        x = cosine * right + sine * down + 0.9 * canvas.noise(1, 4, reach=30)
        self.y: Field = cosine * down - sine * right + 0.9 * canvas.noise(1, 4, reach=30)
        above, below = np.maximum(-self.y - 5, 0), np.maximum(self.y - 15, 0)
        self.x: Field = x - knee.bend_above * above - knee.bend_below * below
        self.image = np.zeros(x.shape, np.complex64)

    def paint(self, cover: Field, value: Field | float, *, fat: float = 0.0) -> None:
        """Paint tissue where `cover` is 1; `fat` of its signal is off resonance."""
        phase = np.complex64(1 + fat * (np.exp(1j * self.knee.fat_phase) - 1))
        self.image += cover * (phase * value - self.image)

    def between(self, outlines: tuple[Outline, Outline]) -> Points:
        """An outline at this section."""
        notch, condyle = (np.asarray(outline, np.float64) for outline in outlines)
        return notch + self.condyle * (condyle - notch)

    def inside(self, outline: Points | Outline, margin: float = 4.0, *, smooth: bool = True) -> Field:
        """Signed distance to an outline, positive inside, in millimetres."""
        corners = smooth_outline(outline) if smooth else np.asarray(outline, np.float64)
        return polygon_distance(self.x, self.y, corners, margin)

    def along(self, path: Outline, half_width: Field | float) -> Field:
        """Signed distance to the border of a band around a path, positive inside."""
        return half_width - path_distance(self.x, self.y, path)

    def lines(self, noise: Field, half_width: Field | float) -> Field:
        """Cover of thin lines where `noise` is 0, with the pixel's width at least."""
        canvas = self.canvas
        return canvas.cover(half_width - np.abs(noise) / (canvas.slope(noise) + 0.02))


def _draw_section(knee: _Knee, canvas: SectionCanvas) -> NDArray[Any]:
    """Complex signal of one section before blur."""
    section = _Section(knee, canvas)
    skin = _draw_fat(section)
    _draw_muscles(section, skin)
    _draw_vessels(section)
    _draw_soft_tissue_of_joint(section)
    _draw_bones(section)
    _draw_tendons(section, skin)
    # sensitivity falls off at the ends of the field of view along the leg
    shading = canvas.shading(0.52, knee.coils, 38) * soft_cover(FIELD_OF_VIEW / 2 - 1.6 - np.abs(canvas.y), 0.5)
    phase = canvas.quadratic(knee.phase, 0.9, 0.8) + 0.35 * canvas.noise(1, 4, reach=30)
    phase = phase + 0.02 * canvas.z * knee.phase[1]
    return (section.image * shading * np.exp(1j * phase)).astype(np.complex64)


def _edge(section: _Section, outlines: tuple[Outline, Outline]) -> Field:
    """Signed distance in front of (negative) or behind a line down the leg, given as points (x, y) of rising y."""
    points = section.between(outlines)
    curve = CubicSpline(points[:, 1], points[:, 0])
    y = np.clip(section.y, points[0, 1], points[-1, 1])
    return ((section.x - curve(y)) / np.hypot(1, curve(y, 1))).astype(np.float32)


def _draw_fat(section: _Section) -> Field:
    """Skin and all the fat inside, with strands and small vessels; gives the depth below the skin."""
    canvas, signal = section.canvas, section.knee.signal
    front, back = _edge(section, anatomy.FRONT_OF_SKIN), _edge(section, anatomy.BACK_OF_SKIN)
    skin = np.minimum(front, -back) + 0.25 * canvas.noise(3, 12) + 0.10 * canvas.noise(15, 60, reach=5)
    fine = canvas.noise(40, 110, reach=3)
    fat = signal["fat"] * (1 + 0.10 * canvas.noise(2, 10) + 0.06 * fine)
    section.paint(canvas.cover(skin), signal["skin_fat"] * 1.3)
    section.paint(canvas.cover(skin - 1.2), fat, fat=1.0)
    lobules = np.clip(canvas.noise(45, 115, reach=3) - 0.4, 0, 2)
    layer = section.knee.fat * (1 + 0.25 * canvas.noise(1, 5))
    under_skin = soft_cover(layer - skin, 1.0) * canvas.cover(skin - 1.2)
    section.paint(under_skin, signal["skin_fat"] * (1 + 0.10 * canvas.noise(3, 12) + 0.30 * lobules), fat=0.7)
    # strands of connective tissue and vessels, here dense and there none
    web = section.lines(canvas.noise(6, 28, reach=6, stretch=1.6, angle=0.3), 0.28)
    dense = np.clip(0.9 * canvas.noise(3, 14, reach=6) - 0.1, 0, 1) * np.clip(0.5 + canvas.noise(10, 40, reach=5), 0, 1)
    bright = 1.05 * signal["muscle"] * (1 + 0.35 * canvas.noise(20, 60, reach=3))
    section.paint(web * dense * canvas.cover(skin - 2.5), bright)
    dots = np.clip(canvas.noise(35, 110, reach=2) - 2.1, 0, 0.9) * np.clip(canvas.noise(3, 10) + 0.5, 0, 1)
    section.paint(dots * canvas.cover(skin - 2.5), 1.6 * signal["muscle"])
    return skin


def _draw_muscles(section: _Section, skin: Field) -> None:
    """Quadriceps, hamstring, gastrocnemius and the deep muscle of the calf, with fibres, septa and vessels."""
    canvas, knee = section.canvas, section.knee
    muscle = knee.signal["muscle"]
    uneven = canvas.noise(2, 7)
    rough = 0.45 * canvas.noise(4, 16) + 0.2 * canvas.noise(15, 50, reach=5)
    calf, hamstring, quadriceps = knee.muscles
    moved = (
        (anatomy.DEEP_MUSCLE, 0.0, 0.25, 0.95),
        (anatomy.GASTROCNEMIUS, -calf, 0.12, 1.0),
        (anatomy.HAMSTRING, hamstring, 0.0, 0.92),
        (anatomy.QUADRICEPS, quadriceps, -0.5, 0.88),
    )
    for outlines, down, tilt, share in moved:
        fibres = canvas.noise(25, 90, reach=4, stretch=6, angle=-tilt)
        across = section.x - (tilt - 0.08) * section.y + 2.5 * canvas.noise(1, 5, reach=8)
        septa = np.abs((across / knee.septa) % 1 - 0.5) * knee.septa
        gaps = np.clip(0.9 * canvas.noise(2, 16, reach=8, stretch=2.5), -0.3, 1)
        points = section.between(outlines)
        # only the end that does not leave the picture moves
        points = points + np.stack((np.zeros(len(points)), down * (np.abs(points[:, 1]) < 60)), axis=1)
        distance = np.minimum(section.inside(points) + rough, skin - 0.8 * knee.fat - 1.5)
        inside = soft_cover(distance, 0.35)
        section.paint(inside, share * muscle * (1 + 0.05 * uneven + 0.035 * fibres))
        lines = soft_cover(0.9 * gaps - septa, 0.2) * canvas.cover(distance - 0.5)
        section.paint(0.7 * lines, 0.3 * muscle, fat=0.8)
        section.paint(0.5 * soft_cover(0.5 - np.abs(distance + 0.5), 0.25), 0.35 * muscle, fat=0.5)


def _draw_vessels(section: _Section) -> None:
    """Artery and vein behind the knee, dark by flow with bright walls, where the section meets them."""
    canvas, knee = section.canvas, section.knee
    winding = 2.2 * canvas.noise(1, 3, reach=20)
    for path, offset, radius, lumen in ((anatomy.VEIN, 4.0, 3.4, 1.6), (anatomy.ARTERY, 0.0, 3.2, 1.0)):
        squared = radius**2 - (canvas.z - knee.artery - offset - winding) ** 2
        half_width = np.sqrt(np.maximum(squared, 0)) - 0.6 * (squared <= 0)
        distance = section.along(path, half_width)
        seen = soft_cover(squared, 1.0)
        section.paint(0.7 * seen * soft_cover(distance + 1.0, 0.3), 0.75 * knee.signal["muscle"])
        section.paint(seen * canvas.cover(distance), lumen * knee.signal["lumen"])


def _draw_soft_tissue_of_joint(section: _Section) -> None:
    """Draw the tissue between the bones: capsule, fluid, ligaments in the notch, menisci under a condyle."""
    canvas, knee = section.canvas, section.knee
    signal, condyle = knee.signal, section.condyle
    notch = 1 - condyle
    x, y = section.x, section.y
    slow, coarse, fine = canvas.noise(2, 8, reach=6), canvas.noise(5, 18, reach=5), canvas.noise(18, 60, reach=3)
    strands = canvas.noise(18, 80, reach=4, stretch=3, angle=-0.6)
    # behind the joint and in the notch: strands of capsule, synovium and fat
    room = np.maximum(ellipse(x, y, (9, 5), (9, 21), 0.35), ellipse(x, y, (-4, 13), (15, 6.5)))
    mixed = signal["capsule"] * np.clip(0.8 + 0.25 * strands + 0.3 * coarse + 0.15 * fine, 0.2, 2.2)
    section.paint(0.85 * soft_cover(room + 1.8 * coarse, 1.5), mixed, fat=0.3)
    # joint fluid: a film everywhere, pools where noise says
    film = ellipse(x, y, (-4, 15.5), (27, 6.5 + 0.5 * knee.effusion))
    wet = np.clip(0.35 + 0.35 * coarse + 0.12 * knee.effusion, 0, 1)
    section.paint(wet * condyle * soft_cover(film, 0.8), 0.9 * signal["fluid"])
    pool = ellipse(x, y, (-13, 14), (8.5, 2.0 + 0.7 * knee.effusion), -0.55) + 0.8 * coarse
    section.paint(0.95 * notch * soft_cover(pool, 0.35), signal["fluid"] * (0.9 + 0.06 * fine))
    recess = section.along(anatomy.RECESS, knee.effusion * np.clip(0.45 + 0.45 * slow + 0.15 * coarse, -0.4, 1.4) - 0.4)
    section.paint(notch * soft_cover(recess, 0.3), 0.9 * signal["fluid"])
    beside_patella = section.along(anatomy.PATELLAR_SPACE, 0.45 * knee.effusion - 0.2 + 0.5 * slow + 0.3 * coarse)
    section.paint(notch * soft_cover(beside_patella, 0.35), signal["fluid"])
    for path, half_width, streak in ((anatomy.CRUCIATE_FRONT, 3.0, 0.8), (anatomy.CRUCIATE_BACK, 2.4, 0.15)):
        cover = notch * soft_cover(section.along(path, half_width) + 0.3 * coarse, 0.35)
        section.paint(cover, signal["ligament"] * np.clip(0.6 + streak * (0.5 + strands), 0.25, 3))


def _draw_bones(section: _Section) -> None:
    """Cartilage, cortex and marrow of femur, tibia and patella, and the menisci."""
    canvas, knee = section.canvas, section.knee
    signal, condyle, x, y = knee.signal, section.condyle, section.x, section.y
    grain, blotch = canvas.noise(55, 120, reach=2), canvas.noise(3, 9)
    along_bone = canvas.noise(30, 100, reach=3, stretch=3)
    trabeculae = 1 + 0.16 * grain + 0.10 * along_bone + knee.mottle * np.clip(blotch, -1, 3)
    rough = 0.35 * canvas.noise(3, 10) + 0.10 * canvas.noise(12, 60, reach=5)
    shine = 1 + 0.10 * canvas.noise(4, 20) + 0.05 * canvas.noise(20, 80, reach=3)
    femur = section.inside(section.between(anatomy.FEMUR), 7.0) + rough
    tibia = section.inside(section.between(anatomy.TIBIA), 5.0) + rough
    around = np.arctan2(y + 12, -(x + 14))  # 0 in front of the condyle, pi / 2 below it
    facing = soft_cover(around + 0.25, 0.12) * soft_cover(1.9 + 1.1 * condyle - around, 0.10)
    layer = knee.cartilage * facing * (3.3 - 0.5 * condyle + 0.15 * blotch)
    plateau = soft_cover(28 - y, 1.0) * soft_cover(x + 26, 1.0) * soft_cover(18 - x, 1.0) * (0.2 + 0.8 * condyle)
    section.paint(canvas.cover(tibia + 2.0 * knee.cartilage * plateau) * (plateau > 0.2), signal["cartilage"] * shine)
    section.paint(canvas.cover(femur + layer) * (facing > 0.15), signal["cartilage"] * shine)
    film = soft_cover(0.35 + 0.12 * knee.effusion - np.abs(femur + layer), 0.25) * facing
    section.paint(0.6 * film, 0.85 * signal["fluid"])
    for triangle in (anatomy.FRONT_MENISCUS, anatomy.BACK_MENISCUS):
        distance = section.inside(triangle, smooth=False) + 0.4 * blotch
        section.paint(condyle * soft_cover(distance, 0.3) * canvas.cover(-femur - 0.8 * layer), signal["meniscus"])
    fading = math.sqrt(max(0.01, 1 - (canvas.z / 24) ** 2))
    centre = np.array([-53.0 + 11 * (1 - fading), -21.0]) + knee.patella
    outline = np.subtract(anatomy.PATELLA, (-53.0, -21.0)) * fading + centre
    patella = section.inside(outline, 7.0) + rough * fading
    behind = soft_cover(x - centre[0] - 5, 0.7) * soft_cover(15 * fading - np.abs(y - centre[1]), 1.0)
    layer = 4.6 * fading * knee.cartilage * behind
    section.paint(canvas.cover(patella + layer) * (behind > 0.1), signal["cartilage"] * shine)
    shaft = np.clip((-y - 35) / 25, 0, 1)
    for bone, cortex in ((tibia, 0.8 + 0.8 * np.clip((y - 45) / 25, 0, 1)), (femur, 0.9 + 1.3 * shaft), (patella, 1.2)):
        section.paint(canvas.cover(bone), signal["cortex"])
        section.paint(soft_cover(bone - cortex, 0.3), signal["marrow"] * trabeculae, fat=0.9)


def _draw_tendons(section: _Section, skin: Field) -> None:
    """Tendons above and below the patella, where the section meets them."""
    canvas, knee = section.canvas, section.knee
    present = 1 / (1 + math.exp(-(15 - abs(canvas.z)) / 1.5))
    striped = 1 + 0.4 * canvas.noise(30, 100, reach=5, stretch=5, angle=-0.45)
    for path, half_width in ((anatomy.PATELLAR_TENDON, 2.0), (anatomy.QUADRICEPS_TENDON, 2.2)):
        moved = tuple((x + knee.patella[0], y + knee.patella[1] * math.exp(-(((y + 20) / 40) ** 2))) for x, y in path)
        distance = np.minimum(section.along(moved, half_width), skin - 2.0)
        section.paint(present * soft_cover(distance, 0.3), knee.signal["tendon"] * np.clip(striped, 0.3, 2))
