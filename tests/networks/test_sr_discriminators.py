"""Discriminators of super-resolution: their sizes, their numbers against plain layers, dropout, penalties."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from helpers import n_parameters
from torch import nn

from common.losses import R1Penalty
from common.networks import FlatteningDiscriminator, FullyConvolutionalDiscriminator, SeparableDiscriminator

WIDTHS = (1, 1, 2, 2, 4, 4, 8, 8)
CONVOLUTIONAL = [FullyConvolutionalDiscriminator, SeparableDiscriminator]


def with_random_weights(network):
    """As if trained: batch norms have statistics and weights of their own. In evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
            module.running_var.uniform_(0.02, 0.1, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
    return network.eval()


# ------------------------------------------------------------------------------------------- parameters, by hand


def conv(c_in, c_out, kernel=3, dims=2):
    return kernel**dims * c_in * c_out + c_out


def trunk(layer, c, channels):
    """Eight layers, batch norm (scale and shift) on all but the first."""
    ins = [channels, *(c * w for w in WIDTHS[:-1])]
    return sum(layer(i, c * w) for i, w in zip(ins, WIDTHS, strict=True)) + sum(2 * c * w for w in WIDTHS[1:])


def scores(c):
    return conv(8 * c, 16 * c, 1) + conv(16 * c, 1, 1)


def separable(dims):
    def layer(c_in, c_out):
        filtered = 3 if c_in == 1 else c_in
        return 3**dims * filtered + conv(filtered, c_out, 1)

    return layer


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (FullyConvolutionalDiscriminator, trunk(conv, 64, 1) + scores(64)),
        (partial(FullyConvolutionalDiscriminator, 1, 3, 32), trunk(partial(conv, dims=3), 32, 1) + scores(32)),
        (SeparableDiscriminator, trunk(separable(2), 64, 1) + scores(64)),
        (partial(SeparableDiscriminator, 3), trunk(separable(2), 64, 3) + scores(64)),
        (partial(SeparableDiscriminator, 1, 3, 16), trunk(separable(3), 16, 1) + scores(16)),
        (
            partial(FlatteningDiscriminator, (64, 96, 80), 1, 3, 8),
            trunk(partial(conv, dims=3), 8, 1) + 1 * 3 * 2 * 64 * 128 + 128 + 129,
        ),
    ],
)
def test_discriminators_have_the_parameters_of_their_layers(build, expected):
    with torch.device("meta"):
        assert n_parameters(build()) == expected


def test_the_flattening_discriminator_has_the_published_number_of_parameters():
    size = 192
    for _ in range(4):  # two unpadded 3x3 convolutions, the second with stride 2
        size = (size - 2 - 1) // 2
    assert 512 * size**2 == 41_472
    dense = 41_472 * 1024 + 1024 + 1024 + 1
    with torch.device("meta"):
        assert n_parameters(FlatteningDiscriminator()) == trunk(conv, 64, 1) + dense == 47_157_313


# --------------------------------------------------------------------------- numbers, by a plain implementation


