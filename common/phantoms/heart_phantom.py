"""Random beating hearts in cine MRI: complex short-axis series with known areas of the left ventricle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from common.errors import require_at_least
from common.phantoms.canvas import Field, resolve, soft_cover
from common.phantoms.heart_chest import Chest, draw_chest
from common.phantoms.heart_motion import random_motion
from common.phantoms.heart_shape import N_ANGLES, Outlines, Section, heart_sections, random_ventricles
from common.phantoms.sections import SectionCanvas
from numpy.typing import NDArray
from scipy import ndimage

MIN_RENDER_SIZE = 192
"""Smaller images are rendered at a multiple of their size, at least this large, and averaged down."""

REACH = 92.0
"""Half the side of the square around the heart in which it is drawn anew in each frame, in millimetres."""


@dataclass(frozen=True)
class HeartPhantom:
    """A series of a beating heart with its known geometry."""

    images: NDArray[np.complex64]
    """`(n_slices, size, size, n_frames)`, from base to apex; magnitudes from 0 to at most 1."""
    lv_area_mm2: NDArray[np.float64]
    """Area of the left ventricle's cavity, papillary muscles included, `(n_slices, n_frames)`."""
    lv_center_px: NDArray[np.float64]
    """Centroid of that cavity, `(n_slices, n_frames, 2)`: row and column, 0 in the middle of the first pixel."""
    ejection_fraction: float
    """`ejection_fraction` of the areas."""
    pixel_size_mm: float
    slice_distance_mm: float
    frame_interval_s: float


def ejection_fraction(areas: NDArray[np.floating[Any]]) -> float:
    """Compute the part of the blood that a beat expels, (EDV - ESV) / EDV, by discs.

    Args:
        areas: areas of the cavity in any unit, `(n_slices, n_frames)`, of equally distant slices. The volume of a frame
            is the sum of its areas; EDV and ESV are the largest and the smallest volume of all frames.
    """
    volume = areas.sum(axis=0)
    return float(1 - volume.min() / volume.max())


def heart_phantom(seed: int, size: int = 96, n_frames: int = 16, n_slices: int = 3) -> HeartPhantom:
    """Draw short-axis sections through a random beating heart, as balanced steady-state MRI in real time shows them.

    Every seed is another heart in another chest: size, shape, wall, ejection fraction (25 to 70 %), heart rate, moment
    at which the series begins, breath, fat, liver, signals, texture, coil shading, phase and noise. Blood and fat are
    bright, muscle is dark. The outlines of :mod:`common.phantoms.heart_shape` contract and thicken; texture and
    papillary muscles move with the wall; blood swirls, and its speed is in the phase; what lies around follows the
    heart's surface and the diaphragm. Fat is nearly opposed to water, so their border is a dark line. Sections are 2-D:
    nothing moves through them but by the change of the outlines. The same seed shows the same heart at every size; only
    the noise differs. No pixel is measured data.

    Signals, texture and noise were set by hand near those of one public short-axis series.

    Args:
        seed: non-negative number of the heart.
        size: height and width in pixels, 32 or more; the field of view, 255 to 305 mm, does not depend on it.
        n_frames: frames, 2 or more, that span a beat or somewhat more.
        n_slices: number of sections from base to apex, 1 or more.

    Raises:
        ValueError: a number is out of range.
    """
    require_at_least(32, size=size)  # a smaller heart has no anatomy left
    require_at_least(2, n_frames=n_frames)
    require_at_least(1, n_slices=n_slices)
    require_at_least(0, seed=seed)
    factor = max(1, math.ceil(MIN_RENDER_SIZE / size))
    rng = np.random.default_rng(seed)
    scene = _Scene(rng, n_frames)
    texture_seed = int(rng.integers(2**63))
    sections, distance = heart_sections(scene.heart, scene.motion, n_slices)
    pixel = scene.field_of_view / size
    images = np.empty((n_slices, size, size, n_frames), np.complex64)
    centers = np.empty((n_slices, n_frames, 2))
    for index, section in enumerate(sections):
        z = scene.heart.length * (section.depth - 0.5)
        canvas = SectionCanvas(np.random.default_rng(texture_seed), size * factor, scene.field_of_view, z)
        middle = _middle(scene, section)
        for frame, picture in enumerate(_draw_frames(scene, section, middle, canvas, texture_seed)):
            images[index, ..., frame] = resolve(picture, factor, blur=scene.blur)
        centers[index] = ((middle + section.centroid) / pixel + size / 2 - 0.5)[:, ::-1]
    if scene.upside_down:
        images = images[:, ::-1]
        centers[..., 0] = size - 1 - centers[..., 0]
    real, imaginary = rng.standard_normal((2, *images.shape), dtype=np.float32)
    images = images + np.float32(scene.noise) * (real + 1j * imaginary)
    images *= np.float32(scene.brightest) / np.abs(images).max()
    areas = np.stack([section.area for section in sections])
    return HeartPhantom(images, areas, centers, ejection_fraction(areas), pixel, distance, scene.motion.frame_interval)


