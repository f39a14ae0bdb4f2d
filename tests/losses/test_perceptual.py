"""Perceptual loss against an independent loop over layers and slices; where its gradient goes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.losses import PerceptualLoss
from common.networks import Vgg19Features


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    return Vgg19Features("random", layer="conv3_2", width=4)


def batch(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def by_hand(sr_image, hr_image, vgg):
    """One pair of images ``(channels, height, width)``, layer by layer; the mean over features."""
    maps = []
    for image in (sr_image, hr_image):
        x = (image.expand(3, -1, -1) - torch.tensor([[[0.485]], [[0.456]], [[0.406]]])) / torch.tensor(
            [[[0.229]], [[0.224]], [[0.225]]]
        )
        for layer in vgg.features:
            if isinstance(layer, nn.Conv2d):
                x = F.conv2d(x[None], layer.weight, layer.bias, padding=1)[0]
            elif isinstance(layer, nn.ReLU):
                x = torch.relu(x)
            else:
                x = F.max_pool2d(x[None], 2)[0]
        maps.append(x)
    return (maps[0] - maps[1]).square().mean()


@torch.no_grad()
def test_of_images_it_is_the_mean_distance_of_features(vgg):
    sr_image, hr_image = batch(5, 1, 20, 17), batch(5, 1, 20, 17, seed=1)
    expected = torch.stack([by_hand(a, b, vgg) for a, b in zip(sr_image, hr_image, strict=True)]).mean()
    assert expected > 0.001
    torch.testing.assert_close(PerceptualLoss(vgg)(sr_image, hr_image), expected)


def slices_by_hand(sr_volume, hr_volume, vgg, places):
    """Slices ``places[axis]`` of volumes, one after another; the mean over slices, then over axes."""
    axes = []
    for axis in range(3):
        of_axis = []
        for sr, hr in zip(sr_volume, hr_volume, strict=True):
            of_axis += [by_hand(sr.select(axis + 1, n), hr.select(axis + 1, n), vgg) for n in places[axis]]
        axes.append(torch.stack(of_axis).mean())
    return torch.stack(axes).mean()


@torch.no_grad()
def test_of_volumes_it_is_the_mean_over_slices_of_three_axes(vgg):
    sr_volume, hr_volume = batch(2, 1, 5, 6, 7), batch(2, 1, 5, 6, 7, seed=1)
    expected = slices_by_hand(sr_volume, hr_volume, vgg, [range(5), range(6), range(7)])
    torch.testing.assert_close(PerceptualLoss(vgg)(sr_volume, hr_volume), expected)


@torch.no_grad()
def test_drawn_slices_follow_the_seed_and_do_not_repeat(vgg):
    sr_volume, hr_volume = batch(2, 1, 6, 4, 9), batch(2, 1, 6, 4, 9, seed=1)
    loss = PerceptualLoss(vgg, slices_per_axis=4)

    def drawn(seed):
        torch.manual_seed(seed)
        return loss(sr_volume, hr_volume)

    torch.manual_seed(3)
    places = [torch.randperm(6)[:4], range(4), torch.randperm(9)[:4]]
    torch.testing.assert_close(drawn(3), slices_by_hand(sr_volume, hr_volume, vgg, places))
    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
    every = PerceptualLoss(vgg)(sr_volume, hr_volume)
    torch.testing.assert_close(PerceptualLoss(vgg, slices_per_axis=100)(sr_volume, hr_volume), every)
    means = torch.stack([drawn(seed) for seed in range(40)])
    torch.testing.assert_close(means.mean(), every, rtol=0.1, atol=0)


@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (1, 1, 6, 5, 7)])
def test_identical_images_have_loss_zero_and_no_gradient(vgg, shape):
    image = batch(*shape).requires_grad_()
    loss = PerceptualLoss(vgg)(image, image.detach().clone())
    loss.backward()
    assert loss.item() == 0
    assert not image.grad.any()


def test_the_worked_number_of_the_docstring():
    image = batch(2, 1, 4, 4)
    torch.testing.assert_close(PerceptualLoss(nn.Identity())(image + 0.1, image), torch.tensor(0.01))


@pytest.mark.parametrize("shape", [(3, 1, 16, 16), (1, 1, 8, 8, 8)])
def test_the_gradient_reaches_the_sr_image_alone(vgg, shape):
    sr_image, hr_image = batch(*shape).requires_grad_(), batch(*shape, seed=1).requires_grad_()
    PerceptualLoss(vgg)(sr_image, hr_image).backward()
    assert sr_image.grad.abs().min() > 0
    assert hr_image.grad is None
    assert all(parameter.grad is None for parameter in vgg.parameters())


def test_bad_options_and_images_are_refused(vgg):
    with pytest.raises(ValueError, match="slices_per_axis must be at least 1, got 0"):
        PerceptualLoss(vgg, 0)
    with pytest.raises(ValueError, match=r"two batches of one shape, .* got \[1, 1, 8, 8\] and \[1, 1, 8, 9\]"):
        PerceptualLoss(vgg)(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 9))
    with pytest.raises(ValueError, match=r"got \[8, 8, 8\] and \[8, 8, 8\]"):
        PerceptualLoss(vgg)(torch.zeros(8, 8, 8), torch.zeros(8, 8, 8))
    with pytest.raises(ValueError, match="of at least 4 x 4 pixels for the features of conv3_2"):
        PerceptualLoss(vgg)(torch.zeros(1, 1, 3, 8, 8), torch.zeros(1, 1, 3, 8, 8))