class PlainLayers:
    """Layers as functions that take their weights one after another from a state dict."""

    def __init__(self, network):
        self.values = iter(network.state_dict().values())
        self.dims = network.spatial_dims

    def conv(self, x, stride=1, padding=0, groups=1, bias=True):
        convolve = F.conv2d if self.dims == 2 else F.conv3d
        weight = next(self.values)
        return convolve(x, weight, next(self.values) if bias else None, stride, padding, 1, groups)

    def norm(self, x):
        scale, shift, mean, variance, _ = (next(self.values).reshape(-1, *[1] * self.dims) for _ in range(5))
        return (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift

    def dense(self, x):
        weight, bias = next(self.values), next(self.values)
        return x @ weight.T + bias


def leaky(x):
    return torch.where(x > 0, x, 0.2 * x)


def plain_trunk(layers, x, padding, separate=False):
    for n in range(8):
        stride = 2 if n in (1, 3, 5, 7) else 1
        if separate:
            x = layers.conv(layers.conv(x, stride, padding, groups=x.shape[1], bias=False))
        else:
            x = layers.conv(x, stride, padding)
        x = leaky(layers.norm(x) if n else x)
    return x


@pytest.mark.parametrize("build", CONVOLUTIONAL)
@pytest.mark.parametrize("shape", [(1, 35, 48), (3, 16, 9), (1, 16, 20, 33)])
@torch.no_grad()
def test_convolutional_discriminators_give_the_numbers_of_plain_layers(build, shape):
    torch.manual_seed(0)
    network = with_random_weights(build(shape[0], len(shape) - 1, width=4))
    image = torch.rand(2, *shape)
    layers = PlainLayers(network)
    features = plain_trunk(layers, 2 * image - 1, padding=1, separate=build is SeparableDiscriminator)
    expected = layers.conv(leaky(layers.conv(features)))
    assert expected.shape == (2, 1, *[-(-n // 16) for n in shape[1:]])
    assert expected.std() > 0
    torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 64, 80), (3, 61, 93), (1, 61, 64, 61)])
@torch.no_grad()
def test_the_flattening_discriminator_gives_the_numbers_of_plain_layers(shape):
    torch.manual_seed(0)
    network = with_random_weights(FlatteningDiscriminator(shape[1:], shape[0], len(shape) - 1, width=2))
    image = torch.rand(2, *shape)
    layers = PlainLayers(network)
    features = plain_trunk(layers, 2 * image - 1, padding=0)
    expected = layers.dense(leaky(layers.dense(features.reshape(2, -1))))
    assert expected.shape == (2, 1)
    torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_score_of_the_convolutional_discriminator_judges_61_pixels():
    network = FullyConvolutionalDiscriminator(width=2).eval().double()
    for parameter in network.parameters():
        parameter.abs_()
    image = torch.rand(1, 1, 97, 97, dtype=torch.float64)
    with torch.enable_grad():
        network(image.requires_grad_())[0, 0, 3, 3].backward()
    rows = image.grad[0, 0].abs().sum(1).nonzero().flatten().tolist()
    assert (rows[0], rows[-1]) == (48 - 30, 48 + 30)


# ------------------------------------------------------------------------------------------------------- dropout


def rates(network):
    return [module.p for module in network.modules() if isinstance(module, nn.Dropout)]


def test_dropout_is_scaled_and_withdrawn():
    torch.manual_seed(0)
    network = SeparableDiscriminator(width=2)
    assert rates(network) == [0.4, 0.2]
    network.set_dropout(0.5)
    assert rates(network) == [0.2, 0.1]
    image = torch.rand(4, 1, 32, 32)
    assert not torch.equal(network(image), network(image))
    network.set_dropout(0)
    torch.testing.assert_close(network(image), network(image), rtol=0, atol=1e-7)
    network.set_dropout(1)
    assert rates(network) == [0.4, 0.2]


def test_dropout_leaves_the_state_dict_and_evaluation_alone():
    torch.manual_seed(0)
    network = SeparableDiscriminator(width=2)
    without = SeparableDiscriminator(width=2, dropout=(0.0, 0.0))
    without.load_state_dict(network.state_dict())
    image = torch.rand(4, 1, 32, 32)
    assert torch.equal(network.eval()(image), without.eval()(image))


@pytest.mark.parametrize("factor", [-0.1, 1.1, float("nan")])
def test_a_factor_outside_the_unit_range_is_refused(factor):
    with pytest.raises(ValueError, match=rf"factor of the dropout rates must be in \[0, 1\], got {factor}"):
        SeparableDiscriminator(width=2).set_dropout(factor)


@pytest.mark.parametrize("dropout", [(0.4,), (0.4, 1.0), (-0.1, 0.2)])
def test_dropout_rates_outside_their_range_are_refused(dropout):
    with pytest.raises(ValueError, match=r"dropout must be two rates in \[0, 1\), of the trunk and of the score, got"):
        FullyConvolutionalDiscriminator(width=2, dropout=dropout)


# ------------------------------------------------------------------------------------------- what holds end to end

ALL = [*CONVOLUTIONAL, partial(FlatteningDiscriminator, 61)]


@pytest.mark.parametrize("build", ALL)
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_scores_reach_every_weight_and_the_image(build, spatial_dims):
    torch.manual_seed(0)
    network = build(spatial_dims=spatial_dims, width=2)
    image = torch.rand(2, 1, *[61] * spatial_dims, requires_grad=True)
    network(image).square().mean().backward()
    assert image.grad.abs().max() > 0
    normalised = {
        id(m.conv.bias) for m in network.modules() if hasattr(m, "adn") and "N" in dict(m.adn.named_children())
    }
    for name, parameter in network.named_parameters():
        if id(parameter) not in normalised:  # a bias before batch norm has no effect
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("build", ALL)
def test_a_gradient_penalty_differentiates_twice(build):
    torch.manual_seed(0)
    network = build(width=2, spectral_norm=True)
    real, fake = torch.rand(2, 2, 1, 61, 61)
    R1Penalty()(network, real, fake).backward()
    gradients = [p.grad.abs().max() for p in network.parameters() if p.grad is not None and p.dim() > 1]
    assert torch.isfinite(torch.stack(gradients)).all()
    assert max(gradients) > 0


@pytest.mark.parametrize("build", ALL)
def test_spectral_norm_bounds_every_layer_by_one(build):
    torch.manual_seed(0)
    network = build(width=2, spectral_norm=True)
    for _ in range(20):  # each pass in training is one step of the power iteration
        network(torch.rand(2, 1, 61, 61))
    layers = [m for m in network.eval().modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) >= 10
    for layer in layers:
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("build", CONVOLUTIONAL)
def test_one_discriminator_judges_patches_that_grow(build):
    torch.manual_seed(0)
    network = build(width=2)
    assert [network(torch.rand(2, 1, n, n)).shape[-1] for n in (48, 96, 192)] == [3, 6, 12]


def test_images_of_another_kind_are_refused():
    with pytest.raises(
        ValueError, match=r"expected images of size \(64, 64\).* got \(64, 80\); build it with image_si"
    ):
        FlatteningDiscriminator(64, width=2)(torch.zeros(1, 1, 64, 80))
    with pytest.raises(ValueError, match="image_size must be at least 61 for unpadded convolutions, got 60"):
        FlatteningDiscriminator(60, width=2)
    for build in ALL:
        with pytest.raises(ValueError, match=r"\(batch, 1, height, width\), got shape \[2, 3, 61, 61\]"):
            build(width=2)(torch.zeros(2, 3, 61, 61))
        with pytest.raises(ValueError, match=r"spatial_dims must be 2 \(images\) or 3 \(volumes\), got 4"):
            build(width=2, spatial_dims=4)
