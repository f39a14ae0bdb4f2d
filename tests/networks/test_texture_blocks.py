"""The parts of the texture networks: known values, and parity with NumPy and torch's own layers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import random_complex, random_mask
from hypothesis import given
from hypothesis import strategies as st
from small_texture_unets import with_random_weights
from torch import nn

from common.networks import MobileNetV2Features
from common.networks.attention import BottleneckAttention
from common.networks.injection import TextureInjection
from common.networks.shrinkage_unet import ShrinkageUNet, SoftThreshold
from common.networks.texture_encoder import TextureEncoder, TextureMapping
from common.networks.texture_gan import ConsistentUpdate
from common.operators import channels_to_complex, complex_to_channels, fft2c, ifft2c

# ------------------------------------------------------------------------------------------------ soft threshold


def test_soft_threshold_known_values():
    values = torch.tensor([-1.0, -0.2, 0.0, 0.1, 0.5])
    torch.testing.assert_close(SoftThreshold(0.2)(values), torch.tensor([-0.8, 0.0, 0.0, 0.0, 0.3]))
    assert torch.equal(SoftThreshold(-0.5)(values), values)  # a threshold below zero is one of zero


@given(threshold=st.floats(-1, 3), seed=st.integers(0, 2**16))
def test_soft_threshold_is_the_proximal_step_of_the_one_norm(threshold, seed):
    """No other value has less of ``0.5 (x - u)^2 + lambda |x|``."""
    u = np.random.default_rng(seed).normal(size=20).astype(np.float32)
    x = SoftThreshold(threshold)(torch.from_numpy(u)).detach().numpy().astype(float)
    cost = max(threshold, 0)
    grid = np.linspace(-4, 4, 801)[:, None]
    others = 0.5 * (grid - u) ** 2 + cost * np.abs(grid)
    assert (0.5 * (x - u) ** 2 + cost * np.abs(x) <= others.min(0) + 1e-6).all()


# ----------------------------------------------------------------------------------------------------- attention


def test_attention_adds_nothing_at_the_start():
    features = torch.randn(2, 8, 3, 5)
    assert torch.equal(BottleneckAttention(8)(features), features)


@torch.no_grad()
def test_attention_is_torchs_own():
    torch.manual_seed(0)
    attention, features = with_random_weights(BottleneckAttention(12, n_heads=3)), torch.randn(2, 12, 4, 5)
    own = nn.MultiheadAttention(12, 3, batch_first=True)
    own.in_proj_weight.copy_(attention.queries_keys_values.weight[:, :, 0, 0])
    own.in_proj_bias.copy_(attention.queries_keys_values.bias)
    own.out_proj.weight.copy_(attention.output.weight[:, :, 0, 0])
    own.out_proj.bias.copy_(attention.output.bias)
    tokens = F.layer_norm(features, features.shape[1:]).flatten(2).transpose(1, 2)
    expected = own(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).reshape(features.shape)
    torch.testing.assert_close(attention(features), features + expected, rtol=1e-4, atol=1e-5)


def test_attention_of_uneven_heads_is_refused():
    with pytest.raises(ValueError, match="expected channels to be a multiple of n_heads=4, got 6"):
        BottleneckAttention(6)


# ---------------------------------------------------------------------------------------------------- injection


def set_styles(injection, scale, shift):
    """Scale and shift are so many times the only number of the style."""
    with torch.no_grad():
        injection.affine.weight.copy_(torch.tensor([*scale, *shift])[:, None, None, None])


@torch.no_grad()
def test_adain_gives_features_the_statistics_of_the_style():
    """Mean 2 b and deviation |1 + 2 a| for a style of mean 2."""
    injection = TextureInjection(2, 1, "adain", noise_strength=0.0)
    set_styles(injection, scale=(1.0, -0.25), shift=(3.0, 0.5))
    features = 5 + 2 * torch.randn(3, 2, 40, 30, generator=torch.Generator().manual_seed(0))
    style = torch.tensor([1.0, 3.0]).expand(3, 1, 1, 2)
    result = injection(features, torch.randn(3, 1, 40, 30), style)
    torch.testing.assert_close(result.mean((2, 3)), torch.tensor([6.0, 1.0]).expand(3, 2), rtol=1e-4, atol=1e-4)
    deviation = result.std((2, 3), correction=0)
    torch.testing.assert_close(deviation, torch.tensor([3.0, 0.5]).expand(3, 2), rtol=1e-4, atol=1e-4)
    values = features.numpy().astype(float)
    values = (values - values.mean((2, 3), keepdims=True)) / np.sqrt(values.var((2, 3), keepdims=True) + 1e-5)
    expected = values * np.array([3.0, 0.5])[:, None, None] + np.array([6.0, 1.0])[:, None, None]
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-4)


@torch.no_grad()
def test_spatial_styles_stay_where_they_are():
    injection = TextureInjection(2, 1, "spatial", noise_strength=0.0)
    set_styles(injection, scale=(1.0, 0.0), shift=(0.0, 1.0))
    features, style = torch.randn(1, 2, 4, 8), torch.tensor([[[[0.0, 2.0]]]])
    result = injection(features, torch.zeros(1, 1, 4, 8), style)
    # two places enlarged to eight, with pixel centres in line: 0 0 1/4 3/4 ... of the way
    way = 2 * torch.tensor([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1])
    torch.testing.assert_close(result[0, 0], features[0, 0] * (1 + way))
    torch.testing.assert_close(result[0, 1], features[0, 1] + way.expand(4, 8))


@pytest.mark.parametrize("mode", ["adain", "spatial"])
@torch.no_grad()
def test_noise_is_added_with_the_strength_of_each_channel(mode):
    injection = TextureInjection(3, 4, mode)
    assert injection.strength.flatten().tolist() == pytest.approx([0.05] * 3)
    injection.strength.copy_(torch.tensor([0.0, 1.0, -2.0])[:, None, None])
    features, noise, style = torch.randn(2, 3, 6, 7), torch.randn(2, 1, 6, 7), torch.randn(2, 4, 1, 1)
    expected = torch.stack((features[:, 0], features[:, 1] + noise[:, 0], features[:, 2] - 2 * noise[:, 0]), dim=1)
    if mode == "adain":
        mean, deviation = expected.mean((2, 3), keepdim=True), expected.var((2, 3), correction=0, keepdim=True)
        expected = (expected - mean) / (deviation + 1e-5).sqrt()
    torch.testing.assert_close(injection(features, noise, style), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_new_spatial_injection_without_noise_changes_nothing():
    features = torch.randn(2, 3, 6, 7)
    assert torch.equal(TextureInjection(3, 4)(features, torch.zeros(2, 1, 6, 7), torch.randn(2, 4, 2, 2)), features)


def test_unknown_injection_is_refused():
    with pytest.raises(ValueError, match="injection must be one of adain, spatial, got 'spade'"):
        TextureInjection(3, 4, "spade")


# -------------------------------------------------------------------------------------------------- U-Net, update


def plain_unet(x, state):
    """The page's layers as functions that take their weights one after another from a state dict."""
    values = iter(state.values())
    height, width = x.shape[-2:]

    def pair(x):
        for _ in range(2):
            x = F.conv2d(x, next(values), padding=1)
            scale, shift, mean, variance, _ = (next(values) for _ in range(5))
            x = (x - mean[:, None, None]) / torch.sqrt(variance + 1e-5)[:, None, None]
            x = x * scale[:, None, None] + shift[:, None, None]
            x = torch.where(x > 0, x, 0.2 * x)
        return x

    x = F.pad(x, (0, -width % 16, 0, -height % 16), mode="replicate")
    x, skips = F.conv2d(x, next(values), next(values)), []
    for _ in range(4):
        x = pair(x)
        threshold = float(next(values))
        skips.append(torch.where(x.abs() > threshold, x - threshold * x.sign(), torch.zeros_like(x)))
        x = F.conv2d(F.max_pool2d(x, 2), next(values), next(values))
    x = pair(x)
    for skip in reversed(skips):
        x = F.conv_transpose2d(x, next(values), next(values), stride=2, padding=1, output_padding=1)
        x = pair(torch.cat((x, skip), dim=1))
    return F.conv2d(x, next(values), next(values))[..., :height, :width]


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 20), (5, 7)])
@torch.no_grad()
def test_unet_gives_the_numbers_of_plain_layers(height, width):
    network, image = with_random_weights(ShrinkageUNet(4, 2, width=4)), torch.randn(2, 4, height, width)
    result = network(image, image, image)
    assert result.shape == (2, 2, height, width)
    assert result.std() > 0.1
    torch.testing.assert_close(result, plain_unet(image, network.state_dict()), rtol=1e-4, atol=1e-4)


