"""The texture networks as a whole: size, measured samples, units, noise, samples, and the start from a baseline."""

import numpy as np
import pytest
import torch
from helpers import copy_state, n_parameters, numpy_fft2c, numpy_ifft2c, random_measurement
from hypothesis import given, settings
from hypothesis import strategies as st
from small_texture_unets import TEXTURES, VARIANTS, coil_measurement, noise_for, variant, with_random_weights

from common.networks import TextureUNets, UnrolledUNets, start_from_baseline
from common.operators import (
    SenseAcquisition,
    channels_to_complex,
    fft2c,
    pack_measurement,
    sense_forward,
    unpack_coils,
    unpack_measurement,
)

GENERATIVE = ["adain", "spatial"]


@pytest.fixture(scope="module")
def networks():
    return {name: variant(name) for name in VARIANTS}


def misfit(images, measurement):
    """Largest difference of the measured samples, of the largest sample."""
    masked_kspace, mask, maps = unpack_coils(measurement)
    found = sense_forward(channels_to_complex(images), maps, mask)
    return float((found - masked_kspace).abs().max() / masked_kspace.abs().max())


# ------------------------------------------------------------------------------------------- parameters, by hand


def pair(c_in, c):
    """Two 3x3 convolutions without bias, each with batch norm."""
    return 9 * c_in * c + 2 * c + 9 * c * c + 2 * c


def update(c):
    """1x1 stem from image and residual; four levels; the bottom; four levels; 1x1 head; and the step."""
    total = 4 * c + c
    for level in (c, 2 * c, 4 * c, 8 * c):
        total += pair(level, level) + 1 + (level * 2 * level + 2 * level)  # one threshold, 1x1 convolution down
        total += (9 * 2 * level * level + level) + pair(2 * level, level)  # 3x3 transposed convolution up
    return total + pair(16 * c, 16 * c) + (c * 2 + 2) + 1


def injections(c, size):
    """A strength of the noise for each channel, and scale and shift affine in the style."""
    channels = [c, 2 * c, 4 * c, 8 * c, 16 * c, 8 * c, 4 * c, 2 * c, c]
    return sum(n + 2 * n * size + 2 * n for n in channels)


@pytest.mark.parametrize(("n_blocks", "width", "known"), [(3, 32, 31_151_253), (3, 16, 7_793_493), (1, 32, 10_383_751)])
def test_number_of_parameters_of_the_baseline(n_blocks, width, known):
    with torch.device("meta"):
        network = UnrolledUNets(n_blocks, width)
    assert n_parameters(network) == n_blocks * update(width) == known


@pytest.mark.parametrize(("n_textures", "size", "attention"), [(1, 320, False), (8, 32, True)])
def test_number_of_parameters_of_the_generative_network(n_textures, size, attention):
    with torch.device("meta"):
        network = TextureUNets(n_textures=n_textures, texture_size=size, attention=attention)
    linear = 1280 * size + size + 2 * (size * n_textures * size + n_textures * size) + 1280 * n_textures + n_textures
    mapping = 4 * (size * size + size)
    bottom = 2 * 512 + (512 * 3 * 512 + 3 * 512) + (512 * 512 + 512) if attention else 0
    expected = 3 * update(32) + injections(32, size) + 2_223_872 + linear + mapping + bottom
    assert n_parameters(network) == expected


# ---------------------------------------------------------------------------------------- the baseline by NumPy


@torch.no_grad()
def test_baseline_is_unit_phase_updates_and_measured_samples(networks):
    network, measurement = networks["unrolled"], random_measurement(24, 37, seed=3, batch=2)
    y, mask = measurement[:, 0].numpy() + 1j * measurement[:, 1].numpy(), measurement[:, 2].numpy()
    zero_filled = numpy_ifft2c(y)
    unit = np.abs(zero_filled).max((1, 2), keepdims=True)
    direction = (zero_filled * np.abs(zero_filled)).sum((1, 2), keepdims=True)
    unit = unit * direction / np.abs(direction)
    y, image = y / unit, zero_filled / unit
    for block in network.blocks:
        residual = numpy_ifft2c(mask * numpy_fft2c(image) - y)
        both = np.stack((image.real, image.imag, residual.real, residual.imag), axis=1)
        both = torch.from_numpy(both).float()
        correction = block.network(both, both, both).numpy()
        image = image - float(block.step) * residual + correction[:, 0] + 1j * correction[:, 1]
    image = numpy_ifft2c(np.where(mask > 0, y, numpy_fft2c(image))) * unit
    result = channels_to_complex(network(measurement))[:, 0].numpy()
    np.testing.assert_allclose(result, image, rtol=0, atol=1e-4 * np.abs(image).max())


