"""The gradient penalty of discriminators whose gradients are known."""

import pytest
import torch
from torch import nn

from common.losses import R1Penalty


class Linear(nn.Module):
    """``D(x) = <w, x>``: gradient ``w`` everywhere."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, image):
        return (self.weight * image).flatten(1).sum(1, keepdim=True)


class Patches(nn.Module):
    """A map of scores, each ``|x_pixel|^2 / 2``; the image's score is their mean."""

    def forward(self, image):
        return 0.5 * image.square().sum(1, keepdim=True)


def images(seed, batch=3):
    return torch.randn(batch, 2, 4, 5, generator=torch.Generator().manual_seed(seed))


def test_r1_of_a_linear_discriminator():
    weight = images(0)[0]
    discriminator = Linear(weight)
    penalty = R1Penalty()(discriminator, images(1), images(2))
    torch.testing.assert_close(penalty, 0.5 * weight.square().sum())
    penalty.backward()
    torch.testing.assert_close(discriminator.weight.grad, weight)


def test_r1_looks_at_real_images_and_the_mean_of_the_map():
    real = images(1)
    gradient = real / 20  # of the mean over 4 x 5 patches
    expected = 0.5 * gradient.square().sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(R1Penalty()(Patches(), real, images(2)), expected)


def test_the_penalty_is_float32_under_autocast():
    seen = []
    network = nn.Conv2d(2, 1, 3)
    network.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert R1Penalty()(network, images(1).bfloat16(), images(2)).dtype == torch.float32
    assert seen == [torch.float32]


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="got weight=0, interval=1"):
        R1Penalty(weight=0, interval=1)
    with pytest.raises(ValueError, match=r"got weight=1\.0, interval=0"):
        R1Penalty(weight=1.0, interval=0)