def test_a_new_unet_corrects_nothing():
    image = torch.randn(2, 4, 32, 32)
    network = ShrinkageUNet(4, 2, width=4)
    assert not network(image, image, image).any()
    assert {encoder.shrinkage.threshold.item() for encoder in network.encoders} == {1.0}  # the source's start


@pytest.mark.parametrize("mode", ["adain", "spatial"])
@torch.no_grad()
def test_textures_enter_every_block(mode):
    """Nine blocks have an injection, and each one's strength and style change the result."""
    network = with_random_weights(ShrinkageUNet(4, 2, 4, 0.1, texture_channels=3, injection=mode, attention=True))
    injections = [module for module in network.modules() if isinstance(module, TextureInjection)]
    assert [i.strength.shape[1] for i in injections] == [4, 8, 16, 32, 64, 32, 16, 8, 4]
    inputs = torch.randn(1, 4, 33, 40), torch.randn(1, 1, 33, 40), torch.randn(1, 3, 2, 2)
    result = network(*inputs)
    for injection in injections:
        for parameter in (injection.strength, injection.affine.weight):
            kept = parameter.clone()
            parameter.zero_()
            assert (network(*inputs) - result).abs().max() > 1e-4
            parameter.copy_(kept)
    assert torch.equal(network(*inputs), result)


