"""Unit and phase of an image: taken out, put back, and the same for every scanner."""

import cmath
import math

import pytest
import torch
from helpers import random_complex
from hypothesis import given
from hypothesis import strategies as st

from common.operators import complex_to_channels
from common.operators.scaling import peak_and_phase


def normalised(image):
    """The image in network units, complex."""
    return image * peak_and_phase(complex_to_channels(image))[0]


def test_known_values():
    """The peak is |3 + 4i| = 5, and 3 + 4i is the only phase there is."""
    image = torch.tensor([[0.0, 3 + 4j], [0.0, 0.0]], dtype=torch.complex64)[None, None]
    forward, inverse = peak_and_phase(complex_to_channels(image))
    assert forward.shape == inverse.shape == (1, 1, 1, 1)
    assert complex(forward) == pytest.approx((3 - 4j) / 25)
    assert complex(inverse) == pytest.approx(3 + 4j)


def test_bright_parts_decide_the_phase():
    """``sum x |x|`` of 2, 1 and 1 at 0, 90 and 90 degrees is 4 + 2i."""
    image = torch.tensor([2, 1j, 1j], dtype=torch.complex128)[None, None, None]
    forward, _ = peak_and_phase(complex_to_channels(image))
    assert cmath.phase(complex(forward)) == pytest.approx(-math.atan2(2, 4))
    assert abs(complex(forward)) == pytest.approx(1 / 2)


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_largest_magnitude_is_one_and_the_phase_is_gone(height, width, seed):
    image = random_complex(3, 1, height, width, seed=seed)
    forward, inverse = peak_and_phase(complex_to_channels(image))
    torch.testing.assert_close(forward * inverse, torch.ones_like(forward), rtol=1e-12, atol=1e-12)
    scaled = image * forward
    torch.testing.assert_close(scaled.abs().amax((2, 3)), torch.ones(3, 1, dtype=torch.float64), rtol=1e-12, atol=0)
    mean = (scaled * scaled.abs()).sum((2, 3))
    torch.testing.assert_close(mean, mean.abs().to(mean.dtype), rtol=0, atol=1e-12)


@given(exponent=st.floats(-30, 30), phase=st.floats(-4, 4), seed=st.integers(0, 2**16))
def test_any_unit_and_any_phase_give_the_same_image_in_float32(exponent, phase, seed):
    image = random_complex(2, 1, 6, 5, seed=seed)
    scaled = (image * cmath.rect(10**exponent, phase)).to(torch.complex64)
    expected = normalised(image).to(torch.complex64)
    torch.testing.assert_close(normalised(scaled), expected, rtol=0, atol=2e-5)


def test_images_of_a_batch_do_not_know_of_each_other():
    image = random_complex(3, 1, 6, 5) * torch.tensor([1e-6, 1.0, 1e5])[:, None, None, None]
    together = peak_and_phase(complex_to_channels(image))
    for one in range(3):
        alone = peak_and_phase(complex_to_channels(image[one : one + 1]))
        assert all(torch.equal(many[one : one + 1], few) for many, few in zip(together, alone, strict=True))


def test_an_image_of_zeros_stays_one():
    forward, inverse = peak_and_phase(torch.zeros(2, 2, 4, 5))
    assert forward.flatten().tolist() == [1, 1]
    assert inverse.flatten().tolist() == [0, 0]


def test_where_all_phases_cancel_none_is_taken_out():
    image = torch.tensor([2, -2], dtype=torch.complex64)[None, None, None]
    forward, inverse = peak_and_phase(complex_to_channels(image))
    assert complex(forward) == 0.5
    assert complex(inverse) == 2


def test_scripted_function_gives_the_same_numbers():
    channels = complex_to_channels(random_complex(3, 1, 6, 5, dtype=torch.complex64))
    for scripted, plain in zip(torch.jit.script(peak_and_phase)(channels), peak_and_phase(channels), strict=True):
        assert torch.equal(scripted, plain)
