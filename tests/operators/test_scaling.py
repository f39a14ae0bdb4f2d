"""Intensity scalings and their way back."""

import pytest
import torch
from helpers import random_complex, random_mask

from common.operators import IntensityScaling, SingleCoilAcquisition, complex_to_channels, fft2c, ifft2c


@pytest.mark.parametrize("mode", ["shifted", "peak"])
def test_restore_undoes_normalise(mode):
    scaling = IntensityScaling(mode)
    zero_filled, image = (complex_to_channels(random_complex(3, 1, 6, 5, seed=i)) for i in range(2))
    factor = scaling.factor(zero_filled)
    assert factor.shape == (3, 1, 1, 1)
    torch.testing.assert_close(scaling.restore(scaling.normalise(image, factor), factor), image, rtol=1e-12, atol=1e-12)


def test_shifted_maps_the_unit_interval_to_minus_one_to_one():
    scaling = IntensityScaling("shifted")
    image = torch.tensor([0.0, 0.25, 1.0, 0.0]).reshape(1, 2, 1, 2)
    network_units = scaling.normalise(image, scaling.factor(image))
    assert network_units.flatten().tolist() == [-1.0, -0.5, 1.0, -1.0]


def test_shifting_the_zero_filled_image_is_zero_filling_the_shifted_one():
    """Holds since every mask samples DC, where the transform of the constant is."""
    scaling = IntensityScaling("shifted")
    image = random_complex(2, 1, 7, 8)
    acquisition = SingleCoilAcquisition(random_mask(7, 8))
    zero_filled = complex_to_channels(acquisition.adjoint(acquisition(image)))
    shifted = acquisition(2 * image - (1 + 1j))
    expected = complex_to_channels(ifft2c(shifted))
    torch.testing.assert_close(
        scaling.normalise(zero_filled, scaling.factor(zero_filled)), expected, rtol=1e-10, atol=1e-10
    )
    constant = 2 * acquisition(image) - shifted
    assert fft2c(torch.full((1, 1, 7, 8), 1 + 1j, dtype=torch.complex128)).allclose(constant)


def test_peak_divides_each_image_by_its_largest_magnitude():
    scaling = IntensityScaling("peak")
    zero_filled = complex_to_channels(random_complex(3, 1, 6, 5) * torch.tensor([1e-6, 1.0, 1e5])[:, None, None, None])
    network_units = scaling.normalise(zero_filled, scaling.factor(zero_filled))
    magnitude = torch.linalg.vector_norm(network_units, dim=1)
    torch.testing.assert_close(magnitude.amax(dim=(1, 2)), torch.ones(3, dtype=torch.float64), rtol=1e-12, atol=0)


def test_peak_of_an_empty_image_is_one():
    scaling = IntensityScaling("peak")
    zeros = torch.zeros(2, 2, 4, 4)
    factor = scaling.factor(zeros)
    assert factor.flatten().tolist() == [1.0, 1.0]
    assert not scaling.normalise(zeros, factor).any()


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="scaling must be one of shifted, peak, got 'minmax'"):
        IntensityScaling("minmax")
