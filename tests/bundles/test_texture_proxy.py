"""Texture statistics: parity with scikit-image's filters, known answers, and the frozen MobileNetV2."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve
from scripts.texture_proxy import GaborTextures, HighPass, MobileNetTextures
from skimage.filters import gabor_kernel

from common.networks import MobileNetV2Features

FLOOR = 0.5 * math.log10(0.003**2) + 1.75


def wavelength(scale):
    return 2.5 * 1.6**scale


def plane_wave(wavelength, angle, height=96, width=96):
    """Between 0 and 1, its crests at a right angle to ``angle``."""
    y, x = np.mgrid[:height, :width]
    wave = np.cos(2 * np.pi / wavelength * (np.cos(angle) * x + np.sin(angle) * y))
    return torch.from_numpy(0.5 + 0.5 * wave).float()[None, None]


@pytest.fixture(scope="module")
def textures():
    return GaborTextures()


# ------------------------------------------------------------------------------------------------------ high-pass


@given(value=st.floats(-100, 100), height=st.integers(1, 30), width=st.integers(1, 30))
def test_high_pass_of_one_value_is_zero(value, height, width):
    result = HighPass()(torch.full((1, 1, height, width), value))
    assert result.abs().max() <= 1e-6 * abs(value) + 1e-30


@pytest.mark.parametrize(("sigma", "height", "width"), [(2.0, 40, 33), (1.0, 5, 7)])
def test_high_pass_is_scipys(sigma, height, width):
    image = np.random.default_rng(0).random((2, height, width))
    smooth = np.stack([gaussian_filter(one, sigma, mode="nearest", radius=math.ceil(3 * sigma)) for one in image])
    result = HighPass(sigma)(torch.from_numpy(image).float()[:, None])
    np.testing.assert_allclose(result[:, 0].numpy(), image - smooth, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------- Gabor


def by_scikit_image(image, cell, n_scales=4, n_orientations=8):
    """Energies of its Gabor kernels, cut to 3 windows of the largest and without their answer to a constant."""
    reach = math.ceil(1.5 * wavelength(n_scales - 1))
    padded, features = np.pad(image, reach, mode="edge"), []
    for scale in range(n_scales):
        sigma = 0.5 * wavelength(scale)
        for orientation in range(n_orientations):
            theta = np.pi * orientation / n_orientations
            kernel = gabor_kernel(1 / wavelength(scale), theta, sigma_x=sigma, sigma_y=sigma, n_stds=40)
            row, column = (n // 2 for n in kernel.shape)
            kernel = kernel[row - reach : row + reach + 1, column - reach : column + reach + 1]
            window = np.abs(kernel) / np.abs(kernel).sum()
            kernel = kernel / np.abs(kernel).sum()
            energy = np.abs(fftconvolve(padded, kernel - window * kernel.sum(), mode="valid")) ** 2
            rows = [energy[top : top + cell] for top in range(0, image.shape[0], cell)]
            features.append(
                [[r[:, left : left + cell].mean() for left in range(0, image.shape[1], cell)] for r in rows]
            )
    return 0.5 * np.log10(np.array(features) + 0.003**2) + 1.75


@pytest.mark.parametrize(("height", "width", "cell"), [(64, 64, 32), (41, 70, 32), (20, 33, 8)])
def test_statistics_are_those_of_scikit_images_filters(height, width, cell):
    image = np.random.default_rng(1).random((height, width))
    image[: height // 2] = np.linspace(0, 1, width)  # half of it smooth
    result = GaborTextures(cell=cell)(torch.from_numpy(image).float()[None, None])
    assert result.shape == (1, 32, -(-height // cell), -(-width // cell))
    np.testing.assert_allclose(result[0].numpy(), by_scikit_image(image, cell), atol=2e-3)


@pytest.mark.parametrize("scale", range(4))
def test_a_wave_answers_most_in_its_own_channel(textures, scale):
    """A wave between 0 and 1 has amplitude 1/2: half of it is in the filter, so that 1/4 comes out."""
    for orientation in range(8):
        answer = textures(plane_wave(wavelength(scale), math.pi * orientation / 8))[0, :, 1, 1]
        assert int(answer.argmax()) == 8 * scale + orientation
        assert float(answer.max()) == pytest.approx(math.log10(0.25) + 1.75, abs=0.02)


def test_an_edge_answers_as_the_docstring_says(textures):
    image = torch.zeros(1, 1, 96, 96)
    image[..., 48:] = 1
    answer = textures(image)[0, :, 1, 1]
    assert 2 * (float(answer.max()) - 1.75) == pytest.approx(-2.2, abs=0.1)
    assert int(answer.argmax()) % 8 == 0  # waves across it


@given(value=st.floats(0, 1), height=st.integers(1, 70), width=st.integers(1, 40))
def test_an_image_of_one_value_has_the_floor(textures, value, height, width):
    result = textures(torch.full((2, 1, height, width), value))
    assert result.shape == (2, 32, -(-height // 32), -(-width // 32))
    torch.testing.assert_close(result, torch.full_like(result, FLOOR), rtol=0, atol=1e-5)
    assert pytest.approx(-5, abs=0.05) == 2 * (FLOOR - 1.75)


def test_cells_see_their_own_place(textures):
    """Waves in one corner leave the far one at the floor."""
    image = torch.zeros(1, 1, 128, 128)
    image[..., :32, :32] = plane_wave(2.5, 0.0, 32, 32)
    result = textures(image)
    assert result[0, 0, 0, 0] > 1
    torch.testing.assert_close(result[..., 2:, 2:], torch.full((1, 32, 2, 2), FLOOR), rtol=0, atol=1e-4)


def test_high_pass_takes_the_slow_waves_out_and_leaves_the_fast_ones(textures):
    """Of sigma 2 it leaves 1 - exp(-2 (2 pi / wavelength)^2) of a wave: all of 2.5 pixels, half of 10.24."""
    filtered = GaborTextures(high_pass=HighPass())
    for scale in range(4):
        wave, channel = plane_wave(wavelength(scale), 0.0), 8 * scale
        lost = float(textures(wave)[0, channel, 1, 1] - filtered(wave)[0, channel, 1, 1])
        left = 1 - math.exp(-2 * (2 * math.pi / wavelength(scale)) ** 2)
        assert lost == pytest.approx(-math.log10(left), abs=0.02)
    slow = 0.3 * plane_wave(60.0, 0.3)
    assert filtered(slow).mean() < textures(slow).mean()


def test_half_precision_around_it_changes_nothing(textures):
    filtered, image = GaborTextures(high_pass=HighPass()), torch.rand(1, 1, 40, 40)
    expected = filtered(image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(filtered(image), expected)


def test_it_has_a_size_and_no_weights():
    textures = GaborTextures(n_scales=3, n_orientations=5)
    assert textures.size == 15
    assert textures(torch.rand(1, 1, 40, 40)).shape == (1, 15, 2, 2)
    assert not list(textures.parameters())
    assert not textures.state_dict()
    assert not textures(torch.rand(1, 1, 40, 40, requires_grad=True)).requires_grad


# ------------------------------------------------------------------------------------------------------ MobileNetV2


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v2.pth"
    torch.save(MobileNetV2Features().state_dict(), path)
    return str(path)


def test_mobilenet_textures_are_frozen_features_in_fours(weights):
    textures, image = MobileNetTextures(weights), torch.rand(2, 1, 40, 64)
    assert textures.train() is textures
    assert not any(module.training for module in textures.modules())
    assert not any(parameter.requires_grad for parameter in textures.parameters())
    result = textures(image)
    assert result.shape == (2, textures.size, 2, 2) == (2, 320, 2, 2)
    features = MobileNetV2Features(weights).eval()(image).detach().numpy()
    fours = sum(features[:, start::4] for start in range(4)) / 4
    np.testing.assert_allclose(result.numpy(), fours, rtol=1e-4, atol=1e-6)
    high_pass = HighPass()
    filtered = MobileNetTextures(weights, high_pass)(image)
    assert torch.equal(filtered, textures(high_pass(image)))


def test_mobilenet_textures_need_their_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such weights"):
        MobileNetTextures(str(tmp_path / "none.pth"))
