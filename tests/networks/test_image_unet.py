"""The plain U-Net: its size, its input and output, its exports."""

import pytest
import torch
from exports import assert_same, program, scripted
from helpers import n_parameters, random_complex, random_mask, random_measurement
from torch import nn

from common.networks import ImageUNet
from common.operators import (
    SenseAcquisition,
    channels_to_complex,
    complex_to_channels,
    ifft2c,
    pack_measurement,
    simulated_sensitivity_maps,
    unpack_measurement,
)
from common.operators.scaling import peak_and_phase

SIZES = [(48, 32), (33, 47)]


def by_hand(c):
    """MONAI's BasicUNet: two 3x3 convolutions with bias at each level, each with an affine instance norm."""

    def pair(c_in, c_out):
        return 9 * c_in * c_out + c_out + 2 * c_out + 9 * c_out * c_out + c_out + 2 * c_out

    def up(c_low, c_skip, c_out, c_up):
        """A 2x2 transposed convolution, the skip beside it, the pair."""
        return 4 * c_low * c_up + c_up + pair(c_up + c_skip, c_out)

    down = pair(2, c) + pair(c, 2 * c) + pair(2 * c, 4 * c) + pair(4 * c, 8 * c) + pair(8 * c, 16 * c)
    rise = up(16 * c, 8 * c, 8 * c, 8 * c) + up(8 * c, 4 * c, 4 * c, 4 * c) + up(4 * c, 2 * c, 2 * c, 2 * c)
    return down + rise + up(2 * c, c, c, 2 * c) + 2 * c + 2


@pytest.mark.parametrize(("width", "known"), [(32, 7_783_170), (24, 4_379_906)])
def test_number_of_parameters(width, known):
    with torch.device("meta"):
        network = ImageUNet(width)
    assert n_parameters(network) == by_hand(width) == known


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ImageUNet(width=4).eval()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (17, 40)])
@torch.no_grad()
def test_input_is_the_normalised_zero_filled_image_and_is_added(network, height, width):
    measurement = random_measurement(height, width, batch=2)
    kspace, _ = unpack_measurement(measurement)
    zero_filled = ifft2c(kspace)
    forward, inverse = peak_and_phase(complex_to_channels(zero_filled))
    scaled = complex_to_channels(zero_filled * forward)
    padded = nn.functional.pad(scaled, (0, -width % 16, 0, -height % 16), mode="replicate")
    expected = scaled + network.unet(padded)[..., :height, :width]
    image = network(measurement)
    assert image.shape == (2, 2, height, width)
    restored = complex_to_channels(channels_to_complex(expected) * inverse)
    torch.testing.assert_close(image, restored, rtol=1e-5, atol=1e-5)
    assert (expected - scaled).abs().max() > 1e-2


@torch.no_grad()
def test_result_turns_and_scales_with_its_measurement(network):
    measurement, factor = random_measurement(32, 40, batch=2), 3e-4 * torch.exp(torch.tensor(2j))
    kspace, mask = unpack_measurement(measurement)
    turned = channels_to_complex(network(pack_measurement(factor * kspace, mask)))
    expected = factor * channels_to_complex(network(measurement))
    torch.testing.assert_close(turned, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


@torch.no_grad()
def test_noise_is_not_looked_at_and_zeros_stay_zeros(network):
    measurement = random_measurement(32, 32)
    assert torch.equal(network(measurement, torch.randn(1, 2, 32, 32)), network(measurement))
    measurement[:, :2] = 0
    assert not network(measurement).any()


@torch.no_grad()
def test_several_coils_are_combined(network):
    maps, mask = simulated_sensitivity_maps(4, 32, 40), random_mask(32, 40)
    acquisition = SenseAcquisition(maps, mask)
    kspace = acquisition(random_complex(1, 1, 32, 40, dtype=torch.complex64))
    combined = acquisition.adjoint(kspace)
    whole = torch.ones(1, 1, 32, 40)
    one_coil = SenseAcquisition(torch.ones(1, 1, 32, 40, dtype=torch.complex64), whole)(combined)
    image = network(pack_measurement(kspace, mask, maps))
    torch.testing.assert_close(image, network(pack_measurement(one_coil, whole)), rtol=1e-4, atol=1e-4)


def test_torchscript_gives_the_same_numbers(network):
    assert_same(scripted(network), network, [random_measurement(*size, seed=7, batch=3) for size in SIZES])


@pytest.mark.slow
def test_exported_program_gives_the_same_numbers(network):
    exported = program(network, random_measurement(48, 32, batch=2))
    assert_same(exported, network, [random_measurement(*size, seed=7, batch=3) for size in SIZES])
