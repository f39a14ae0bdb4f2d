"""The beating heart phantom: known volumes, what the pictures show of them, and likeness to a real series."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers import numpy_fft2c, numpy_ifft2c
from scipy import ndimage
from skimage.morphology import convex_hull_image

from common.phantoms.heart_motion import random_motion
from common.phantoms.heart_phantom import ejection_fraction, heart_phantom
from common.phantoms.heart_shape import ANGLES, heart_sections, random_ventricles

REAL_SERIES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "cine_acdc" / "cine_short_axis.h5"
RINGS = ((4, 8), (12, 20), (28, 36), (40, 48))


@pytest.fixture(scope="module")
def hearts():
    return [heart_phantom(seed) for seed in range(6)]


def ends(heart):
    """The frames where the heart is fullest and emptiest."""
    volume = heart.lv_area_mm2.sum(axis=0)
    return int(volume.argmax()), int(volume.argmin())


def pool_area(picture, center, pixel):
    """Area in mm2 of the bright pool at `center`, with what it encloses."""
    row, column = np.round(center).astype(int)
    blood = np.quantile(picture[row - 3 : row + 4, column - 3 : column + 4], 0.7)
    bright = ndimage.binary_opening(picture > 0.64 * blood, np.ones((2, 2)))  # halfway between blood and muscle
    labels, _ = ndimage.label(bright)
    nearest = ndimage.distance_transform_edt(~bright, return_indices=True)[1][:, row, column]
    return convex_hull_image(labels == labels[tuple(nearest)]).sum() * pixel**2


def outlines(seed, n_slices=3, n_frames=40):
    rng = np.random.default_rng(seed)
    motion = random_motion(rng, n_frames)
    heart = random_ventricles(rng)
    return heart, motion, heart_sections(heart, motion, n_slices)[0]


def statistics(series):
    """Quantiles of the gradient, and log10 of a sample's mean share of energy in rings of k-space; of [T, H, W]."""
    gradient = np.hypot(*np.gradient(series, axis=(1, 2)))
    energy = np.abs(numpy_fft2c(series)) ** 2
    energy /= energy.sum(axis=(1, 2), keepdims=True)
    axis = np.arange(96) - 48
    radius = np.hypot(axis[:, None], axis)
    rings = [np.log10(energy[:, (radius >= low) & (radius < high)].mean()) for low, high in RINGS]
    return np.quantile(gradient, (0.9, 0.99)), np.array(rings)


def test_same_seed_same_heart_another_seed_another(hearts):
    again = heart_phantom(0)
    np.testing.assert_array_equal(again.images, hearts[0].images)
    np.testing.assert_array_equal(again.lv_area_mm2, hearts[0].lv_area_mm2)
    for name in ("ejection_fraction", "pixel_size_mm", "slice_distance_mm", "frame_interval_s"):
        values = [getattr(heart, name) for heart in hearts]
        assert getattr(again, name) == values[0]
        assert len(set(values)) == len(hearts)
    likeness = np.corrcoef([np.abs(heart.images[1, ..., 0]).ravel() for heart in hearts])
    assert likeness[np.triu_indices(len(hearts), 1)].max() < 0.9


def test_the_same_heart_at_every_size():
    small, large = heart_phantom(5, 48, 4, 1), heart_phantom(5, 96, 4, 1)
    np.testing.assert_array_equal(small.lv_area_mm2, large.lv_area_mm2)
    np.testing.assert_allclose(2 * small.lv_center_px + 0.5, large.lv_center_px)
    averaged = np.abs(large.images).reshape(1, 48, 2, 48, 2, 4).mean(axis=(2, 4))
    assert np.corrcoef(averaged.ravel(), np.abs(small.images).ravel())[0, 1] > 0.97


def test_ejection_fraction_is_that_of_the_areas(hearts):
    assert ejection_fraction(np.array([[30.0, 20, 12], [10, 6, 4]])) == pytest.approx(0.6)
    for heart in hearts:
        volume = heart.lv_area_mm2.sum(axis=0) * heart.slice_distance_mm
        assert heart.ejection_fraction == pytest.approx((volume.max() - volume.min()) / volume.max(), rel=1e-12)
        assert 30e3 < volume.max() < 260e3  # 30 to 260 ml


