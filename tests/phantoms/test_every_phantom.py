"""What all phantoms share: any size, one body a seed, the same body at any size, numbers out of range refused."""

import numpy as np
import pytest

from common.phantoms.brain_phantom import brain_phantom
from common.phantoms.ct_phantom import chest_ct_phantom
from common.phantoms.heart_phantom import heart_phantom
from common.phantoms.knee_phantom import knee_phantom
from common.phantoms.rock_phantom import rock_phantom


def heart(seed, size, n_frames=3, n_slices=1):
    return np.moveaxis(heart_phantom(seed, size, n_frames, n_slices).images, -1, 1)


def knee(seed, size, n_slices=2):
    return knee_phantom(seed, size, n_slices=n_slices)


def section(seed, size):
    return rock_phantom(seed, size, grain_size=8)


def volume(seed, size):
    return rock_phantom(seed, size, dims=3, grain_size=8)


# phantom, other sizes, leading axes, shortest correlation of an image of 64 with one averaged from 128, or None
BODIES = {
    "head": (brain_phantom, (32, 65, 192), (), 0.97),
    "chest": (chest_ct_phantom, (32, 65, 200), (), 0.97),
    "knee": (knee, (32, 65, 200), (2,), 0.97),
    "heart": (heart, (32, 65, 192), (1, 3), 0.95),
    "rock": (section, (16, 65), (), None),
    "rock volume": (volume, (16, 33), (), None),
}
COMPLEX = ("head", "knee", "heart")


@pytest.mark.parametrize("name", BODIES)
def test_any_size_has_its_type_and_range(name):
    draw, sizes, leading, _ = BODIES[name]
    for size in sizes:
        image = draw(3, size)
        assert image.shape == (*leading, size, size, *([size] if name == "rock volume" else []))
        assert image.dtype == (np.complex64 if name in COMPLEX else np.float32)
        magnitude = np.abs(image)
        assert np.isfinite(magnitude).all()
        assert 0 <= magnitude.min() < 0.3
        assert (0.15 if "rock" in name else 0.6) < magnitude.max() <= 1 + 1e-5


@pytest.mark.parametrize("name", BODIES)
def test_same_seed_same_body_another_seed_another(name):
    draw, (size, *_), _, _ = BODIES[name]
    first = draw(5, size)
    np.testing.assert_array_equal(draw(5, size), first)
    assert np.corrcoef(np.abs(first).ravel(), np.abs(draw(6, size)).ravel())[0, 1] < 0.97


@pytest.mark.parametrize("name", [name for name, (_, _, _, likeness) in BODIES.items() if likeness])
def test_same_body_at_another_size(name):
    draw, _, leading, likeness = BODIES[name]
    large, small = np.abs(draw(8, 128)), np.abs(draw(8, 64))
    averaged = large.reshape(*leading, 64, 2, 64, 2).mean(axis=(-3, -1))
    assert np.corrcoef(averaged.ravel(), small.ravel())[0, 1] > likeness


@pytest.mark.parametrize(
    ("draw", "arguments", "match"),
    [
        (brain_phantom, (0, 31), "size must be at least 32, got 31"),
        (brain_phantom, (-1, 64), "seed must be at least 0, got -1"),
        (chest_ct_phantom, (0, 31), "size must be at least 32, got 31"),
        (knee, (0, 31), "size must be at least 32, got 31"),
        (knee, (0, 64, 0), "n_slices must be at least 1, got 0"),
        (heart, (0, 31), "size must be at least 32, got 31"),
        (heart, (0, 96, 1), "n_frames must be at least 2, got 1"),
        (heart, (0, 96, 16, 0), "n_slices must be at least 1, got 0"),
        (rock_phantom, (0, 15), "size must be at least 16, got 15"),
    ],
)
def test_numbers_out_of_range_are_refused(draw, arguments, match):
    with pytest.raises(ValueError, match=match):
        draw(*arguments)
