"""The texture network as a whole: size, measured samples, units, noise, samples, and what is trained."""

import pytest
import torch
from helpers import copy_state, n_parameters, random_measurement
from hypothesis import given, settings
from hypothesis import strategies as st
from light_cascades import SMALL
from small_texture_cascades import TEXTURES, VARIANTS, coil_measurement, noise_for, textures

from common.networks import LightCascade, TextureCascade, train_cascade_alone, train_textures_alone
from common.operators import (
    SenseAcquisition,
    channels_to_complex,
    fft2c,
    pack_measurement,
    sense_forward,
    unpack_coils,
    unpack_measurement,
)


@pytest.fixture(scope="module")
def networks():
    return {name: textures(name) for name in VARIANTS}


def misfit(images, measurement):
    """Largest difference of the measured samples, of the largest sample."""
    masked_kspace, mask, maps = unpack_coils(measurement)
    found = sense_forward(channels_to_complex(images), maps, mask)
    return float((found - masked_kspace).abs().max() / masked_kspace.abs().max())


@pytest.mark.parametrize(("n_textures", "size", "widths"), [(1, 320, (24, 48, 72)), (8, 32, (32, 48, 72))])
def test_number_of_parameters(n_textures, size, widths):
    """By hand: encoder and mapping; a U-Net of 8 channels; strength, mix of 4 noises, scale and shift of each block."""
    with torch.device("meta"):
        network = TextureCascade(n_textures=n_textures, texture_size=size, texture_widths=widths, encoder_width=1.0)
        cascade = LightCascade()
    linear = 1280 * size + size + 2 * (size * n_textures * size + n_textures * size) + 1280 * n_textures + n_textures
    mapping = 4 * (size * size + size)
    fine, middle, coarse = widths
    blocks = [fine, middle, coarse, middle, fine]
    unet = 9 * 32 * fine + fine + 9 * fine * 8 + 8
    unet += sum(2 * (9 * c * c + c) + 32 * c for c in blocks)
    unet += 8 * fine * middle + middle + fine + 8 * middle * coarse + coarse + middle
    injections = sum((c * c + c) + 4 * c + 2 * c * size + 2 * c for c in blocks)
    attention = 2 * coarse + (coarse * 3 * coarse + 3 * coarse) + (coarse * coarse + coarse)
    expected = n_parameters(cascade) + 2_223_872 + linear + mapping + unet + injections + attention
    assert n_parameters(network) == expected


# --------------------------------------------------------------------------------------------- measured samples


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (9, 17)])
@torch.no_grad()
def test_every_sample_keeps_the_measured_samples_at_any_size(networks, name, height, width):
    network, measurement = networks[name], random_measurement(height, width, seed=height, batch=2)
    _, mask = unpack_measurement(measurement)
    for image in network.samples(measurement, noise_for(measurement, 3)).unbind(1):
        assert image.shape == (2, 2, height, width)
        assert image.dtype == torch.float32
        assert misfit(image, measurement) < 1e-5
        assert ((1 - mask) * fft2c(channels_to_complex(image))).abs().max() > 1e-2  # not just zero-filling


@settings(max_examples=8)
@given(height=st.integers(5, 40), width=st.integers(5, 40), seed=st.integers(0, 2**16), unit=st.floats(-6, 6))
@torch.no_grad()
def test_measured_samples_are_preserved_in_any_unit(networks, height, width, seed, unit):
    measurement = random_measurement(height, width, seed)
    measurement[:, :2] *= 10**unit
    assert misfit(networks["spatial"](measurement, noise_for(measurement, seed=seed)), measurement) < 1e-5


