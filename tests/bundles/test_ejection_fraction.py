"""Ejection fraction: blood pools of discs of known area, of phantoms, and of what cannot be segmented."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scripts.ejection_fraction import ejection_fraction, pool_areas_mm2, segment_blood_pool

from common.phantoms.heart_phantom import heart_phantom

MUSCLE, BLOOD = 0.3, 0.9


def beating_disc(
    radii, size=64, center=(33.0, 30.5), wall=5.0, right_ventricle=True, papillary=True, noise=0.02, fine=4
):
    """Discs in rings, drawn finely and averaged; returns the series, areas in pixels and the centre of each frame."""
    rows, columns = (np.indices((fine * size, fine * size)) + 0.5) / fine - 0.5
    rng, frames = np.random.default_rng(0), []
    distance = np.hypot(rows - center[0], columns - center[1])
    for radius in radii:
        image = np.full(distance.shape, 0.1)
        if right_ventricle:
            image[np.hypot(rows - center[0], columns - center[1] + radius + wall + 2) < 11] = BLOOD
        image[distance < radius + wall] = MUSCLE
        image[distance < radius] = BLOOD
        for angle in (0.6, 2.3) if papillary else ():
            row, column = center[0] + 0.6 * radius * np.sin(angle), center[1] + 0.6 * radius * np.cos(angle)
            image[np.hypot(rows - row, columns - column) < 0.17 * radius] = MUSCLE
        image = image.reshape(size, fine, size, fine).mean((1, 3))
        frames.append(np.abs(image + noise * rng.standard_normal(image.shape)))
    return np.stack(frames, axis=-1), np.pi * np.square(radii), np.tile(center, (len(radii), 1))


RADII = 9.5 + 3.0 * np.cos(2 * np.pi * np.arange(8) / 8)


@pytest.mark.parametrize("right_ventricle", [False, True])
@pytest.mark.parametrize("papillary", [False, True])
def test_areas_of_discs_are_right_to_a_few_percent(right_ventricle, papillary):
    series, areas, centers = beating_disc(RADII, right_ventricle=right_ventricle, papillary=papillary)
    found = pool_areas_mm2(segment_blood_pool(series, centers))
    np.testing.assert_allclose(found, areas, rtol=0.05)
    known = 1 - (6.5 / 12.5) ** 2
    assert ejection_fraction(areas[None]) == pytest.approx(known)
    assert ejection_fraction(found[None]) == pytest.approx(known, abs=0.02)


def test_papillary_muscles_are_cavity_and_the_right_ventricle_is_not():
    series, _, centers = beating_disc(RADII, noise=0)
    pools = segment_blood_pool(series, centers)
    inner = np.hypot(*(np.indices((64, 64)) - np.array([33.0, 30.5])[:, None, None])) < 5.5
    assert (series[inner] < 0.5).any()  # a muscle
    assert pools[inner].all()
    assert series[33, 12, 0] == BLOOD
    assert not pools[:, :14].any()


@pytest.mark.parametrize(("blur", "noise"), [(1.0, 0.02), (1.5, 0.02), (0.0, 0.15)])
def test_blur_and_noise_cost_little(blur, noise):
    series, areas, centers = beating_disc(RADII, noise=noise)
    series = ndimage.gaussian_filter(series, (blur, blur, 0))
    found = pool_areas_mm2(segment_blood_pool(series, centers + np.array([1.0, -1.0])))
    assert ejection_fraction(found[None]) == pytest.approx(ejection_fraction(areas[None]), abs=0.05)


def test_a_leak_is_kept_out_or_reported():
    series, areas, centers = beating_disc(RADII, wall=2.5)
    series = ndimage.gaussian_filter(series, (1.5, 1.5, 0))  # the septum is all but gone
    found = pool_areas_mm2(segment_blood_pool(series, centers))
    assert np.isfinite(found).sum() >= 6
    seen = np.isfinite(found)
    np.testing.assert_allclose(found[seen], areas[seen], rtol=0.25)


def test_intensity_and_position_do_not_matter():
    series, _, centers = beating_disc(RADII)
    pools = segment_blood_pool(series, centers)
    np.testing.assert_array_equal(segment_blood_pool(1e-5 * series, centers), pools)
    moved = np.roll(series, (5, -3), axis=(0, 1))
    np.testing.assert_array_equal(
        segment_blood_pool(moved, centers + np.array([5, -3])), np.roll(pools, (5, -3), axis=(0, 1))
    )


def test_phantoms_are_measured_to_a_few_points():
    known, found = [], []
    for seed in range(3):
        heart = heart_phantom(seed)
        areas = np.stack(
            [
                pool_areas_mm2(segment_blood_pool(np.abs(image), center), heart.pixel_size_mm)
                for image, center in zip(heart.images, heart.lv_center_px, strict=True)
            ]
        )
        np.testing.assert_allclose(areas.sum(0), heart.lv_area_mm2.sum(0), rtol=0.15)
        assert ejection_fraction(heart.lv_area_mm2) == pytest.approx(heart.ejection_fraction)
        known.append(heart.ejection_fraction)
        found.append(ejection_fraction(areas))
    errors = np.abs(np.subtract(found, known))
    assert errors.mean() < 0.04
    assert errors.max() < 0.08
    assert np.corrcoef(known, found)[0, 1] > 0.95


def test_areas_have_units_and_missing_pools_are_told():
    pools = np.zeros((5, 6, 3), bool)
    pools[1:3, 1:4, 0], pools[0, 0, 2] = True, True
    np.testing.assert_array_equal(pool_areas_mm2(pools), [6, np.nan, 1])
    np.testing.assert_array_equal(pool_areas_mm2(pools, 2.0), [24, np.nan, 4])
    np.testing.assert_array_equal(pool_areas_mm2(pools, [2.0, 1.5]), [18, np.nan, 3])
    for bad in (0, -1.0, np.nan, [1, 0]):
        with pytest.raises(ValueError, match="pixel_size_mm must be positive"):
            pool_areas_mm2(pools, bad)


def test_ejection_fraction_is_that_of_the_sum_over_slices():
    assert ejection_fraction([[4.0, 1.0]]) == 0.75
    assert ejection_fraction([[4, 2, 3], [6, 6, 2]]) == pytest.approx(0.5)  # volumes 10, 8, 5
    assert ejection_fraction([[3.0, 3.0]]) == 0
    with pytest.raises(ValueError, match=r"expected areas \(slices, frames\), got shape \[2\]"):
        ejection_fraction([1.0, 2.0])


def test_few_missing_frames_are_filled_and_many_are_no_measurement():
    assert ejection_fraction([[8, np.nan, 4, 2, 4]]) == 0.75
    assert ejection_fraction([[8, 6, 4, 2], [1, 1, np.nan, 1]]) == pytest.approx(6 / 9)
    assert np.isnan(ejection_fraction([[8, np.nan, np.nan, 2]]))
    assert np.isnan(ejection_fraction([[8, 4], [np.nan, np.nan]]))
    assert np.isnan(ejection_fraction([[0.0, 0.0]]))


def test_nothing_to_segment_gives_no_pool():
    series, _, centers = beating_disc(RADII)
    rng = np.random.default_rng(0)
    for nothing in (
        np.zeros_like(series),
        np.ones_like(series),
        0.5 + 1e-6 * series,  # no contrast worth the name
        BLOOD + MUSCLE - series,  # dark blood
        np.full_like(series, np.nan),
        rng.random(series.shape),
    ):
        assert not segment_blood_pool(nothing, centers).any()
    far = segment_blood_pool(series, centers + 500.0)
    assert far.shape == series.shape
    assert not far.any()


def test_a_frame_that_is_lost_does_not_take_the_others_with_it():
    series, _, centers = beating_disc(RADII)
    pools = segment_blood_pool(series, centers)
    series[3, 4, 2], series[..., 5] = np.nan, 0.0
    kept = segment_blood_pool(series, centers)
    assert not kept[..., [2, 5]].any()
    others = [0, 1, 3, 4, 6, 7]
    np.testing.assert_array_equal(kept[..., others], pools[..., others])


@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)), elements=st.floats(width=32)
    ),
    st.floats(-5, 12),
)
def test_no_values_raise(series, row):
    pools = segment_blood_pool(series, np.full((series.shape[2], 2), row))
    assert pools.shape == series.shape
    assert pools.dtype == np.bool_


def test_shapes_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match=r"expected a series \(height, width, frames\), got shape \[4, 4\]"):
        segment_blood_pool(np.zeros((4, 4)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"a centre \(row, column\) for each of 3 frames, got shape \[2\]"):
        segment_blood_pool(np.zeros((4, 4, 3)), np.zeros(2))