# --------------------------------------------------------------------------------------------- measured samples


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (18, 24), (5, 17)])
@torch.no_grad()
def test_measured_samples_are_preserved_at_any_size(networks, name, height, width):
    network, measurement = networks[name], random_measurement(height, width, seed=height, batch=2)
    images = [network(measurement), network(measurement, noise_for(measurement))]
    if name in GENERATIVE:
        images += network.samples(measurement, noise_for(measurement, 3)).unbind(1)
    _, mask = unpack_measurement(measurement)
    for image in images:
        assert image.shape == (2, 2, height, width)
        assert image.dtype == torch.float32
        assert misfit(image, measurement) < 1e-5
        assert ((1 - mask) * fft2c(channels_to_complex(image))).abs().max() > 1e-2  # not just zero-filling


@settings(max_examples=8)
@given(height=st.integers(4, 40), width=st.integers(4, 40), seed=st.integers(0, 2**16), unit=st.floats(-6, 6))
@torch.no_grad()
def test_measured_samples_are_preserved_in_any_unit(networks, height, width, seed, unit):
    measurement = random_measurement(height, width, seed)
    measurement[:, :2] *= 10**unit
    assert misfit(networks["spatial"](measurement, noise_for(measurement, seed=seed)), measurement) < 1e-5


@pytest.mark.parametrize("name", ["unrolled", "spatial"])
@torch.no_grad()
def test_several_coils_explain_their_measurement(name):
    """Conjugate gradients come closer with every iteration; a few samples of many coils leave nothing open."""
    measurement, misfits = coil_measurement(32, 36, n_coils=4, batch=2), []
    for n_iterations in (1, 8, 50):
        network = variant(name)
        network.consistency.n_iterations = n_iterations
        image = network(measurement, noise_for(measurement))
        assert image.shape == (2, 2, 32, 36)
        misfits.append(misfit(image, measurement))
    assert misfits[0] > 0.1
    assert misfits[1] < 0.1 * misfits[0]
    assert misfits[2] < 2e-2


