"""Light cascades: size, measured samples, units and phases, masks as conditions, exports."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from exports import assert_same, onnx, program, scripted
from helpers import n_parameters, random_measurement
from hypothesis import given, settings
from hypothesis import strategies as st
from light_cascades import light
from small_texture_cascades import coil_measurement

from common.networks import LightCascade
from common.networks.light_unet import LightUNet, depth_to_space, space_to_depth
from common.networks.precision import Autocast, set_memory_format
from common.operators import channels_to_complex, fft2c, sense_forward, unpack_coils

SIZES = [(48, 40), (33, 47)]


def misfit(images, measurement):
    """Largest difference of the measured samples, of the largest sample."""
    masked_kspace, mask, maps = unpack_coils(measurement)
    found = sense_forward(channels_to_complex(images), maps, mask)
    return float((found - masked_kspace).abs().max() / masked_kspace.abs().max())


def with_mask(measurement, mask):
    """The measurement, sampled at fewer places."""
    return torch.cat((measurement[:, :2] * mask, mask), dim=1)


# ------------------------------------------------------------------------------------------------------ the U-Net


def unet_parameters(n_in, n_out, widths, memory=0, conditions=0):
    """By hand: head, two blocks a level (one at the coarsest), 2 x 2 convolutions down and up, tail."""
    total = 9 * (4 * n_in + memory) * widths[0] + widths[0]
    for level, width in enumerate(widths):
        total += (1 if level == len(widths) - 1 else 2) * (2 * (9 * width * width + width) + conditions * width)
    for fine, coarse in pairwise(widths):
        total += 4 * fine * coarse + coarse + 4 * fine * coarse + fine
    n_tail = 4 * n_out + memory
    return total + 9 * widths[0] * n_tail + n_tail


@pytest.mark.parametrize(("memory", "conditions"), [(0, 0), (24, 32)])
def test_number_of_parameters(memory, conditions):
    network = LightCascade(memory=memory, n_conditions=conditions)
    unused = 7 * 0 if conditions else 6 * 5  # a block without conditions keeps one number that is not trained
    described = 16 * conditions + conditions
    expected = 6 * unet_parameters(2, 2, (24, 48, 72), memory, conditions) + described + unused
    assert n_parameters(network) == expected


@given(
    channels=st.integers(1, 3), height=st.integers(1, 4), width=st.integers(1, 4), frames=st.integers(1, 3),
    factor=st.integers(1, 3),
)  # fmt: skip
def test_blocks_of_pixels_come_back(channels, height, width, frames, factor):
    image = torch.rand(2, channels, height * factor, width * factor, frames)
    blocks = space_to_depth(image, factor)
    for frame in range(frames):  # as PyTorch's, frame by frame
        assert torch.equal(blocks[..., frame], space_to_depth(image[..., frame], factor))
    assert torch.equal(depth_to_space(blocks, factor), image)
    assert torch.equal(depth_to_space(space_to_depth(image[..., 0], factor), factor), image[..., 0])


def test_a_network_of_no_level_is_refused():
    with pytest.raises(ValueError, match="widths"):
        LightUNet(widths=())


# ---------------------------------------------------------------------------------------------------- the cascade


@settings(max_examples=15, deadline=None, derandomize=True)
@given(height=st.integers(9, 40), width=st.integers(9, 40), seed=st.integers(0, 99))
@torch.no_grad()
def test_measured_samples_are_kept_at_any_size(height, width, seed):
    measurement = random_measurement(height, width, seed, batch=2)
    stages = light().stages(measurement)
    assert all(stage.shape == (2, 2, height, width) for stage in stages)
    assert misfit(stages[3], measurement) < 1e-6
    assert misfit(stages[1], measurement) < 1e-6
    assert misfit(stages[2], measurement) > 1e-3  # the network alone does not keep them
    assert torch.equal(light()(measurement), stages[3])


@torch.no_grad()
def test_whole_kspace_comes_back_whole():
    measurement = random_measurement(24, 30)
    image = torch.rand(1, 1, 24, 30).to(torch.complex64)
    kspace = fft2c(image)
    measurement = torch.cat((kspace.real, kspace.imag, torch.ones(1, 1, 24, 30)), dim=1)
    result = channels_to_complex(light()(measurement))
    torch.testing.assert_close(result, image, rtol=0, atol=2e-6)


@pytest.mark.parametrize("factor", [300.0, 0.004, -2.0, 1j, 3 * np.exp(2j)])
@torch.no_grad()
def test_the_result_scales_and_turns_with_its_measurement(factor):
    network, measurement = light(), random_measurement(24, 37, batch=2)
    turned = channels_to_complex(measurement) * factor
    scaled = torch.cat((turned.real, turned.imag, measurement[:, 2:]), dim=1)
    expected = channels_to_complex(network(measurement)) * factor
    found = channels_to_complex(network(scaled))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
def test_nothing_measured_gives_nothing():
    assert not light()(torch.zeros(1, 3, 16, 16)).any()


@torch.no_grad()
def test_several_coils_explain_their_measurement_the_better_the_more_iterations():
    measurement = coil_measurement(40, 36, n_coils=4, batch=2)
    few, many = (misfit(light(n_dc_iterations=n)(measurement), measurement) for n in (2, 12))
    assert many < 0.2 * few
    assert many < 0.1


@torch.no_grad()
def test_one_coil_with_a_map_of_ones_is_one_coil():
    measurement = random_measurement(24, 30, batch=2)
    ones, zeros = torch.ones(2, 1, 24, 30), torch.zeros(2, 1, 24, 30)
    torch.testing.assert_close(light()(torch.cat((measurement, ones, zeros), dim=1)), light()(measurement))


@torch.no_grad()
def test_the_mask_is_a_condition_of_every_block():
    network = light()
    image = random_measurement(32, 32)
    one = network.conditions(torch.ones(1, 1, 32, 32))
    few = network.conditions((torch.rand(1, 1, 32, 32) < 0.2).float())
    assert not torch.allclose(one, few)
    before = network(image)
    network.conditions.layers[0].bias.data += 1
    assert not torch.allclose(network(image), before)


def test_density_of_a_mask_by_bands_of_the_axes():
    """Sampled rows about the centre fill the first band of ky and no band far from it."""
    conditions = light().conditions
    rows = conditions._bands(33, torch.device("cpu"))
    assert torch.allclose(rows.sum(dim=1), torch.ones(4))
    mask = torch.zeros(33)
    mask[14:19] = 1
    density = rows @ mask
    assert density[0] > 0.6
    assert density[2:].max() < 1e-3


@torch.no_grad()
def test_memory_is_handed_on():
    network, measurement = light(), random_measurement(24, 24)
    before = network(measurement)
    first_tail = network.networks[0].tail
    first_tail.bias.data[8:] += 1  # of the features alone: the first correction stays
    assert not torch.allclose(network(measurement), before)


@torch.no_grad()
def test_memory_format_and_precision_leave_the_result():
    network, measurement = light(), random_measurement(33, 24)
    expected = network(measurement)
    set_memory_format(network, channels_last=True)
    assert network.networks[0].head.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(measurement), expected, rtol=0, atol=1e-5)
    lower = Autocast(network, "bfloat16")(measurement)
    assert misfit(lower, measurement) < 1e-6  # physics stays in float32
    torch.testing.assert_close(lower, expected, rtol=0, atol=0.05 * float(expected.abs().max()))


def test_every_weight_is_trained():
    network = light().train()
    sum(stage.square().sum() for stage in network.stages(random_measurement(32, 32))).backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # the last U-Net hands nothing on, but its tail has one weight for both
    assert idle == []


def test_wrong_options_and_inputs_are_refused():
    with pytest.raises(ValueError, match="n_stages"):
        LightCascade(n_stages=0)
    with pytest.raises(ValueError, match="measurement"):
        light()(torch.zeros(1, 4, 16, 16))


# -------------------------------------------------------------------------------------------------------- exports


def images(make, height, width):
    """An example to export with, and measurements of other sizes."""
    return make(height, width, batch=2), [make(*size, batch=3) for size in SIZES]


EXPORTED = {
    "light": (lambda: light(n_stages=2), *images(random_measurement, 36, 28)),
    "coils": (lambda: light(n_stages=1, n_dc_iterations=2), *images(coil_measurement, 36, 28)),
}


@pytest.mark.parametrize("name", EXPORTED)
@torch.no_grad()
def test_torchscript_gives_the_same_numbers(name):
    make, _, measurements = EXPORTED[name]
    network = make()
    exported = scripted(network)
    assert_same(exported, network, measurements)
    if name == "light":
        for mine, theirs in zip(network.stages(measurements[1]), exported.stages(measurements[1]), strict=True):
            torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["light", pytest.param("coils", marks=pytest.mark.slow)])
def test_exported_program_gives_the_same_numbers(name):
    make, example, measurements = EXPORTED[name]
    network = make()
    assert_same(program(network, example), network, measurements)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_onnx_gives_the_same_numbers(name, tmp_path):
    make, example, measurements = EXPORTED[name]
    network = make()
    assert_same(onnx(network, tmp_path, example), network, measurements, 1e-3)
