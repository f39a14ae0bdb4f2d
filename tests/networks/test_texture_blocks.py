"""The parts of the texture networks: known values, and parity with NumPy and torch's own layers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_texture_cascades import with_random_weights
from torch import nn

from common.networks import MobileNetV2Features
from common.networks.attention import BottleneckAttention
from common.networks.injection import TextureInjection
from common.networks.texture_encoder import TextureEncoder, TextureMapping
from common.networks.texture_gan import TextureUNet

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
    injection = TextureInjection(2, 1, 1, "adain", noise_strength=0.0)
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
    injection = TextureInjection(2, 1, 1, "spatial", noise_strength=0.0)
    set_styles(injection, scale=(1.0, 0.0), shift=(0.0, 1.0))
    features, style = torch.randn(1, 2, 4, 8), torch.tensor([[[[0.0, 2.0]]]])
    result = injection(features, torch.zeros(1, 1, 4, 8), style)
    # two places enlarged to eight, with pixel centres in line: 0 0 1/4 3/4 ... of the way
    way = 2 * torch.tensor([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1])
    torch.testing.assert_close(result[0, 0], features[0, 0] * (1 + way))
    torch.testing.assert_close(result[0, 1], features[0, 1] + way.expand(4, 8))


@pytest.mark.parametrize("mode", ["adain", "spatial"])
@torch.no_grad()
def test_noise_is_mixed_and_added_with_a_strength_that_follows_from_the_features(mode):
    injection = TextureInjection(3, 4, 2, mode)
    assert injection.strength.bias.tolist() == pytest.approx([0.1] * 3)
    assert not injection.strength.weight.any()
    injection.strength.bias.copy_(torch.tensor([0.0, 1.0, -2.0]))
    injection.strength.weight[1, 0] = 0.5  # the second channel's strength is 1 + half of the first feature
    features, noise, style = torch.randn(2, 3, 6, 7), torch.randn(2, 2, 6, 7), torch.randn(2, 4, 1, 1)
    mixed = torch.einsum("cn,bnhw->bchw", injection.mix.weight[:, :, 0, 0], noise)
    strengths = torch.stack((0 * features[:, 0], 1 + 0.5 * features[:, 0], -2 + 0 * features[:, 0]), dim=1)
    expected = features + strengths * mixed
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
        TextureInjection(3, 4, 1, "spade")


# --------------------------------------------------------------------------------------------------------- U-Net


def texture_unet(mode="spatial"):
    return TextureUNet(3, (4, 6, 8), 2, 5, texture_channels=3, injection=mode)


@pytest.mark.parametrize("mode", ["adain", "spatial"])
@torch.no_grad()
def test_textures_enter_every_block(mode):
    """Five blocks have an injection, and each one's strength, noise and style change the result."""
    network = with_random_weights(texture_unet(mode))
    injections = [module for module in network.modules() if isinstance(module, TextureInjection)]
    assert [i.mix.weight.shape[0] for i in injections] == [4, 6, 8, 6, 4]
    inputs = torch.randn(1, 3, 32, 40), torch.randn(1, 5), torch.randn(1, 1, 32, 40), torch.randn(1, 3, 2, 2)
    result = network.sampled(*inputs)
    assert result.shape == (1, 2, 32, 40)
    for injection in injections:
        for parameter in (injection.strength.bias, injection.mix.weight, injection.affine.weight):
            kept = parameter.clone()
            parameter.zero_()
            assert (network.sampled(*inputs) - result).abs().max() > 1e-4
            parameter.copy_(kept)
    assert torch.equal(network.sampled(*inputs), result)


@torch.no_grad()
def test_a_new_unet_corrects_nothing_and_without_textures_it_is_a_light_one():
    network, noise, style = texture_unet(), torch.randn(2, 1, 16, 24), torch.randn(2, 3, 2, 2)
    image, conditions = torch.randn(2, 3, 16, 24), torch.randn(2, 5)
    assert not network.sampled(image, conditions, noise, style).any()
    network.tail.weight.normal_()
    expected = network(image, None, conditions)[0]  # attention adds nothing at the start
    torch.testing.assert_close(network.sampled(image, conditions, 0 * noise, style), expected)


@torch.no_grad()
def test_noise_is_standard_normal_at_every_level():
    network, seen = texture_unet(), []
    for injection in (*network.encoder_injections, network.bottom_injection):
        injection.mix.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    network.sampled(torch.zeros(1, 3, 256, 256), torch.zeros(1, 5), noise, torch.zeros(1, 3, 1, 1))
    assert [tuple(one.shape) for one in seen] == [(1, 4, 128, 128), (1, 4, 64, 64), (1, 4, 32, 32)]
    assert [float(one.std()) for one in seen] == pytest.approx([1, 1, 1], abs=0.05)


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