@torch.no_grad()
def test_coils_and_samples_together_are_as_one_by_one(networks):
    measurement = coil_measurement(24, 30, n_coils=3, batch=2)
    noise = noise_for(measurement, 3)
    samples = networks["spatial"].samples(measurement, noise)
    for item in range(2):
        for k in range(3):
            alone = networks["spatial"](measurement[item : item + 1], noise[item : item + 1, k])
            torch.testing.assert_close(samples[item, k], alone[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("factor", [3e-7j, -2e5, 0.3 - 0.4j])
@torch.no_grad()
def test_a_sample_turns_and_scales_with_its_measurement(networks, factor):
    measurement = random_measurement(32, 40, batch=2)
    kspace, mask = unpack_measurement(measurement)
    noise = noise_for(measurement)
    turned = channels_to_complex(networks["spatial"](pack_measurement(factor * kspace, mask), noise)) / factor
    expected = channels_to_complex(networks["spatial"](measurement, noise))
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_samples_of_an_empty_slice_are_empty_and_have_gradients():
    network = textures().train()
    measurement = random_measurement(48, 40, batch=2)
    measurement[1, :2] = 0
    image = network(measurement, noise_for(measurement))
    assert torch.isfinite(image).all()
    assert not image[1].any()
    assert image[0].any()
    image.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


# --------------------------------------------------------------------------------------------------------- noise


@torch.no_grad()
def test_without_noise_it_is_the_cascade(networks):
    measurement = random_measurement(32, 40, batch=2)
    for network in networks.values():
        assert torch.equal(network(measurement), network.cascade(measurement))


@torch.no_grad()
def test_samples_of_a_new_network_are_the_image_of_its_cascade(networks):
    network, measurement = TextureCascade(**SMALL, **TEXTURES).eval(), random_measurement(32, 40)
    network.cascade.load_state_dict(networks["spatial"].cascade.state_dict())
    samples = network.samples(measurement, noise_for(measurement, 2))
    torch.testing.assert_close(samples, network(measurement)[:, None].expand_as(samples), rtol=0, atol=1e-4)
    network.texture_unet.tail.weight.fill_(0.01)  # the first strength of the noise already counts
    one, other = network.samples(measurement, noise_for(measurement, 2)).unbind(1)
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_samples_are_forward_with_their_noise(networks, name):
    network, measurement = networks[name], random_measurement(32, 40, batch=2)
    noise = noise_for(measurement, 3)
    samples = network.samples(measurement, noise)
    assert samples.shape == (2, 3, 2, 32, 40)
    for k in range(3):
        torch.testing.assert_close(samples[:, k], network(measurement, noise[:, k]), rtol=0, atol=1e-4)
    alone = network.samples(measurement[1:], noise[1:, 2:])
    torch.testing.assert_close(samples[1:, 2:], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_other_noise_gives_another_image(networks, name):
    """By its first channel, and by as many numbers of its second as the texture vectors have; by no others."""
    network, measurement = networks[name], random_measurement(32, 40)
    noise = noise_for(measurement)
    image = network(measurement, noise)
    injected, drawn, unused = (noise.clone() for _ in range(3))
    injected[:, 0] = noise_for(measurement, seed=1)[:, 0]
    drawn[:, 1].view(-1)[: network.n_latent] += 1
    unused[:, 1].view(-1)[network.n_latent :] += 1
    scale = float(image.abs().max())
    assert (network(measurement, injected) - image).abs().max() > 1e-2 * scale
    assert (network(measurement, drawn) - image).abs().max() > 1e-3 * scale
    assert torch.equal(network(measurement, unused), image)


# ------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_stages_of_the_textures_are_two_samples_and_the_style_of_the_last(name):
    network, measurement = train_textures_alone(textures(name)), random_measurement(40, 70, batch=2)
    torch.manual_seed(5)
    mean, log_variance, style, second, first = network.stages(measurement)
    torch.manual_seed(5)
    noise = torch.randn(2, 2, 2, 40, 70)
    samples = network.samples(measurement, noise)
    torch.testing.assert_close(torch.stack((first, second), dim=1), samples, rtol=0, atol=1e-4)
    assert mean.shape == log_variance.shape == (2, network.encoder.n_textures, 8)
    assert style.shape == (2, 8, 2, 3)
    masked_kspace, mask, maps = unpack_coils(measurement)
    zero_filled = SenseAcquisition(maps, mask).adjoint(masked_kspace).abs()
    encoded = network.encoder(zero_filled / zero_filled.amax((2, 3), keepdim=True))
    deviates = noise[:, 0, 1].flatten(1)[:, : network.n_latent].reshape(mean.shape)
    vectors = encoded[0] + (0.5 * encoded[1]).exp() * deviates
    torch.testing.assert_close(mean, encoded[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(style, network.mapping(vectors, encoded[2]), rtol=1e-3, atol=1e-3)


def trained(network):
    """Names of the weights that a sum over the stages reaches."""
    torch.manual_seed(0)
    stages = network.train().stages(random_measurement(64, 64, batch=2))
    (sum(stage.square().mean() for stage in stages) + (stages[-1] * stages[-2]).mean()).backward()
    return {name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}


def test_either_the_cascade_or_all_the_rest_is_trained():
    network = textures()
    names = {name for name, _ in network.named_parameters()}
    cascade = {name for name in names if name.startswith("cascade.")}
    assert trained(train_cascade_alone(network)) == cascade
    network.zero_grad()
    assert trained(train_textures_alone(network)) == names - cascade


def test_training_computes_what_inference_does_and_leaves_the_statistics():
    """The samples of a batch do not see each other, as they would through batch norm."""
    network, measurement = textures(), random_measurement(32, 48)
    noise, before = noise_for(measurement, 2), copy_state(network)
    expected = network.samples(measurement, noise)
    network.train()
    torch.testing.assert_close(network.samples(measurement, noise), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(network.samples(measurement, noise[:, :1]), expected[:, :1], rtol=0, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# ------------------------------------------------------------------------------------------------------ the rest


def test_wrong_inputs_are_refused(networks):
    network, measurement = networks["spatial"], random_measurement(32, 40, batch=2)
    with pytest.raises(ValueError, match="expected a measurement"):
        network(torch.zeros(1, 2, 32, 32))
    for shape in [(2, 2, 32, 41), (2, 2, 33, 40), (1, 2, 32, 40), (2, 3, 32, 40), (2, 32, 40)]:
        with pytest.raises(ValueError, match=r"expected noise .* height and width \[2, 32, 40\].* got shape"):
            network(measurement, torch.zeros(shape))
    with pytest.raises(ValueError, match="at least 16 pixels"):
        network(random_measurement(3, 5), torch.zeros(1, 2, 3, 5))
    assert network(random_measurement(3, 5)).shape == (1, 2, 3, 5)  # without noise no texture is drawn


@pytest.mark.parametrize("options", [{"n_textures": 0}, {"texture_size": 0}, {"injection": "style"}, {"n_stages": 0}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        TextureCascade(**{**SMALL, **TEXTURES, **options})