class _Scene:
    """Random properties of a series; lengths in millimetres."""

    def __init__(self, rng: np.random.Generator, n_frames: int) -> None:
        self.chest, self.heart, self.motion = Chest(rng), random_ventricles(rng), random_motion(rng, n_frames)
        breath_angle = rng.normal(math.pi / 2, 0.5)
        roots = [self.heart.septum + side + rng.normal(0, 0.2) for side in (2.2, -2.3)]
        papillary = [(root, rng.uniform(0.6, 0.7), 0.92 * rng.uniform(0.13, 0.20)) for root in roots]
        for _ in range(int(rng.integers(6, 18))):  # trabeculae, most of them near the papillary muscles
            direction = rng.choice([*roots, rng.uniform(0, 2 * math.pi)]) + rng.normal(0, 0.5)
            papillary.append((direction, rng.uniform(0.74, 0.97), 0.8 * rng.uniform(0.03, 0.09)))
        # (n, 3): direction, distance from the middle and radius, as shares of the cavity's
        self.papillary = np.array(papillary)
        self.field_of_view = rng.uniform(255, 305)
        self.upside_down = bool(rng.uniform() < 0.5)  # as in files of some scanners
        self.place = np.array([rng.normal(16, 8), rng.normal(0, 6)])  # of the left ventricle in the middle section
        self.tilt = np.array([rng.uniform(0, 14), rng.uniform(-4, 8)])  # shift of its middle from base to apex
        # direction in which the diaphragm moves the heart
        self.breath_way = np.array([math.cos(breath_angle), math.sin(breath_angle)])
        self.fat = rng.uniform(1.0, 6.0)  # thickness on the heart
        self.twist = rng.uniform(0.08, 0.25)  # rotation of the wall from full to empty, in radians
        self.swirl = rng.uniform(0.05, 0.13)  # how uneven flowing blood is
        self.velocity = rng.uniform(0.3, 1.2)  # phase of the fastest blood, in radians
        self.coils = [  # right, down, strength
            (rng.uniform(-90, -20), rng.uniform(-150, -120), rng.uniform(0.3, 1.0)),
            (rng.uniform(20, 110), rng.uniform(-150, -120), rng.uniform(0.3, 1.0)),
            (rng.uniform(-90, 60), rng.uniform(140, 170), rng.uniform(0.4, 1.0)),
        ]
        self.phase: list[float] = rng.uniform(-1, 1, 6).tolist()
        self.noise = rng.uniform(0.004, 0.010)
        self.brightest = rng.uniform(0.85, 1.0)
        self.blur = rng.uniform(0.4, 0.6)


def _middle(scene: _Scene, section: Section) -> NDArray[np.float64]:
    """Middle of the left ventricle in each frame, `(n_frames, 2)`: right and down; outlines are distances from it."""
    motion = scene.motion
    middle = scene.place + (section.depth - 0.5) * scene.tilt
    moved = middle + motion.contraction[:, None] * np.asarray(scene.heart.drift)
    return moved - motion.breath[:, None] * scene.breath_way


def _draw_frames(
    scene: _Scene, section: Section, middle: NDArray[np.float64], canvas: SectionCanvas, flow_seed: int
) -> NDArray[np.complex64]:
    """Complex frames of one section on the rendering grid, `(n_frames, canvas.size, canvas.size)`."""
    chest = draw_chest(scene.chest, canvas)
    rest = scene.place + (section.depth - 0.5) * scene.tilt
    rows, columns = (
        slice(*np.searchsorted(axis.ravel(), (at - REACH, at + REACH)).tolist())
        for axis, at in ((canvas.y, rest[1]), (canvas.x, rest[0]))
    )
    box = (rows, columns)
    polar = _Polar(canvas.x[:, columns], canvas.y[rows], middle)
    frames = _moved(scene, section, chest, canvas, box, polar)
    _draw_aorta(scene, canvas, frames)
    _Heart(scene, section, canvas, box, polar, frames[:, rows, columns], flow_seed).draw()
    phase = canvas.quadratic(scene.phase, 0.9, 0.6) + 0.25 * canvas.noise(1, 4, reach=60)
    shading = canvas.shading(0.6, scene.coils, 75) * np.exp(1j * phase)
    return frames * shading.astype(np.complex64)