def test_ejection_fractions_span_sick_and_healthy_hearts():
    fractions = []
    for seed in range(200):
        *_, sections = outlines(seed, n_frames=16)
        fractions.append(ejection_fraction(np.stack([section.area for section in sections])))
    assert 0.22 < min(fractions) < 0.3
    assert 0.65 < max(fractions) < 0.72
    assert np.std(fractions) > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_the_volume_follows_a_beat(seed):
    motion = random_motion(np.random.default_rng(seed), 400)
    assert motion.contraction.min() < 0.01
    assert motion.contraction.max() > 0.99
    assert 0.6 < motion.frame_interval * 400 < 1.56
    assert -1.01 < motion.outflow.min() < -0.4  # fast filling
    assert 0.4 < motion.outflow.max() < 1.01
    steps = np.diff(motion.contraction)
    away = np.abs(motion.outflow[:-1]) > 0.05
    assert (np.sign(steps[away]) == np.sign(motion.outflow[:-1][away])).mean() > 0.97
    assert np.abs(steps).max() < 0.06  # no jump from beat to beat
    assert np.abs(np.diff(motion.breath)).max() < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_the_cavity_shrinks_and_the_wall_thickens(seed):
    _, motion, sections = outlines(seed)
    full, empty = int(motion.contraction.argmin()), int(motion.contraction.argmax())
    for section in sections:
        assert section.area[empty] < 0.85 * section.area[full]
        thickness = (section.wall - section.cavity).mean(axis=1)
        assert thickness[empty] > 1.08 * thickness[full]
        muscle = (section.wall**2 - section.cavity**2).sum(axis=1)
        assert 1 <= muscle[empty] / muscle[full] < 1.25  # its volume stays, the ventricle becomes shorter
        right = (section.right_cavity**2 - section.wall**2).sum(axis=1)
        assert right[empty] < right[full]
        for inner, outer in ((section.cavity, section.wall), (section.right_cavity, section.surface)):
            assert (outer >= inner).all()
        assert (section.right_cavity >= section.wall).all()
    assert (np.diff([section.area[full] for section in sections]) < 0).all()  # from base to apex


def test_areas_and_centroids_are_those_of_the_outlines():
    *_, sections = outlines(7)
    for section in sections:
        for frame in (0, 13, 29):
            x, y = section.cavity[frame] * np.cos(ANGLES), section.cavity[frame] * np.sin(ANGLES)
            cross = x * np.roll(y, -1) - np.roll(x, -1) * y  # shoelace formula
            assert section.area[frame] == pytest.approx(cross.sum() / 2, rel=1e-3)
            center = [((values + np.roll(values, -1)) * cross).sum() / (3 * cross.sum()) for values in (x, y)]
            np.testing.assert_allclose(section.centroid[frame], center, atol=1e-2)


def test_pools_in_the_pictures_have_the_known_areas(hearts):
    ratios, fractions = [], []
    for heart in hearts:
        picture, frames = np.abs(heart.images), ends(heart)
        seen = np.array(
            [
                [
                    pool_area(picture[k, ..., frame], heart.lv_center_px[k, frame], heart.pixel_size_mm)
                    for frame in frames
                ]
                for k in range(3)
            ]
        )
        ratios.append(seen / heart.lv_area_mm2[:, frames])
        fractions.append(ejection_fraction(seen))
    assert np.median(np.abs(np.array(ratios) - 1)) < 0.05
    assert np.quantile(np.abs(np.array(ratios) - 1), 0.8) < 0.1
    known = [heart.ejection_fraction for heart in hearts]
    np.testing.assert_allclose(fractions, known, atol=0.08)
    assert np.corrcoef(fractions, known)[0, 1] > 0.97


def test_blood_is_bright_muscle_dark_lung_darker(hearts):
    for heart in hearts:
        picture, (full, _) = np.abs(heart.images[1]), ends(heart)
        radius = np.sqrt(heart.lv_area_mm2[1, full] / np.pi) / heart.pixel_size_mm
        rows, columns = np.indices(picture.shape[:2])
        distance = np.hypot(rows - heart.lv_center_px[1, full, 0], columns - heart.lv_center_px[1, full, 1])
        pool = picture[..., full][distance < 0.5 * radius].mean()
        ring = picture[..., full][(distance > radius + 1.2) & (distance < radius + 2)]
        assert np.median(ring) < 0.5 * pool
        corners = picture[np.ix_([0, 1, -2, -1], [0, 1, -2, -1])]
        assert np.quantile(corners, 0.1) < 0.15 * pool


def test_the_heart_moves_more_than_the_chest(hearts):
    for heart in hearts:
        change = np.abs(heart.images[1]).std(axis=-1)
        row, column = np.round(heart.lv_center_px[1].mean(axis=0)).astype(int)
        near = change[row - 12 : row + 13, column - 12 : column + 13]
        assert near.mean() > 3 * np.median(change)


def test_noise_is_moderate(hearts):
    for heart in hearts:
        air = np.abs(heart.images).mean(axis=-1) < 0.02
        level = heart.images[air].real.std()
        assert 0.002 < level < 0.016
        assert heart.images[air].imag.std() == pytest.approx(level, rel=0.1)


def test_statistics_are_near_those_of_a_real_series(hearts):
    if not REAL_SERIES.is_file():
        pytest.skip(f"needs {REAL_SERIES.resolve()}")
    with h5py.File(REAL_SERIES) as file:
        real = file["image"][:, :, 30:214].astype(np.float32)
    real = np.abs(numpy_ifft2c(numpy_fft2c(real)[:, 44:140, 44:140]))  # at the phantom's size

    def bright(series):
        return 0.9 * series / np.quantile(series, 0.999)

    gradients, rings = statistics(bright(real))
    ours = [statistics(bright(np.moveaxis(np.abs(heart.images[1]), -1, 0))) for heart in hearts]
    np.testing.assert_allclose(np.mean([gradient for gradient, _ in ours], axis=0), gradients, rtol=0.2)
    np.testing.assert_allclose(np.mean([ring for _, ring in ours], axis=0), rings, atol=0.3)