@torch.no_grad()
def test_update_is_the_formula():
    """``x - step e + network([x, e])``, ``e = F^H (M F x - y)``."""
    update = with_random_weights(ConsistentUpdate(ShrinkageUNet(4, 2, width=4)))
    image, truth = (random_complex(2, 1, 20, 23, seed=seed, dtype=torch.complex64) for seed in (1, 2))
    mask = random_mask(20, 23, batch=2)
    measured, ones = mask * fft2c(truth), torch.ones(2, 1, 20, 23, dtype=torch.complex64)
    x = complex_to_channels(image)
    e = complex_to_channels(ifft2c(mask * fft2c(image) - measured))
    both = torch.cat((x, e), dim=1)
    expected = x - update.step * e + plain_unet(both, update.network.state_dict())
    result = update(x, measured, mask, ones, x, x)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_new_update_puts_the_measured_samples_back():
    update = ConsistentUpdate(ShrinkageUNet(4, 2, width=4))
    image, truth = (random_complex(1, 1, 20, 23, seed=seed, dtype=torch.complex64) for seed in (1, 2))
    mask, ones = random_mask(20, 23), torch.ones(1, 1, 20, 23, dtype=torch.complex64)
    x = complex_to_channels(image)
    result = fft2c(channels_to_complex(update(x, mask * fft2c(truth), mask, ones, x, x)))
    torch.testing.assert_close(result, torch.where(mask > 0, fft2c(truth), fft2c(image)), rtol=0, atol=1e-5)


# --------------------------------------------------------------------------------------------- encoder, mapping


@torch.no_grad()
def test_encoder_gives_a_distribution_and_shares_of_every_place():
    torch.manual_seed(0)
    encoder = with_random_weights(TextureEncoder(3, 5, MobileNetV2Features(width=0.1)))
    image = torch.rand(2, 1, 65, 90)
    mean, log_variance, shares = encoder(image)
    assert mean.shape == log_variance.shape == (2, 3, 5)
    assert shares.shape == (2, 3, 3, 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 3, 3))
    features = encoder.features(image)
    state = encoder.state_dict()
    hidden = F.leaky_relu(features.mean((2, 3)) @ state["hidden.0.weight"].T + state["hidden.0.bias"], 0.2)
    expected = hidden @ state["mean.weight"].T + state["mean.bias"]
    torch.testing.assert_close(mean.flatten(1), expected, rtol=1e-4, atol=1e-5)
    expected = (hidden @ state["log_variance.weight"].T + state["log_variance.bias"]).clamp(-10, 10)
    torch.testing.assert_close(log_variance.flatten(1), expected, rtol=1e-4, atol=1e-5)
    logits = torch.einsum("bchw,tc->bthw", features, state["shares.weight"][:, :, 0, 0])
    expected = (logits + state["shares.bias"][:, None, None]).softmax(1)
    torch.testing.assert_close(shares, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_mapping_spreads_four_layers_over_the_image():
    mapping = with_random_weights(TextureMapping(5))
    vectors, shares = torch.randn(2, 3, 5), torch.rand(2, 3, 4, 6)
    x, linear = vectors, [m for m in mapping.modules() if isinstance(m, nn.Linear)]
    assert len(linear) == 4
    for index, layer in enumerate(linear):
        x = x @ layer.weight.T + layer.bias
        x = x if index == 3 else torch.where(x > 0, x, 0.2 * x)
    expected = (x[:, :, :, None, None] * shares[:, :, None]).sum(1)
    torch.testing.assert_close(mapping(vectors, shares), expected, rtol=1e-4, atol=1e-5)