class _Polar:
    """Distance and direction of each pixel of the box from the ventricle's middle, in each frame."""

    def __init__(self, x: Field, y: Field, middle: NDArray[np.float64]) -> None:
        self.x: Field = (x[None] - middle[:, 0, None, None]).astype(np.float32)
        self.y: Field = (y[None] - middle[:, 1, None, None]).astype(np.float32)
        self.r: Field = np.hypot(self.x, self.y)
        self.angle: Field = np.arctan2(self.y, self.x)
        place = (self.angle * np.float32(N_ANGLES / (2 * math.pi))) % N_ANGLES
        low = place.astype(np.int32)
        self._share: Field = place - low
        self._low = low % N_ANGLES

    def at(self, outlines: Outlines) -> Field:
        """Distance of an outline from the middle in each pixel's direction; one outline, or one for each frame."""
        table = np.concatenate((outlines, outlines[:, :1]), axis=1).astype(np.float32)
        first = self._low + ((np.arange(len(self.r)) % len(table)) * (N_ANGLES + 1))[:, None, None]
        low = table.ravel()[first]
        return low + self._share * (table.ravel()[first + 1] - low)


def _moved(
    scene: _Scene,
    section: Section,
    chest: NDArray[np.complex64],
    canvas: SectionCanvas,
    box: tuple[slice, slice],
    polar: _Polar,
) -> NDArray[np.complex64]:
    """The chest in each frame: pushed by the diaphragm, but for its wall and spine, and drawn along by the heart."""
    right, down = scene.chest.centre
    depth = 1 - np.hypot((canvas.x - right) / scene.chest.axes[0], (canvas.y - down) / scene.chest.axes[1])
    loose = soft_cover(depth - 0.36, 0.05) * soft_cover(scene.chest.spine[1] - 22 - canvas.y, 6.0)
    full = polar.at(section.surface.max(axis=0, keepdims=True))
    pull = (full - polar.at(section.surface)) * np.exp(-np.maximum(polar.r - full, 0) / 10) / np.maximum(polar.r, 1)
    rows, columns = np.indices(chest.shape, dtype=np.float32)
    parts = np.stack((chest.real, chest.imag))
    way = -scene.motion.breath[:, None] * scene.breath_way
    frames = np.empty((len(way), *chest.shape), np.complex64)
    for index, frame in enumerate(frames):
        right_shift, down_shift = (np.float32(value) * loose for value in way[index])
        right_shift[box] -= pull[index] * polar.x[index]
        down_shift[box] -= pull[index] * polar.y[index]
        places = np.stack((rows - down_shift / canvas.unit, columns - right_shift / canvas.unit))
        for part, source in zip((frame.real, frame.imag), parts, strict=True):
            ndimage.map_coordinates(source, places, output=part, order=1, mode="nearest")
    return frames


def _draw_aorta(scene: _Scene, canvas: SectionCanvas, frames: NDArray[np.complex64]) -> None:
    """The descending aorta beside the spine, which a beat widens and brightens."""
    right, down, radius = scene.chest.aorta
    signal = scene.chest.signal
    r = np.hypot(canvas.x - right, canvas.y - down)
    uneven = 1 + 0.04 * canvas.noise(8, 30)
    for frame, outflow in zip(frames, scene.motion.outflow, strict=True):
        pulse = max(0.0, float(outflow))
        wide = radius * (1 + 0.04 * pulse)
        phase = np.exp(1j * scene.velocity * pulse * np.clip(1 - (r / wide) ** 2, 0, 1))
        frame += canvas.cover(wide + 1.6 - r) * (signal["muscle"] - frame)
        frame += canvas.cover(wide - r) * (signal["blood"] * (1 + 0.08 * pulse) * uneven * phase - frame)


