"""Synthetic textures: classes that differ in structure, not in brightness or contrast."""

import numpy as np
import pytest

from common.phantoms.texture_phantom import TEXTURES, texture_phantom

N_TRAIN, N_TEST = 16, 8


@pytest.fixture(scope="module")
def textures():
    """(classes, seeds, height, width)"""
    return np.stack([[texture_phantom(seed, name, 64) for seed in range(N_TRAIN + N_TEST)] for name in TEXTURES])


def spectral_features(images):
    """Logarithms of power in rings and in sectors (sorted: directions do not matter) and of squared images' spectra."""
    size = images.shape[-1]
    frequency = np.fft.fftfreq(size)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    angle = np.arctan2(frequency[:, None], frequency[None, :]) % np.pi
    rings = np.digitize(radius, np.geomspace(1.5 / size, 0.5, 9))
    sectors = np.digitize(angle, np.linspace(0, np.pi, 9))
    standard = images - images.mean((-2, -1), keepdims=True)
    standard /= standard.std((-2, -1), keepdims=True)
    power = np.abs(np.fft.fft2(standard)) ** 2
    by_ring = np.stack([power[..., rings == n].mean(-1) for n in range(1, 9)], -1)
    by_sector = np.sort(np.stack([power[..., (sectors == n) & (rings > 0)].mean(-1) for n in range(1, 9)], -1), -1)
    moments = np.stack([np.abs((standard**3).mean((-2, -1))), (standard**4).mean((-2, -1))], -1)
    return np.log(np.concatenate([by_ring, by_sector, moments], -1) + 1e-3)


def nearest_centroid_accuracy(features):
    """Of the last ``N_TEST`` seeds by the centroids of the first ``N_TRAIN``, in units of the spread in a class."""
    train, test = features[:, :N_TRAIN], features[:, N_TRAIN:]
    spread = (train - train.mean(1, keepdims=True)).std((0, 1)) + 1e-9
    distance = np.linalg.norm((test[:, :, None] - train.mean(1)[None, None]) / spread, axis=-1)
    return (distance.argmin(-1) == np.arange(len(features))[:, None]).mean()


@pytest.mark.parametrize("name", TEXTURES)
def test_texture_is_its_seed(name):
    for size in (33, 48):
        image = texture_phantom(3, name, size)
        assert image.shape == (size, size)
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, texture_phantom(3, name, size))
        assert np.abs(image - texture_phantom(4, name, size)).mean() > 0.02


def test_values_fill_the_range_without_leaving_it(textures):
    assert textures.min() >= 0
    assert textures.max() <= 1
    clipped = ((textures == 0) | (textures == 1)).mean((1, 2, 3))
    assert clipped.max() < 0.05
    contrast = textures.std((-2, -1))
    assert contrast.min() > 0.03
    assert contrast.max() < 0.3


def test_classes_differ_in_structure(textures):
    assert nearest_centroid_accuracy(spectral_features(textures)) > 0.6  # chance is 0.0625


def test_classes_do_not_differ_in_brightness_and_contrast(textures):
    simple = np.stack([textures.mean((-2, -1)), textures.std((-2, -1))], -1)
    assert nearest_centroid_accuracy(simple) < 0.2


def test_direction_is_that_of_the_class(textures):
    """Aligned structures have most of their power in few directions, and those of no direction do not."""
    shares = dict(zip(TEXTURES, _strongest_quarter(textures), strict=True))
    for name in ("grating_sine", "grating_square", "noise_streaks", "fibres_aligned"):
        assert shares[name] > 0.6, name
    for name in ("noise_fine", "noise_band", "speckle", "fibres_tangled", "cells"):
        assert shares[name] < 0.5, name


def _strongest_quarter(images):
    """Mean share of the power in the strongest of eight pairs of neighbouring sectors of 22.5 degrees, by class."""
    size = images.shape[-1]
    frequency = np.fft.fftfreq(size)
    angle = np.arctan2(frequency[:, None], frequency[None, :]) % np.pi
    sectors = np.minimum((angle / np.pi * 8).astype(int), 7)
    window = np.hanning(size)[:, None] * np.hanning(size)
    power = np.abs(np.fft.fft2((images - images.mean((-2, -1), keepdims=True)) * window)) ** 2
    power[..., np.hypot(frequency[:, None], frequency[None, :]) < 2.5 / size] = 0  # the shading
    by_sector = np.stack([power[..., sectors == n].sum(-1) for n in range(8)], -1)
    pairs = by_sector + np.roll(by_sector, 1, -1)
    return (pairs.max(-1) / by_sector.sum(-1)).mean(-1)


def test_lengths_do_not_grow_with_the_image():
    """Twice the image shows twice as many cells: the mean gradient in units of the contrast stays."""

    def roughness(size):
        images = np.stack([texture_phantom(seed, "cells", size) for seed in range(24)])
        steps = np.abs(np.diff(images, axis=-1)).mean((1, 2)) / images.std((1, 2))
        return np.median(steps)

    assert roughness(96) == pytest.approx(roughness(48), rel=0.25)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0, "wool", 64), "texture must be one of cell_walls, cells, checker"),
        ((-1, "cells", 64), "seed must be at least 0, got -1"),
        ((0, "cells", 15), "size must be at least 16, got 15"),
    ],
)
def test_bad_argument_is_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        texture_phantom(*arguments)
