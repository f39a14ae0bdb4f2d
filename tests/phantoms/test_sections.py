"""Noise that changes slowly from section to section, and outlines."""

import numpy as np
import pytest

from common.phantoms.sections import SectionCanvas, polygon_distance, smooth_outline


def noise_at(z, size=128, **options):
    return SectionCanvas(np.random.default_rng(3), size, 100.0, z).noise(3, 20, **options)


@pytest.mark.parametrize("distance", [0, 2, 4, 8, 40])
def test_noise_correlates_along_z_as_documented(distance):
    first, second = noise_at(5, reach=4), noise_at(5 + distance, reach=4)
    correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert correlation == pytest.approx(np.exp(-(distance**2) / 32), abs=0.1)
    assert second.std() == pytest.approx(1, abs=1e-5)


def test_noise_is_the_same_on_any_grid():
    coarse, fine = noise_at(3.0), noise_at(3.0, 256)
    np.testing.assert_allclose(fine[::2, ::2], coarse, atol=0.02)
    with pytest.raises(ValueError, match="32 pixels"):
        noise_at(0, 32)


def test_stretched_noise_has_its_grains_along_the_angle():
    tilted = noise_at(0, stretch=6, angle=0.5)

    def step(angle):
        shift = np.rint(6 * np.array([np.cos(angle), np.sin(angle)])).astype(int)  # down, right
        return np.abs(np.roll(tilted, -shift, (0, 1)) - tilted).mean()

    assert step(0.5) < 0.5 * step(-0.5) < step(0.5 + np.pi / 2)


def test_outline_passes_through_its_points_and_is_round():
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    points = 10 * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    outline = smooth_outline(points, 5)
    assert outline.shape == (40, 2)
    np.testing.assert_allclose(outline[::5], points, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(outline, axis=1), 10, atol=0.05)


@pytest.mark.parametrize("backwards", [False, True])
def test_distance_to_a_polygon(backwards):
    axis = np.linspace(-20, 20, 81, dtype=np.float32)
    x, y = np.broadcast_to(axis, (81, 81)), np.broadcast_to(axis[:, None], (81, 81))
    corners = np.array([(-8.0, -4.0), (8.0, -4.0), (8.0, 4.0), (-8.0, 4.0)])
    distance = polygon_distance(x, y, corners[::-1] if backwards else corners, 5.0)
    outside = np.hypot(np.maximum(np.abs(x) - 8, 0), np.maximum(np.abs(y) - 4, 0))
    inside = np.minimum(8 - np.abs(x), 4 - np.abs(y))
    np.testing.assert_allclose(distance, np.where(inside > 0, inside, -np.minimum(outside, 5)), atol=1e-5)


def test_polygon_out_of_sight_is_far_everywhere():
    x, y = np.meshgrid(np.arange(4, dtype=np.float32), np.arange(3, dtype=np.float32))
    distance = polygon_distance(x, y, np.array([(50.0, 50.0), (60.0, 50.0), (50.0, 60.0)]), 2.0)
    np.testing.assert_array_equal(distance, np.full((3, 4), -2.0, np.float32))
