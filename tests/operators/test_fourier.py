"""Fourier transforms: adjoint, unitary, centred, NumPy's numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import assert_adjoint, numpy_fft2c, numpy_ifft2c, random_complex
from hypothesis import given
from hypothesis import strategies as st

from common.operators import channels_to_complex, complex_to_channels, fft2c, ifft2c

sizes = {"height": st.integers(1, 17), "width": st.integers(1, 17), "seed": st.integers(0, 2**16)}


@given(batch=st.integers(1, 3), coils=st.integers(1, 3), **sizes)
def test_transforms_are_adjoint_to_each_other(batch, coils, height, width, seed):
    x = random_complex(batch, coils, height, width, seed=seed)
    y = random_complex(batch, coils, height, width, seed=seed + 1)
    assert_adjoint(SimpleNamespace(forward=fft2c, adjoint=ifft2c), x, y)


@given(**sizes)
def test_transforms_are_unitary(height, width, seed):
    x = random_complex(1, 2, height, width, seed=seed)
    torch.testing.assert_close(ifft2c(fft2c(x)), x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fft2c(ifft2c(x)), x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fft2c(x).norm(), x.norm(), rtol=1e-10, atol=1e-10)


@given(**sizes)
def test_transforms_give_numpys_numbers(height, width, seed):
    x = random_complex(2, 1, height, width, seed=seed)
    np.testing.assert_allclose(fft2c(x).numpy(), numpy_fft2c(x.numpy()), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(ifft2c(x).numpy(), numpy_ifft2c(x.numpy()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9), (6, 5), (1, 4)])
def test_ones_become_one_centre_sample(height, width):
    expected = torch.zeros(1, 1, height, width, dtype=torch.complex128)
    expected[..., height // 2, width // 2] = (height * width) ** 0.5
    ones = torch.ones(1, 1, height, width, dtype=torch.complex128)
    torch.testing.assert_close(fft2c(ones), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ifft2c(expected), ones, rtol=0, atol=1e-12)


def test_a_sample_beside_the_centre_is_one_period_across_the_image():
    kspace = torch.zeros(1, 1, 6, 8, dtype=torch.complex128)
    kspace[..., 3, 5] = 48**0.5
    wave = torch.exp(2j * torch.pi * (torch.arange(8) - 4) / 8).to(torch.complex128)
    torch.testing.assert_close(ifft2c(kspace)[0, 0], wave.expand(6, 8), rtol=0, atol=1e-7)


def test_channels_are_real_then_imaginary_and_go_back():
    image = random_complex(3, 1, 5, 4, dtype=torch.complex64)
    channels = complex_to_channels(image)
    assert channels.shape == (3, 2, 5, 4)
    assert channels.dtype == torch.float32
    assert torch.equal(channels[:, 0], image.real[:, 0])
    assert torch.equal(channels[:, 1], image.imag[:, 0])
    assert torch.equal(channels_to_complex(channels), image)
