"""Data consistency: measured samples come back, consistent images stay, and the soft step is what it minimises."""

import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c, random_complex, random_mask
from hypothesis import given
from hypothesis import strategies as st

from common.operators import HardDataConsistency, SoftDataConsistency, fft2c

sizes = {"height": st.integers(2, 17), "width": st.integers(2, 17), "seed": st.integers(0, 2**16)}


def material(height, width, seed, dtype=torch.complex128):
    """An image, a measurement of another one, its mask and that other image."""
    image, truth = (random_complex(2, 1, height, width, seed=seed + i, dtype=dtype) for i in range(2))
    mask = random_mask(height, width, seed, batch=2)
    return image, mask * fft2c(truth), mask, truth


@given(**sizes)
def test_hard_leaves_measured_samples_as_measured(height, width, seed):
    image, kspace, mask, _ = material(height, width, seed, torch.complex64)
    result = fft2c(HardDataConsistency()(image, kspace, mask))
    error = (mask * (result - kspace)).abs().amax()
    assert error <= 2e-6 * kspace.abs().amax()
    assert ((1 - mask) * (result - fft2c(image))).abs().amax() <= 2e-6 * fft2c(image).abs().amax()


@given(**sizes)
def test_consistent_images_stay_as_they_are(height, width, seed):
    _, kspace, mask, truth = material(height, width, seed)
    torch.testing.assert_close(HardDataConsistency()(truth, kspace, mask), truth, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(SoftDataConsistency(3.0)(truth, kspace, mask), truth, rtol=1e-10, atol=1e-10)


@given(weight=st.floats(0, 100), **sizes)
def test_soft_is_the_weighted_mean_on_measured_samples(weight, height, width, seed):
    image, kspace, mask, _ = material(height, width, seed)
    predicted, measured = numpy_fft2c(image.numpy()), kspace.numpy()
    mean = np.where(mask.numpy() == 1, (predicted + weight * measured) / (1 + weight), predicted)
    result = SoftDataConsistency(weight)(image, kspace, mask)
    np.testing.assert_allclose(result.numpy(), numpy_ifft2c(mean), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 5)])
def test_soft_minimises_its_objective(height, width):
    """``|F z - F x|^2 + lambda |M F z - y|^2``, minimised over images z by least squares on a dense matrix of F."""
    weight = 0.7
    image, kspace, mask, _ = material(height, width, 5)
    unit_images = np.eye(height * width).reshape(-1, height, width)
    fourier = numpy_fft2c(unit_images).reshape(height * width, -1).T
    expected = []
    for x, y, m in zip(image.numpy(), kspace.numpy(), mask.numpy(), strict=True):
        sampled = fourier[m.ravel() == 1]
        matrix = np.concatenate((fourier, np.sqrt(weight) * sampled))
        right = np.concatenate((fourier @ x.ravel(), np.sqrt(weight) * y.ravel()[m.ravel() == 1]))
        expected.append(np.linalg.lstsq(matrix, right, rcond=None)[0].reshape(1, height, width))
    result = SoftDataConsistency(weight)(image, kspace, mask)
    np.testing.assert_allclose(result.numpy(), np.stack(expected), rtol=1e-9, atol=1e-9)


def test_limits_of_the_weight():
    image, kspace, mask, _ = material(9, 8, 3)
    unchanged = SoftDataConsistency(0.0)(image, kspace, mask)
    torch.testing.assert_close(unchanged, image, rtol=1e-12, atol=1e-12)
    nearly_hard = SoftDataConsistency(1e9)(image, kspace, mask)
    torch.testing.assert_close(nearly_hard, HardDataConsistency()(image, kspace, mask), rtol=1e-8, atol=1e-8)
    with pytest.raises(ValueError, match=r"weight \(lambda\) must be at least 0, got -1"):
        SoftDataConsistency(-1)
