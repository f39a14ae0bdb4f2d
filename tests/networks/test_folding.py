"""Batch norm that is there for the training alone."""

import torch
from torch import nn

from common.networks import FoldedBatchNorm, Vgg19Classifier, Vgg19Features, add_batch_norm


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


def test_training_starts_where_it_does_not_without():
    """Random VGG19s answer nearly alike to images of low contrast; batch norm tells them apart."""
    torch.manual_seed(0)
    network = Vgg19Classifier(3, width=4, dropout=0.0)
    image = 0.5 + 0.1 * (images() - 0.5)

    def relative_spread():
        answers = network(image)
        return (answers.std(0) / answers.abs().mean(0)).mean().item()

    without = relative_spread()
    add_batch_norm(network)
    assert relative_spread() > 10 * without
