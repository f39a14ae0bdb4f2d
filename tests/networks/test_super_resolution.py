"""Super-resolution generators: their sizes, their numbers against plain layers, how far they look, their exports."""

from functools import lru_cache, partial
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exports import assert_same, onnx, program, scripted
from helpers import n_parameters
from torch import nn

from common.networks import EdsrGenerator, RrdbGenerator, SrResNetGenerator
from common.networks.upsampling import PixelShuffle, upsampling

SMALL = {
    "rrdb": partial(RrdbGenerator, n_blocks=1, width=4, growth=2),
    "sr_resnet": partial(SrResNetGenerator, n_blocks=2, width=4),
    "edsr": partial(EdsrGenerator, n_blocks=2, width=4),
    "direct": partial(EdsrGenerator, n_blocks=1, width=4, direct=True),
}
EVERY = pytest.mark.parametrize("name", SMALL)
AXES = pytest.mark.parametrize("spatial_dims", [2, 3])


def with_random_weights(network):
    """As if trained: every layer and skip connection counts in the result. In evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            module.bias.data.uniform_(-0.1, 0.1, generator=generator)
        if isinstance(module, nn.PReLU):
            module.weight.data.uniform_(0.1, 0.4, generator=generator)
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
            module.running_var.uniform_(1, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
    return network.eval()


@lru_cache
def trained(name, **options):
    """A small network of a name, with random weights."""
    return with_random_weights(SMALL[name](**options))


def image(*shape, seed=0):
    """Random batch in [0, 1]."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------- parameters, by hand


def conv(c_in, c_out, kernel=3, dims=2):
    return kernel**dims * c_in * c_out + c_out


def enlarge(upscale, c, dims=2, slopes=1):
    return int(np.log2(upscale)) * (conv(c, 2**dims * c, 3, dims) + slopes)


def edsr(blocks, c=64, upscale=4, dims=2, channels=1):
    block = 2 * conv(c, c, 3, dims) + 1
    trunk = blocks * block + conv(c, c, 3, dims)
    ends = conv(channels, c, 3, dims) + conv(c, channels, 1, dims)
    return ends + trunk + enlarge(upscale, c, dims)


def sr_resnet(blocks, c=64, upscale=4, dims=2, channels=1):
    norm = 2 * c
    block = 2 * (conv(c, c, 3, dims) + norm) + 1
    trunk = blocks * block + conv(c, c, 3, dims) + norm
    return conv(channels, c, 9, dims) + 1 + trunk + enlarge(upscale, c, dims) + conv(c, channels, 9, dims)


def rrdb_generator(blocks, c=64, g=64, upscale=4, dims=2, channels=1):
    dense = sum(conv(c + n * g, g, 3, dims) for n in range(4)) + conv(c + 4 * g, c, 3, dims)
    trunk = blocks * 3 * dense + conv(c, c, 3, dims)
    ends = conv(channels, c, 3, dims) + conv(c, c, 3, dims) + conv(c, channels, 3, dims)
    return ends + trunk + enlarge(upscale, c, dims, slopes=c)


def test_one_block_of_the_rock_generator_has_the_published_numbers_layer_by_layer():
    network = EdsrGenerator(upscale=4, n_blocks=1)
    leaves = [module for module in network.modules() if not list(module.children())]
    counts = [n_parameters(leaf) for leaf in leaves if n_parameters(leaf)]
    assert counts == [640, 36_928, 1, 36_928, 36_928, 147_712, 1, 147_712, 1, 65]
    assert sum(counts) == 406_916


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (partial(EdsrGenerator, n_blocks=1), edsr(1)),
        (EdsrGenerator, edsr(16)),
        (partial(EdsrGenerator, 8, 3, spatial_dims=3), edsr(16, upscale=8, dims=3, channels=3)),
        (SrResNetGenerator, sr_resnet(16)),
        (partial(SrResNetGenerator, 2, 3, 3, 5, 32), sr_resnet(5, 32, 2, 3, 3)),
        (RrdbGenerator, rrdb_generator(1)),
        (partial(RrdbGenerator, 8, 3, 2, 23, 64, 32), rrdb_generator(23, 64, 32, 8, 2, 3)),
        (partial(RrdbGenerator, 2, 1, 3, 2, 16, 8), rrdb_generator(2, 16, 8, 2, 3)),
    ],
)
def test_generators_have_the_parameters_of_their_layers(build, expected):
    with torch.device("meta"):
        assert n_parameters(build()) == expected


