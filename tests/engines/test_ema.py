"""The moving average against its recursion."""

import pytest
import torch
from torch import nn

from common.engines import exponential_average


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_average_follows_its_recursion(decay):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = exponential_average(network, decay)
    expected = None
    for n in range(6):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_()
            network(torch.randn(8, 3))  # moves the batch norm's statistics
        average.update_parameters(network)
        current = {k: v.clone() for k, v in network.state_dict().items() if v.is_floating_point()}
        keep = min(decay, (1 + n) / (10 + n))
        # the first update copies
        expected = current if n == 0 else {k: keep * expected[k] + (1 - keep) * v for k, v in current.items()}
    averaged = average.module.state_dict()
    assert len(expected) == 6
    for name, value in expected.items():
        torch.testing.assert_close(averaged[name], value, rtol=1e-5, atol=1e-6)


def test_average_is_a_network_for_evaluation():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = exponential_average(network)
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert average.module.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_bad_decay_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        exponential_average(nn.Linear(1, 1), decay)
