"""Batch norms over all processes (numbers: ``engines/test_distributed.py``), frozen, and for the training alone."""

import copy

import pytest
import torch
from torch import nn

from common.networks import (
    FoldedBatchNorm,
    FrozenBatchNorm2d,
    MobileNetV2Features,
    Vgg19Classifier,
    Vgg19Features,
    add_batch_norm,
    freeze_batch_norm,
)
from common.networks.batch_norms import GroupBatchNorm, synchronise_batch_norm


@pytest.mark.parametrize(
    ("plain", "device", "kind"),
    [
        (nn.BatchNorm2d, "cpu", GroupBatchNorm),
        (nn.BatchNorm3d, "cpu", GroupBatchNorm),
        (FrozenBatchNorm2d, "cpu", FrozenBatchNorm2d),
        (nn.BatchNorm2d, "cuda", nn.SyncBatchNorm),
        (nn.BatchNorm3d, "cuda", nn.SyncBatchNorm),
    ],
)
def test_batch_norms_are_replaced_and_parameters_stay_the_same_objects(plain, device, kind):
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(plain(2, eps=1e-3, momentum=0.3), nn.ReLU())).eval()
    parameters, state = list(network.parameters()), network.state_dict()
    synchronise_batch_norm(network, torch.device(device))
    norm = network[1][0]
    assert type(norm) is kind
    assert (norm.eps, norm.momentum, norm.training) == (1e-3, 0.3, False)
    assert all(new is old for new, old in zip(network.parameters(), parameters, strict=True))
    assert network.state_dict().keys() == state.keys()


@pytest.mark.parametrize("size", [(4, 4), (4, 4, 3)])
def test_evaluation_uses_the_running_statistics(size):
    norm = GroupBatchNorm(2)
    norm.running_mean[:] = torch.tensor([1.0, -2.0])
    norm.running_var[:] = torch.tensor([4.0, 0.25])
    image = torch.randn(3, 2, *size)
    mean, deviation = (torch.tensor(n).view(2, *(1,) * len(size)) for n in ([1.0, -2.0], [2.0, 0.5]))
    torch.testing.assert_close(norm.eval()(image), (image - mean) / deviation, rtol=1e-4, atol=1e-4)


def trained(network, image, steps=3):
    """Some steps, so that means, variances, scales and shifts are not those it began with."""
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        network(image).square().mean().backward()
        optimizer.step()
    return network.eval()


def images():
    return torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def test_folded_weights_give_the_same_answers():
    torch.manual_seed(0)
    network = trained(add_batch_norm(Vgg19Classifier(3, width=4, dropout=0.0)), images())
    plain = Vgg19Classifier(3, width=4, dropout=0.0).eval()
    plain.load_state_dict(FoldedBatchNorm(network).state_dict())
    expected = network(images())
    assert expected.std(0).min() > 1e-3
    torch.testing.assert_close(plain(images()), expected, rtol=1e-3, atol=1e-4)


def test_known_convolution_is_folded():
    network = add_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1)))
    layer = network[0]
    with torch.no_grad():
        layer.convolution.weight.fill_(2)
        layer.convolution.bias.fill_(3)
        layer.norm.running_mean.fill_(1)
        layer.norm.running_var.fill_(4 - layer.norm.eps)
        layer.norm.weight.fill_(6)
        layer.norm.bias.fill_(-1)
    state = FoldedBatchNorm(network.eval()).state_dict()
    assert state.keys() == {"0.weight", "0.bias"}
    torch.testing.assert_close(state["0.weight"].flatten(), torch.tensor([6.0]))  # 2 * 6 / 2
    torch.testing.assert_close(state["0.bias"], torch.tensor([5.0]))  # (3 - 1) * 6 / 2 - 1


def test_folding_leaves_the_training_alone(tmp_path):
    network = add_batch_norm(Vgg19Classifier(3, width=4)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.save(FoldedBatchNorm(network).state_dict(), tmp_path / "vgg.pt")
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    Vgg19Features(tmp_path / "vgg.pt", width=4)


def small():
    torch.manual_seed(0)
    network = MobileNetV2Features(width=0.1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
    return network


def test_training_computes_what_inference_does_and_leaves_the_statistics():
    network, images = small(), torch.rand(2, 1, 64, 96)
    expected = copy.deepcopy(network).eval()(images)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frozen = freeze_batch_norm(network).train()
    torch.testing.assert_close(frozen(images), expected, rtol=0, atol=1e-6)
    assert frozen.state_dict().keys() == before.keys()
    for name, value in frozen.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    norms = [module for module in frozen.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(module, FrozenBatchNorm2d) and module.weight.requires_grad for module in norms)


def test_images_of_a_batch_do_not_see_each_other():
    images = torch.rand(2, 1, 64, 96)
    for network, alone in ((small().train(), False), (freeze_batch_norm(small()).train(), True)):
        with torch.no_grad():
            both = copy.deepcopy(network)(images)[:1]
            one = copy.deepcopy(network)(images[:1])
        assert torch.allclose(both, one, rtol=0, atol=1e-5 * float(one.abs().max())) == alone
