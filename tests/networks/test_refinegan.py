"""RefineGAN's networks: their size, their numbers against a plain implementation, and what holds end to end."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import n_parameters, numpy_fft2c, numpy_ifft2c, random_complex, random_mask, random_measurement
from torch import nn

from common.networks import RefineGanDiscriminator, RefineGanGenerator, ResidualUNet
from common.operators import channels_to_complex, fft2c, pack_measurement, unpack_measurement


def with_random_weights(network):
    """As if trained: every layer and skip connection counts in the result. In evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, a=0.2, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
            module.running_var.uniform_(1, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(1)
    return with_random_weights(RefineGanGenerator(width=4))


# ------------------------------------------------------------------------------------------- parameters, by hand


def conv(c_in, c_out):
    return 3 * 3 * c_in * c_out


def norm(c):
    return 2 * c


def residual_unit(c):
    return conv(c, c) + norm(c) + conv(c, c // 2) + norm(c // 2) + conv(c // 2, c) + norm(c)


def block(c_in, c):
    """Encoder and decoder block alike: a convolution that changes the channels, a residual unit, a convolution."""
    return conv(c_in, c) + norm(c) + residual_unit(c) + conv(c, c) + norm(c)


def encoder(c):
    return block(2, c) + block(c, 2 * c) + block(2 * c, 4 * c) + block(4 * c, 8 * c)


def unet(c):
    decoder = block(8 * c, 4 * c) + block(4 * c, 2 * c) + block(2 * c, c) + block(c, c)
    return encoder(c) + decoder + conv(c, 2) + 2


@pytest.mark.parametrize(("width", "published"), [(64, 29_964_676), (32, 7_498_948)])
def test_generator_has_the_published_number_of_parameters(width, published):
    with torch.device("meta"):
        network = RefineGanGenerator(width)
    assert n_parameters(network) == 2 * unet(width) == published


@pytest.mark.parametrize(("width", "published"), [(64, 10_966_593), (32, 2_746_145)])
def test_discriminator_has_the_published_number_of_parameters(width, published):
    with torch.device("meta"):
        network = RefineGanDiscriminator(width)
    assert n_parameters(network) == encoder(width) + 4 * 4 * 8 * width + 1 == published


def test_initial_weights_are_cut_normal_and_batch_norms_near_one():
    torch.manual_seed(0)
    for network in (RefineGanGenerator(width=8), RefineGanDiscriminator(width=8)):
        convolutions = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
        weights = torch.cat([m.weight.detach().flatten() for m in convolutions])
        assert weights.abs().max() <= 0.04
        # a normal distribution cut at two standard deviations keeps 0.8796 of its own
        assert float(weights.std()) == pytest.approx(0.8796 * 0.02, rel=0.02)
        biases = [m.bias for m in convolutions if m.bias is not None]
        assert len(biases) == (2 if isinstance(network, RefineGanGenerator) else 1)
        assert not torch.cat(biases).any()
        scales = torch.cat([m.weight.detach() for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
        assert float(scales.mean()) == pytest.approx(1, abs=0.01)
        assert float(scales.std()) == pytest.approx(0.02, rel=0.2)


# --------------------------------------------------------------------------- numbers, by a plain implementation


class PlainLayers:
    """The layers of the method page as functions that take their weights one after another from a state dict."""

    def __init__(self, state):
        self.values = iter(state.values())

    def norm_act(self, x):
        scale, shift, mean, variance, _ = (next(self.values) for _ in range(5))
        scale = scale / torch.sqrt(variance + 1e-5)
        x = x * scale[:, None, None] + (shift - mean * scale)[:, None, None]
        return torch.where(x > 0, x, 0.2 * x)

    def conv(self, x, stride=1):
        return self.norm_act(F.conv2d(x, next(self.values), stride=stride, padding=1))

    def transposed(self, x, stride=1):
        weight = next(self.values)
        return self.norm_act(F.conv_transpose2d(x, weight, stride=stride, padding=1, output_padding=stride - 1))

    def residual(self, x):
        return x + self.conv(self.conv(self.conv(x)))

    def encoder(self, x):
        return self.conv(self.residual(self.conv(x, stride=2)))

    def decoder(self, x):
        return self.transposed(self.residual(self.transposed(x)), stride=2)

    def head(self, x, padding):
        return F.conv2d(x, next(self.values), next(self.values), padding=padding)


def plain_unet(x, network):
    layers = PlainLayers(network.state_dict())
    e1 = layers.encoder(x)
    e2 = layers.encoder(e1)
    e3 = layers.encoder(e2)
    d3 = layers.decoder(layers.encoder(e3))
    d2 = layers.decoder(d3 + e3)
    d1 = layers.decoder(d2 + e2)
    d0 = layers.decoder(d1 + e1)
    return torch.tanh(layers.head(d0, padding=1)) + x


def test_discriminator_gives_the_numbers_of_plain_layers():
    network = with_random_weights(RefineGanDiscriminator(width=4))
    image = torch.rand(2, 2, 48, 35)
    layers = PlainLayers(network.state_dict())
    expected = image
    for _ in range(4):
        expected = layers.encoder(expected)
    expected = layers.head(expected, padding=2)
    assert expected.shape == (2, 1, 4, 4)
    torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_stages_give_the_numbers_of_plain_layers_and_numpy(generator):
    measurement = random_measurement(32, 48, seed=3, batch=2)
    y = measurement[:, 0].numpy() + 1j * measurement[:, 1].numpy()
    mask = measurement[:, 2].numpy()

    def consistent(image):
        kspace = numpy_fft2c(image)
        return numpy_ifft2c(kspace + (y - kspace) * mask)

    def through(image, network):
        channels = torch.from_numpy(np.stack((image.real, image.imag), 1)).float()
        out = (plain_unet(2 * channels - 1, network) + 1) / 2
        return out[:, 0].numpy() + 1j * out[:, 1].numpy()

    raw1 = through(numpy_ifft2c(y), generator.stage1)
    consistent1 = consistent(raw1)
    raw2 = through(consistent1, generator.stage2)
    stages = generator.stages(measurement)
    for stage, expected in zip(stages, (raw1, consistent1, raw2, consistent(raw2)), strict=True):
        np.testing.assert_allclose(channels_to_complex(stage)[:, 0].numpy(), expected, rtol=1e-4, atol=2e-5)
    assert torch.equal(generator(measurement), stages[3])


# ------------------------------------------------------------------------------------------- what holds end to end


@pytest.mark.parametrize("scaling", ["shifted", "peak"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (17, 16), (5, 7)])
@torch.no_grad()
def test_measured_samples_are_preserved_at_any_size(scaling, height, width):
    torch.manual_seed(0)
    network = with_random_weights(RefineGanGenerator(width=4, scaling=scaling))
    measurement = random_measurement(height, width, seed=height, batch=2)
    image = network(measurement)
    assert image.shape == (2, 2, height, width)
    assert image.dtype == torch.float32
    kspace, mask = unpack_measurement(measurement)
    error = (mask * (fft2c(channels_to_complex(image)) - kspace)).abs().amax()
    assert error <= 1e-5 * kspace.abs().amax()
    changed = ((1 - mask) * fft2c(channels_to_complex(image))).abs().amax()
    assert changed > 1e-2  # the network is not just zero-filling


@torch.no_grad()
def test_without_a_correction_the_result_is_the_zero_filled_image():
    network = RefineGanGenerator(width=4).eval()
    for stage in (network.stage1, network.stage2):
        nn.init.zeros_(stage.head.weight)
    measurement = random_measurement(32, 33, batch=2)
    kspace, _ = unpack_measurement(measurement)
    expected = numpy_ifft2c(kspace.numpy())
    for stage in network.stages(measurement):
        np.testing.assert_allclose(channels_to_complex(stage).numpy(), expected, rtol=0, atol=2e-6)


@torch.no_grad()
def test_a_correction_is_at_most_one_in_network_units():
    network = ResidualUNet(width=4).eval()
    nn.init.constant_(network.head.bias, 50.0)
    image = torch.rand(1, 2, 19, 33)
    torch.testing.assert_close(network(image), image + 1)


@pytest.mark.parametrize("factor", [1e-6, 7.3, 1e5])
@torch.no_grad()
def test_peak_scaling_makes_the_network_homogeneous(factor):
    torch.manual_seed(0)
    network = with_random_weights(RefineGanGenerator(width=4, scaling="peak"))
    mask = random_mask(32, 24, batch=2)
    kspace = mask * random_complex(2, 1, 32, 24, dtype=torch.complex64)
    image = network(pack_measurement(kspace, mask))
    scaled = network(pack_measurement(factor * kspace, mask))
    torch.testing.assert_close(scaled / factor, image, rtol=1e-4, atol=1e-5 * float(image.abs().max()))


@torch.no_grad()
def test_physics_stays_float32_where_convolutions_are_bfloat16(generator):
    measurement = random_measurement(32, 40, batch=2)
    kspace, mask = unpack_measurement(measurement)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stages = generator.stages(measurement)
    assert {stage.dtype for stage in stages} == {torch.float32}
    for consistent in (stages[1], stages[3]):
        error = (mask * (fft2c(channels_to_complex(consistent)) - kspace)).abs().amax()
        assert error <= 1e-5 * kspace.abs().amax()
    torch.testing.assert_close(stages[3], generator(measurement), rtol=0, atol=0.05)


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other(generator):
    measurement = random_measurement(32, 32, batch=3)
    together = generator(measurement)
    alone = torch.cat([generator(one[None]) for one in measurement])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scaling", ["shifted", "peak"])
def test_empty_measurement_gives_finite_image_and_gradient(scaling):
    network = RefineGanGenerator(width=4, scaling=scaling)
    measurement = torch.zeros(2, 3, 32, 32)
    measurement[:, 2] = random_mask(32, 32)[0]
    image = network(measurement)
    assert torch.isfinite(image).all()
    image.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_wrong_measurement_is_refused(generator):
    with pytest.raises(ValueError, match=r"expected a measurement .* got shape \[1, 2, 32, 32\]"):
        generator(torch.zeros(1, 2, 32, 32))
    with pytest.raises(ValueError, match="scaling must be one of"):
        RefineGanGenerator(width=4, scaling="unit")
