"""Classical reconstructions: conventions of sigpy against ours, and what they do to images they are made for."""

import sys

import pytest
import torch

from common.operators import channels_to_complex, fft2c, ifft2c, pack_measurement, sense_forward
from common.operators.masks import sampling_mask
from tests.helpers import random_complex, random_mask
from tools.classical import total_variation, wavelet

pytest.importorskip("sigpy", reason="needs the extra `classical`")
METHODS = [total_variation, wavelet]


def measure(image, mask):
    return pack_measurement(mask * fft2c(image), mask)


def blocks(size):
    """A piecewise constant image in [0, 1]."""
    image = torch.zeros(1, 1, size, size, dtype=torch.complex64)
    image[..., size // 8 : -size // 8, size // 6 : -size // 6] = 0.5
    image[..., size // 3 : size // 2, size // 4 : size // 2] = 1
    return image


def error(channels, image):
    return float((channels_to_complex(channels) - image).abs().square().mean())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(16, 16), (15, 18)])
def test_full_sampling_without_penalty_returns_the_image(method, size):
    """Our k-space is sigpy's: same centre, same norm, on odd and even sizes, for images with phase."""
    images = random_complex(2, 1, *size, dtype=torch.complex64)
    result = method(measure(images, torch.ones(2, 1, *size)), weight=0.0, n_iterations=3)
    assert result.shape == (2, 2, *size)
    torch.testing.assert_close(channels_to_complex(result), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_without_penalty_the_measured_samples_are_kept_and_the_others_stay_zero(method):
    mask = random_mask(18, 15)
    kspace = mask * fft2c(random_complex(1, 1, 18, 15, dtype=torch.complex64))
    result = channels_to_complex(method(pack_measurement(kspace, mask), weight=0.0, n_iterations=3))
    torch.testing.assert_close(fft2c(result), kspace, atol=1e-5, rtol=0)


def test_denoising_of_one_step_is_that_of_total_variation():
    """Fully sampled, min |x - y|^2 / 2 + weight |differences| of a wide step brings its sides nearer: 4 corners of
    a period, each side of `n` rows gives way by 2 weight / n."""
    rows, weight = 16, 0.1
    image = torch.zeros(1, 1, rows, 8, dtype=torch.complex64)
    image[..., : rows // 2, :] = 1
    result = channels_to_complex(total_variation(measure(image, torch.ones(1, 1, rows, 8)), weight, n_iterations=400))
    change = 2 * weight / (rows // 2)
    expected = torch.where(image.real > 0.5, 1 - change, change)
    torch.testing.assert_close(result.real, expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(result.imag, torch.zeros_like(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_undersampled_blocks_come_nearer_than_zero_filled(method):
    image = blocks(64)
    mask = sampling_mask("gaussian", (64, 64), 0.3, seed=0)
    measurement = measure(image, mask)
    zero_filled = float((ifft2c(mask * fft2c(image)) - image).abs().square().mean())
    result = method(measurement)
    assert error(result, image) < 0.5 * zero_filled
    torch.testing.assert_close(method(measurement), result, atol=0, rtol=0)  # nothing is drawn at random
    assert error(method(measurement, weight=1.0), image) > error(result, image)


@pytest.mark.parametrize("method", METHODS)
def test_result_follows_the_units_of_the_image(method):
    """A scanner's units are as good as [0, 1]: the weight is a part of the zero-filled image's largest magnitude."""
    image = blocks(32) * torch.exp(1j * random_complex(1, 1, 1, 32).real).to(torch.complex64)
    mask = sampling_mask("cartesian", (32, 32), 0.3, seed=0)
    result = channels_to_complex(method(measure(image, mask)))
    raw = channels_to_complex(method(measure(1e-5 * image, mask)))
    assert float((result - ifft2c(mask * fft2c(image))).abs().max()) > 0.05
    torch.testing.assert_close(raw, 1e-5 * result, atol=1e-9, rtol=0)
    assert torch.equal(method(torch.zeros(1, 3, 8, 8)), torch.zeros(1, 2, 8, 8))


@pytest.mark.parametrize("method", METHODS)
def test_coils_of_any_sensitivity_give_the_image_that_one_cannot(method):
    """Half of the lines and maps that tell the aliases apart; the steps stay short enough for large maps."""
    image = random_complex(1, 1, 12, 10, dtype=torch.complex64)
    maps = random_complex(1, 4, 12, 10, seed=1, dtype=torch.complex64)
    maps = 3 * maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    mask = torch.zeros(1, 1, 12, 10)
    mask[..., ::2] = 1
    measurement = pack_measurement(sense_forward(image, maps, mask), mask, maps)
    result = channels_to_complex(method(measurement, weight=0.0, n_iterations=1000))
    torch.testing.assert_close(result, image, atol=5e-3, rtol=0)


def test_negative_weight_and_other_inputs_are_refused():
    with pytest.raises(ValueError, match="must be 0 or more, got -1"):
        wavelet(torch.zeros(1, 3, 8, 8), weight=-1)
    with pytest.raises(ValueError, match="expected a measurement"):
        total_variation(torch.zeros(1, 1, 8, 8))


def test_missing_sigpy_is_one_line_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "sigpy", None)
    monkeypatch.setitem(sys.modules, "sigpy.mri", None)
    monkeypatch.setitem(sys.modules, "sigpy.mri.app", None)
    with pytest.raises(ValueError, match=r"not installed; `pip install recon-bundles\[classical\]`"):
        wavelet(torch.zeros(1, 3, 8, 8))