class _Heart:
    """Painter of a heart into the box of all frames; its texture is drawn at rest and moves with the wall.

    Args:
        scene: random properties of the series.
        section: section of the scene's heart to paint.
        canvas: canvas of the whole picture.
        box: rows and columns of the picture that `image` covers.
        polar: polar coordinates of the pixels of the box.
        image: frames of the box, `(n_frames, height, width)`, changed in place.
        flow_seed: seed of the uneven signal of flowing blood.
    """

    def __init__(
        self,
        scene: _Scene,
        section: Section,
        canvas: SectionCanvas,
        box: tuple[slice, slice],
        polar: _Polar,
        image: NDArray[np.complex64],
        flow_seed: int,
    ) -> None:
        self.scene, self.section, self.canvas, self.polar, self.image = scene, section, canvas, polar, image
        self.signal = scene.chest.signal
        self.cavity, self.wall = polar.at(section.cavity), polar.at(section.wall)
        contraction = scene.motion.contraction
        self.angle = polar.angle - (scene.twist * contraction).astype(np.float32)[:, None, None]
        fine, coarse = canvas.noise(16, 60, reach=4), canvas.noise(4, 14, reach=8)
        self.patches, self.fine, self.coarse = canvas.noise(2, 9, reach=15)[box], fine[box], coarse[box]
        full = int(np.argmin(contraction))
        inner, outer = (polar.at(outline[full : full + 1]) for outline in (section.cavity, section.wall))
        across = np.clip((polar.r**2 - self.cavity**2) / (self.wall**2 - self.cavity**2), -0.2, 1.6)
        at_rest = np.sqrt(inner**2 + across * (outer**2 - inner**2))
        places = [
            (at_rest * turned(self.angle) + np.float32(at)) / np.float32(canvas.unit)
            + np.float32(canvas.size / 2 - 0.5)
            for turned, at in ((np.sin, scene.place[1]), (np.cos, scene.place[0]))
        ]
        grain = ndimage.map_coordinates(fine + coarse, places, order=1, mode="nearest")
        self.muscle = self.signal["myocardium"] * (1 + 0.08 * grain)
        self.swirl = _swirl(scene, canvas, box, flow_seed)

    def draw(self) -> None:
        """Paint the fat, both ventricles and their contents."""
        self._draw_surface()
        self._draw_right_ventricle()
        self._draw_left_ventricle()

    def _paint(self, cover: Field, value: Any) -> None:
        self.image += cover * (value - self.image)

    def _blood(self, uneven: float, speed: float, profile: Field) -> Field:
        """Signal of blood; `speed` is the speed of the fastest blood, `profile` the share of it at each pixel."""
        flow = self.scene.motion.outflow.astype(np.float32)[:, None, None]
        moving = np.exp(1j * self.scene.velocity * speed * flow * profile)
        return self.signal["blood"] * (1 + uneven * self.swirl) * moving

    def _draw_surface(self) -> None:
        """Fat, thick in the grooves, and the pericardium around it; then the heart as if it were all muscle."""
        surface, r, cover = self.polar.at(self.section.surface), self.polar.r, self.canvas.cover
        layer = self.scene.fat * (0.35 + np.clip(0.8 * self.patches + 0.4 * self.coarse, -0.9, 2.5))
        fat = np.complex64(np.exp(1j * self.scene.chest.fat_phase)) * (1 + 0.1 * self.coarse)
        self._paint(cover(surface + layer + 0.8 - r), self.signal["muscle"])
        self._paint(cover(surface + layer - r), 0.95 * self.signal["fat"] * fat)
        self._paint(cover(surface - r), self.muscle)

    def _draw_right_ventricle(self) -> None:
        """Blood, with trabeculae along the free wall."""
        border, r, cover = self.polar.at(self.section.right_cavity), self.polar.r, self.canvas.cover
        inside = np.minimum(border - r, r - self.wall)
        blood = self._blood(0.7, 0.4, np.clip(inside / 12, 0, 1))
        self._paint(cover(inside) * np.clip((border - self.wall) / 3, 0, 1), 0.97 * blood)
        bands = soft_cover(self.fine + 0.6 * self.coarse - 1.0, 0.15) * np.clip(1 - (border - r) / 12, 0, 1)
        self._paint(0.75 * bands * cover(inside), self.signal["myocardium"])

    def _draw_left_ventricle(self) -> None:
        """The ring of muscle, blood, and in it papillary muscles and trabeculae, of the same width in all frames."""
        r, cover = self.polar.r, self.canvas.cover
        inside = cover(self.cavity - r)
        share = r / self.cavity
        self._paint(cover(self.wall - r), self.muscle)
        self._paint(inside, self._blood(1.0, 1.0, np.clip(1 - share**2, 0, 1)))
        radius = np.sqrt(self.section.area / math.pi).astype(np.float32)[:, None, None]
        right, down = share * np.cos(self.angle), share * np.sin(self.angle)
        scale = (1.1 - 0.6 * abs(self.section.depth - 0.55)) * float(radius.max())
        muscles = np.zeros_like(share)
        for direction, distance, width in self.scene.papillary:
            apart = np.hypot(right - distance * math.cos(direction), down - distance * math.sin(direction))
            muscles = np.maximum(muscles, cover(np.float32(scale * width) - apart * radius))
        self._paint(muscles * inside, self.muscle)


def _swirl(scene: _Scene, canvas: SectionCanvas, box: tuple[slice, slice], seed: int) -> Field:
    """Uneven signal of blood in each frame, strongest where it flows in fast; it changes within some 50 ms."""
    motion = scene.motion
    swirl = []
    for frame, outflow in enumerate(motion.outflow):
        time = SectionCanvas(
            np.random.default_rng((seed, 1)), canvas.size, canvas.extent, frame * motion.frame_interval
        )
        uneven = time.noise(8, 34, reach=0.05)[box]
        swirl.append(uneven * np.float32(scene.swirl * (0.5 + 0.9 * max(-outflow, 0.5 * outflow))))
    return np.stack(swirl)
