"""Gradient penalties of discriminators whose gradients are known."""

import pytest
import torch
from torch import nn

from common.losses import GradientPenalty, R1Penalty


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


def test_gradient_penalty_of_a_linear_discriminator():
    weight = images(0)[0]
    discriminator = Linear(weight)
    penalty = GradientPenalty()(discriminator, images(1), images(2))
    norm = weight.square().sum().sqrt()
    torch.testing.assert_close(penalty, (norm - 1).square())
    penalty.backward()
    torch.testing.assert_close(discriminator.weight.grad, 2 * (norm - 1) * weight / norm)


def test_gradient_penalty_looks_between_real_and_fake():
    """From real 0 to fake 20 e the gradient's norm is the place in [0, 1]: the penalty is E (place - 1)^2 = 1/3."""
    real = torch.zeros(4000, 2, 4, 5)
    fake = torch.zeros_like(real)
    fake[:, 0, 0, 0] = 20
    torch.manual_seed(0)
    assert GradientPenalty()(Patches(), real, fake).item() == pytest.approx(1 / 3, abs=0.02)
    assert GradientPenalty()(Patches(), fake, fake).item() == pytest.approx(0, abs=1e-6)


def test_gradient_penalty_of_a_flat_discriminator_has_a_finite_gradient():
    discriminator = Linear(torch.zeros(2, 4, 5))
    penalty = GradientPenalty()(discriminator, images(1), images(2))
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert torch.isfinite(discriminator.weight.grad).all()


@pytest.mark.parametrize("penalty", [R1Penalty(), GradientPenalty()])
def test_penalties_are_float32_under_autocast(penalty):
    seen = []
    network = nn.Conv2d(2, 1, 3)
    network.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert penalty(network, images(1), images(2).bfloat16()).dtype == torch.float32
    assert seen == [torch.float32]


@pytest.mark.parametrize("kind", [R1Penalty, GradientPenalty])
def test_bad_options_are_refused(kind):
    with pytest.raises(ValueError, match="got weight=0, interval=1"):
        kind(weight=0, interval=1)
    with pytest.raises(ValueError, match=r"got weight=1\.0, interval=0"):
        kind(weight=1.0, interval=0)
