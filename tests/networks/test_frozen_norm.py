"""Batch norm that is frozen: the network of inference, trained on."""

import copy

import torch
from torch import nn

from common.networks import FrozenBatchNorm2d, TextureUNets, freeze_batch_norm


def small() -> TextureUNets:
    torch.manual_seed(0)
    network = TextureUNets(2, width=4, threshold=0.1, n_textures=2, texture_size=8, encoder_width=0.1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
        network.texture_block.network.head.weight.normal_(0, 0.3)
    return network


def test_training_computes_what_inference_does_and_leaves_the_statistics() -> None:
    network, measurement = small(), torch.randn(2, 3, 32, 48)
    expected = copy.deepcopy(network).eval()(measurement)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frozen = freeze_batch_norm(network).train()
    torch.testing.assert_close(frozen(measurement), expected, rtol=0, atol=1e-6)
    assert frozen.state_dict().keys() == before.keys()
    for name, value in frozen.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    norms = [module for module in frozen.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(module, FrozenBatchNorm2d) and module.weight.requires_grad for module in norms)


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    measurement, noise = torch.randn(1, 3, 32, 48), torch.randn(1, 2, 2, 32, 48)
    for network, alone in ((small().train(), False), (freeze_batch_norm(small()).train(), True)):
        with torch.no_grad():
            both = copy.deepcopy(network).samples(measurement, noise)[:, 0]
            one = copy.deepcopy(network).samples(measurement, noise[:, :1])[:, 0]
        assert torch.allclose(both, one, rtol=0, atol=1e-5 * float(one.abs().max())) == alone