@torch.no_grad()
def test_one_coil_is_several_of_which_one_sees(networks):
    """A map of ones in the measurement is none; a second coil that sees nothing changes nothing."""
    kspace, mask = unpack_measurement(random_measurement(24, 30, batch=2))
    ones = torch.ones(1, 1, 24, 30, dtype=torch.complex64)
    alone = networks["unrolled"](pack_measurement(kspace, mask))
    with_map = networks["unrolled"](pack_measurement(kspace, mask, ones))
    assert torch.equal(alone, with_map)
    blind = pack_measurement(
        torch.cat((kspace, torch.zeros_like(kspace)), 1), mask, torch.cat((ones, torch.zeros_like(ones)), 1)
    )
    torch.testing.assert_close(networks["unrolled"](blind), alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_coils_and_samples_together_are_as_one_by_one(networks):
    measurement = coil_measurement(24, 30, n_coils=3, batch=2)
    noise = noise_for(measurement, 3)
    samples = networks["spatial"].samples(measurement, noise)
    for item in range(2):
        for k in range(3):
            alone = networks["spatial"](measurement[item : item + 1], noise[item : item + 1, k])
            torch.testing.assert_close(samples[item, k], alone[0], rtol=0, atol=1e-4)


# --------------------------------------------------------------------------------------- unit, phase, empty slices


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("factor", [3e-7j, -2e5, 0.3 - 0.4j])
@torch.no_grad()
def test_result_turns_and_scales_with_its_measurement(networks, name, factor):
    measurement = random_measurement(32, 40, batch=2)
    kspace, mask = unpack_measurement(measurement)
    noise = noise_for(measurement)
    turned = channels_to_complex(networks[name](pack_measurement(factor * kspace, mask), noise)) / factor
    expected = channels_to_complex(networks[name](measurement, noise))
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", VARIANTS)
def test_an_empty_slice_stays_empty_and_has_gradients(name):
    network = variant(name).train()
    measurement = random_measurement(48, 40, batch=2)
    measurement[1, :2] = 0
    image = network(measurement, noise_for(measurement))
    assert torch.isfinite(image).all()
    assert not image[1].any()
    assert image[0].any()
    image.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    for n_coils in (0, 3):
        empty = torch.zeros(1, 3, 48, 40) if n_coils == 0 else 0 * coil_measurement(48, 40, n_coils)
        with torch.no_grad():
            assert not network.eval()(empty).any()


# --------------------------------------------------------------------------------------------------------- noise


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_without_noise_it_is_noise_of_zeros_each_time(networks, name):
    network, measurement = networks[name], random_measurement(32, 40, batch=2)
    image = network(measurement)
    assert torch.equal(network(measurement), image)
    assert torch.equal(network(measurement, torch.zeros(2, 2, 32, 40)), image)


@torch.no_grad()
def test_the_baseline_does_not_look_at_noise(networks):
    measurement = random_measurement(32, 40)
    assert torch.equal(networks["unrolled"](measurement, noise_for(measurement)), networks["unrolled"](measurement))


@pytest.mark.parametrize("name", GENERATIVE)
@torch.no_grad()
def test_samples_are_forward_with_their_noise(networks, name):
    network, measurement = networks[name], random_measurement(32, 40, batch=2)
    noise = noise_for(measurement, 3)
    samples = network.samples(measurement, noise)
    assert samples.shape == (2, 3, 2, 32, 40)
    for k in range(3):
        torch.testing.assert_close(samples[:, k], network(measurement, noise[:, k]), rtol=0, atol=1e-5)
    alone = network.samples(measurement[1:], noise[1:, 2:])
    torch.testing.assert_close(samples[1:, 2:], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", GENERATIVE)
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


@torch.no_grad()
def test_a_new_network_makes_no_difference_of_noise():
    """Its last layer is zero; with a last layer, the noise's first strength already tells."""
    network, measurement = TextureUNets(2, **TEXTURES).eval(), random_measurement(32, 40)
    one, other = (network(measurement, noise_for(measurement, seed=seed)) for seed in (0, 1))
    assert torch.equal(one, other)
    network.texture_block.network.head.weight.fill_(0.1)
    one, other = (network(measurement, noise_for(measurement, seed=seed)) for seed in (0, 1))
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize("name", GENERATIVE)
@torch.no_grad()
def test_stages_are_two_samples_and_the_style_of_the_last(networks, name):
    network, measurement = networks[name], random_measurement(40, 70, batch=2)
    torch.manual_seed(5)
    mean, log_variance, style, second, first = network.stages(measurement)
    torch.manual_seed(5)
    noise = torch.randn(2, 2, 2, 40, 70)
    samples = network.samples(measurement, noise)
    torch.testing.assert_close(torch.stack((first, second), dim=1), samples, rtol=0, atol=1e-5)
    assert mean.shape == log_variance.shape == (2, network.encoder.n_textures, 8)
    assert style.shape == (2, 8, 2, 3)
    masked_kspace, mask, maps = unpack_coils(measurement)
    zero_filled = SenseAcquisition(maps, mask).adjoint(masked_kspace).abs()
    encoded = network.encoder(zero_filled / zero_filled.amax((2, 3), keepdim=True))
    deviates = noise[:, 0, 1].flatten(1)[:, : network.n_latent].reshape(mean.shape)
    vectors = encoded[0] + (0.5 * encoded[1]).exp() * deviates
    torch.testing.assert_close(mean, encoded[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(style, network.mapping(vectors, encoded[2]), rtol=1e-3, atol=1e-3)


# ----------------------------------------------------------------------------------------- start from a baseline


def saved(network, path, change=dict):
    torch.save(change(network.state_dict()), path)
    return path


def half(state):
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


@pytest.mark.parametrize("attention", [False, True])
@torch.no_grad()
def test_a_network_that_starts_from_a_baseline_is_that_baseline(attention, tmp_path):
    baseline = with_random_weights(UnrolledUNets(3, 4))
    network = TextureUNets(3, n_textures=2, injection="spatial", attention=attention, **TEXTURES).eval()
    kept = {name: value for name, value in copy_state(network).items() if not name.startswith("blocks.")}
    assert start_from_baseline(network, saved(baseline, tmp_path / "model.pt")) is network
    for measurement in (random_measurement(33, 40, batch=2), coil_measurement(32, 24)):
        assert torch.equal(network(measurement), baseline(measurement))
    state = network.state_dict()
    added = [name for name in kept if "injection" in name or "attention" in name or "texture_block" not in name]
    assert len(added) > 100
    assert all(torch.equal(state[name], kept[name]) for name in added)


@torch.no_grad()
def test_a_baseline_in_half_precision_becomes_float32(tmp_path):
    baseline = with_random_weights(UnrolledUNets(2, width=4))
    network = TextureUNets(2, injection="spatial", **TEXTURES).eval()
    start_from_baseline(network, saved(baseline, tmp_path / "model.pt", half))
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}
    baseline.load_state_dict(half(baseline.state_dict()))
    assert torch.equal(network(random_measurement(32, 32)), baseline(random_measurement(32, 32)))


@pytest.mark.parametrize(
    ("baseline", "got"),
    [
        ({"n_blocks": 4}, r"3 blocks, got 'blocks.3.step', which it does not have"),
        ({"n_blocks": 2}, r"3 blocks, got no 'blocks.2.step'"),
        ({"width": 8}, r"3 blocks, got 'blocks.0.network.stem.weight' of shape \[8, 4, 1, 1\]"),
    ],
)
def test_weights_of_another_baseline_are_refused(baseline, got, tmp_path):
    path = saved(UnrolledUNets(**{"n_blocks": 3, "width": 4, **baseline}), tmp_path / "model.pt")
    network = TextureUNets(3, **TEXTURES)
    before = copy_state(network)
    with pytest.raises(ValueError, match=rf"model\.pt: expected the weights of .*{got}"):
        start_from_baseline(network, path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_file_without_weights_is_refused(tmp_path):
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt: expected the weights of a baseline .*got no 'blocks.0.step'"):
        start_from_baseline(TextureUNets(2, **TEXTURES), tmp_path / "model.pt")


# ------------------------------------------------------------------------------------------------------ the rest


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_weights_come_back_from_half_precision(name):
    network, other = variant(name), variant(name, seed=1)
    other.load_state_dict(half(network.state_dict()))
    measurement = random_measurement(32, 40)
    assert other(measurement).dtype == torch.float32
    expected = network(measurement, noise_for(measurement))
    error = (other(measurement, noise_for(measurement)) - expected).abs().max()
    assert error < 0.05 * expected.abs().max()


def test_every_weight_of_the_generative_network_is_trained(networks):
    """Through two samples and the style; the step of one coil's last update is undone by data consistency."""
    network = variant("spatial").train()
    torch.manual_seed(0)
    mean, log_variance, style, second, first = network.stages(random_measurement(64, 64, batch=2))
    (first.square().mean() + (first * second).mean() + style.square().mean() + (mean * log_variance).mean()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert set(without) <= {"texture_block.step"}


def test_wrong_inputs_are_refused(networks):
    network, measurement = networks["spatial"], random_measurement(32, 40, batch=2)
    with pytest.raises(ValueError, match=r"expected a measurement .* got shape \[1, 2, 32, 32\]"):
        network(torch.zeros(1, 2, 32, 32))
    for shape in [(2, 2, 32, 41), (2, 2, 33, 40), (1, 2, 32, 40)]:
        with pytest.raises(ValueError, match=r"expected noise .* height and width \[2, 32, 40\], got shape"):
            network(measurement, torch.zeros(shape))
    with pytest.raises(ValueError, match=r"expected noise of two channels .* got shape \[2, 1, 3, 32, 40\]"):
        network(measurement, torch.zeros(2, 3, 32, 40))
    with pytest.raises(ValueError, match=r"expected noise of two channels .* got shape \[2, 1, 32, 40\]"):
        network(measurement, torch.zeros(2, 32, 40))
    with pytest.raises(ValueError, match=r"at least 16 pixels, .*take larger images, or a network of fewer or smaller"):
        network(random_measurement(3, 5), torch.zeros(1, 2, 3, 5))
    assert network(random_measurement(3, 5)).shape == (1, 2, 3, 5)  # without noise no texture is drawn


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="n_blocks must be at least 1, got 0"):
        UnrolledUNets(0)
    with pytest.raises(ValueError, match="n_blocks of at least 2, the last for the textures, got 1"):
        TextureUNets(1)
    for options in ({"n_textures": 0}, {"texture_size": 0}):
        with pytest.raises(ValueError, match="must be at least 1, got 0"):
            TextureUNets(2, **options)
    with pytest.raises(ValueError, match="injection must be one of adain, spatial, got 'style'"):
        TextureUNets(2, width=4, injection="style")