# --------------------------------------------------------------------------- numbers, by a plain implementation


class PlainLayers:
    """The layers of the method pages as functions that take their weights one after another from a state dict."""

    def __init__(self, network):
        self.values = iter(network.state_dict().values())
        self.dims = network.spatial_dims

    def conv(self, x):
        weight, bias = next(self.values), next(self.values)
        convolve = F.conv2d if self.dims == 2 else F.conv3d
        return convolve(x, weight, bias, padding=weight.shape[-1] // 2)

    def prelu(self, x):
        slope = next(self.values).reshape(-1, *[1] * self.dims)
        return torch.where(x > 0, x, slope * x)

    def norm(self, x):
        scale, shift, mean, variance, _ = (next(self.values).reshape(-1, *[1] * self.dims) for _ in range(5))
        return (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift

    def shuffle(self, x, factor=2):
        batch, channels, *size = x.shape
        places = list(product(range(factor), repeat=self.dims))
        out = torch.empty(batch, channels // len(places), *[factor * n for n in size])
        for n, place in enumerate(places):
            out[(..., *[slice(start, None, factor) for start in place])] = x[:, n :: len(places)]
        return out

    def enlarge(self, x, upscale):
        for _ in range(int(np.log2(upscale))):
            x = self.prelu(self.shuffle(self.conv(x)))
        return x


def leaky(x, slope):
    return torch.where(x > 0, x, slope * x)


def plain_edsr(x, network, blocks):
    layers = PlainLayers(network)
    return layers.conv(layers.enlarge(plain_edsr_trunk(x, layers, blocks), network.upscale))


def plain_direct(x, network, blocks):
    layers = PlainLayers(network)
    return layers.shuffle(layers.conv(plain_edsr_trunk(x, layers, blocks)), network.upscale)


def plain_edsr_trunk(x, layers, blocks):
    first = x = layers.conv(x)
    for _ in range(blocks):
        x = x + layers.conv(layers.prelu(layers.conv(x)))
    return first + layers.conv(x)


def plain_sr_resnet(x, network, blocks):
    layers = PlainLayers(network)
    first = x = layers.prelu(layers.conv(x))
    for _ in range(blocks):
        x = x + layers.norm(layers.conv(layers.prelu(layers.norm(layers.conv(x)))))
    return layers.conv(layers.enlarge(first + layers.norm(layers.conv(x)), network.upscale))


def plain_rrdb(x, network, blocks):
    layers = PlainLayers(network)
    first = x = leaky(layers.conv(x), 0.2)
    for _ in range(blocks):
        outer = x
        for _ in range(3):
            seen = [x]
            for _ in range(4):
                seen.append(leaky(layers.conv(torch.cat(seen, 1)), 0.2))
            x = x + 0.2 * layers.conv(torch.cat(seen, 1))
        x = outer + 0.2 * x
    x = layers.enlarge(first + 0.2 * layers.conv(x), network.upscale)
    return (torch.tanh(layers.conv(leaky(layers.conv(x), 0.4))) + 1) / 2


PLAIN = {
    "rrdb": (plain_rrdb, 1),
    "sr_resnet": (plain_sr_resnet, 2),
    "edsr": (plain_edsr, 2),
    "direct": (plain_direct, 1),
}


@EVERY
@pytest.mark.parametrize(("upscale", "shape"), [(2, (3, 7, 6)), (4, (1, 5, 8)), (8, (1, 4, 3)), (2, (1, 5, 3, 4))])
@torch.no_grad()
def test_generators_give_the_numbers_of_plain_layers(name, upscale, shape):
    network = trained(name, upscale=upscale, channels=shape[0], spatial_dims=len(shape) - 1)
    lr_image = image(2, *shape)
    plain, blocks = PLAIN[name]
    expected = plain(lr_image, network, blocks)
    assert expected.shape == (2, shape[0], *[upscale * n for n in shape[1:]])
    torch.testing.assert_close(network(lr_image), expected, rtol=1e-4, atol=1e-5)


def test_more_blocks_are_in_sequence():
    network = with_random_weights(RrdbGenerator(upscale=2, n_blocks=3, width=4, growth=3))
    lr_image = image(1, 1, 6, 5)
    torch.testing.assert_close(network(lr_image), plain_rrdb(lr_image, network, 3), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_shuffles_agree_with_torch_in_2d_and_start_as_nearest_neighbour_enlargement():
    features = torch.randn(2, 12, 3, 4)
    assert torch.equal(PixelShuffle(2)(features), nn.PixelShuffle(2)(features))
    for dims in (2, 3):
        enlarged = upsampling(2, 5, dims)[0](torch.randn(2, 5, 6, 4, 3)[..., : 1 if dims == 2 else 3].squeeze(-1))
        small = enlarged[(..., *[slice(None, None, 2)] * dims)]
        assert small.std() > 0.1
        assert torch.equal(F.interpolate(small, scale_factor=2), enlarged)


# ---------------------------------------------------------------------------------------------- how far they look


def positive(network):
    """Weights with which no two paths cancel and nothing saturates, in float64."""
    for parameter in network.double().parameters():
        if parameter.dim() > 1:
            parameter.data.uniform_(0.5, 1.0).div_(parameter[0].numel())
    return network.eval()


def reach(network):
    """First and last input pixel, along each axis, that some output pixel of the middle input pixel depends on."""
    dims, halo, upscale = network.spatial_dims, network.halo(), network.upscale
    middle = halo + 2
    lr_image = torch.rand(1, 1, *[2 * middle + 1] * dims, dtype=torch.float64, requires_grad=True)
    inside = (..., *[slice(upscale * middle, upscale * (middle + 1))] * dims)
    network(lr_image)[inside].sum().backward()
    places = lr_image.grad[0, 0].nonzero() - middle
    return places.amin(0).tolist(), places.amax(0).tolist()


@pytest.mark.parametrize(
    ("build", "halo"),
    [
        (partial(RrdbGenerator, 2, n_blocks=1, width=2, growth=1), 19),
        (partial(RrdbGenerator, 4, n_blocks=2, width=1, growth=1), 34),
        (partial(SrResNetGenerator, 8, n_blocks=2, width=2), 12),
        (partial(EdsrGenerator, 2, n_blocks=1, width=2), 5),
        (partial(EdsrGenerator, 4, spatial_dims=3, n_blocks=1, width=2), 6),
        (partial(EdsrGenerator, 4, spatial_dims=3, n_blocks=1, width=2, direct=True), 5),
        (partial(EdsrGenerator, 8, n_blocks=2, width=2, direct=True), 7),
    ],
)
def test_beyond_the_halo_nothing_is_seen_and_at_its_border_something_is(build, halo):
    torch.manual_seed(0)
    network = positive(build())
    assert network.halo() == halo
    dims = network.spatial_dims
    assert reach(network) == ([-halo] * dims, [halo] * dims)


@EVERY
@AXES
@torch.no_grad()
def test_a_part_with_its_halo_gives_what_the_whole_image_gives(name, spatial_dims):
    network = trained(name, upscale=2, spatial_dims=spatial_dims)
    halo, rest = network.halo(), (5, 4)[: spatial_dims - 1]
    lr_image = image(1, 1, 2 * halo + 9, *rest)
    whole = network(lr_image)
    middle = network(lr_image[:, :, 3 : 2 * halo + 8])[:, :, 2 * halo : 2 * (halo + 5)]
    torch.testing.assert_close(middle, whole[:, :, 2 * (halo + 3) : 2 * (halo + 8)], rtol=0, atol=1e-5)
    at_the_edge = network(lr_image[:, :, : halo + 6])[:, :, :12]
    torch.testing.assert_close(at_the_edge, whole[:, :, :12], rtol=0, atol=1e-5)


# ------------------------------------------------------------------------------------------- what holds end to end


@EVERY
@AXES
def test_a_loss_reaches_every_weight(name, spatial_dims):
    torch.manual_seed(0)
    network = SMALL[name](upscale=2, spatial_dims=spatial_dims)
    size = (6, 5, 4)[:spatial_dims]
    F.mse_loss(network(image(2, 1, *size)), image(2, 1, *[2 * n for n in size])).backward()
    for weight, parameter in network.named_parameters():
        if not weight.endswith("conv.bias"):  # before a batch norm it has no effect
            assert parameter.grad.abs().max() > 0, weight


@torch.no_grad()
def test_the_tanh_head_keeps_to_the_unit_range_and_the_linear_one_does_not():
    bounded, linear = (RrdbGenerator(2, width=4, growth=2, bounded=bounded) for bounded in (True, False))
    for network, expected in ((bounded, [0.0, 0.5, 1.0]), (linear, [-50.0, 0.0, 50.0])):
        head = network.tail[-1].conv
        nn.init.zeros_(head.weight)
        for bias, value in zip([-50.0, 0.0, 50.0], expected, strict=True):
            nn.init.constant_(head.bias, bias)
            torch.testing.assert_close(network(image(1, 1, 3, 3)), torch.full((1, 1, 6, 6), value))


@EVERY
@torch.no_grad()
def test_the_image_stays_float32_where_convolutions_are_bfloat16(name):
    network, lr_image = trained(name, upscale=2), image(2, 1, 8, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sr_image = network(lr_image)
    expected = network(lr_image)
    assert sr_image.dtype == torch.float32
    torch.testing.assert_close(sr_image, expected, rtol=0, atol=0.03 * float(expected.abs().max()))


@EVERY
def test_bad_options_and_images_are_refused(name):
    for upscale in (1, 3, 16):
        with pytest.raises(ValueError, match=f"upscale must be one of 2, 4, 8, got {upscale}"):
            SMALL[name](upscale=upscale)
    with pytest.raises(ValueError, match=r"spatial_dims must be 2 \(images\) or 3 \(volumes\), got 1"):
        SMALL[name](spatial_dims=1)
    with pytest.raises(ValueError, match=r"expected .*\(batch, 1, height, width\), got shape \[1, 3, 8, 8\]"):
        SMALL[name]()(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"\(batch, 2, height, width, depth\), got shape \[2, 8, 8, 8\]"):
        SMALL[name](channels=2, spatial_dims=3)(torch.zeros(2, 8, 8, 8))


# ------------------------------------------------------------------------------------------------------- exports

QUICK = [("rrdb", 2), ("edsr", 2), ("edsr", 3)]
SLOW = pytest.mark.slow
SIZES = {2: [(9, 6), (5, 8)], 3: [(6, 5, 4), (3, 4, 6)]}


@EVERY
@AXES
def test_torchscript_gives_the_same_numbers_and_knows_its_halo(name, spatial_dims):
    network = trained(name, upscale=4, spatial_dims=spatial_dims)
    exported = scripted(network)
    assert (exported.upscale, exported.halo()) == (4, network.halo())
    assert_same(exported, network, [image(3, 1, *size) for size in SIZES[spatial_dims]])


@pytest.mark.parametrize(
    ("name", "spatial_dims"),
    QUICK + [pytest.param(name, d, marks=SLOW) for name in SMALL for d in (2, 3) if (name, d) not in QUICK],
)
def test_exported_program_gives_the_same_numbers(name, spatial_dims):
    network = trained(name, upscale=2, spatial_dims=spatial_dims)
    exported = program(network, image(2, 1, *(7, 6, 5)[:spatial_dims]))
    assert_same(exported, network, [image(3, 1, *size) for size in SIZES[spatial_dims]])


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "edsr" else SLOW) for name in SMALL])
def test_onnx_gives_the_same_numbers(name, tmp_path):
    network = trained(name, upscale=2)
    assert_same(onnx(network, tmp_path, image(2, 1, 7, 6)), network, [image(3, 1, *size) for size in SIZES[2]], 1e-4)
