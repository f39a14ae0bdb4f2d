"""The conditional patch discriminator: its size, its numbers, what a score sees."""

import pytest
import torch
import torch.nn.functional as F
from helpers import n_parameters

from common.networks import ConditionalPatchDiscriminator


def by_hand(in_channels, width):
    """4x4 convolutions; batch norm in place of a bias but in the first and the last."""
    total = 16 * in_channels * width + width
    for channels in (width, 2 * width, 4 * width):
        total += 16 * channels * 2 * channels + 2 * (2 * channels)
    return total + 16 * 8 * width + 1


@pytest.mark.parametrize(("in_channels", "width", "known"), [(2, 64, 2_764_609), (6, 64, 2_768_705), (2, 32, 694_177)])
def test_number_of_parameters(in_channels, width, known):
    """pix2pix' own, of 6 channels, is known to have 2,768,705."""
    with torch.device("meta"):
        network = ConditionalPatchDiscriminator(in_channels, width)
    assert n_parameters(network) == by_hand(in_channels, width) == known


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ConditionalPatchDiscriminator(width=4)


def test_numbers_are_those_of_plain_layers(network):
    """Batch norm with statistics of the batch, as in training."""
    image, condition = torch.rand(2, 1, 48, 41), torch.rand(2, 1, 48, 41)
    state = list(network.state_dict().values())

    def padded(x):
        return F.pad(x, (1, 1, 1, 1), mode="reflect")

    x = F.leaky_relu(F.conv2d(padded(torch.cat((image, condition), 1)), state[0], state[1], stride=2), 0.2)
    for index, stride in ((2, 2), (8, 2), (14, 1)):
        weight, scale, shift = state[index : index + 3]
        x = F.conv2d(padded(x), weight, stride=stride)
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
        x = (x - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
        x = F.leaky_relu(x, 0.2)
    expected = F.conv2d(padded(x), state[-2], state[-1])
    scores = network.train()(image, condition)
    assert scores.shape == (2, 1, 4, 3)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_condition_may_be_in_the_image(network):
    image, condition = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    both = network(image, condition)
    assert torch.equal(network(torch.cat((image, condition), dim=1)), both)
    assert (network(condition, image) - both).abs().max() > both.std()


def test_a_score_sees_a_patch_of_70_pixels(network):
    """pix2pix' 70 x 70 PatchGAN."""
    image = torch.rand(1, 2, 128, 128, requires_grad=True)
    network.eval()(image)[0, 0, 7, 7].backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows.max() - rows.min()) + 1 == 70
