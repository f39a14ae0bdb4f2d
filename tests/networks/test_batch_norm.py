"""Making the batch norms of a network span processes; their numbers are in ``engines/test_distributed.py``."""

import pytest
import torch
from torch import nn

from common.networks.batch_norm import GroupBatchNorm2d, GroupBatchNorm3d, synchronise_batch_norm


@pytest.mark.parametrize(
    ("plain", "device", "kind"),
    [
        (nn.BatchNorm2d, "cpu", GroupBatchNorm2d),
        (nn.BatchNorm3d, "cpu", GroupBatchNorm3d),
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


@pytest.mark.parametrize(("kind", "size"), [(GroupBatchNorm2d, (4, 4)), (GroupBatchNorm3d, (4, 4, 3))])
def test_evaluation_uses_the_running_statistics(kind, size):
    norm = kind(2)
    norm.running_mean[:] = torch.tensor([1.0, -2.0])
    norm.running_var[:] = torch.tensor([4.0, 0.25])
    image = torch.randn(3, 2, *size)
    mean, deviation = (torch.tensor(n).view(2, *(1,) * len(size)) for n in ([1.0, -2.0], [2.0, 0.5]))
    torch.testing.assert_close(norm.eval()(image), (image - mean) / deviation, rtol=1e-4, atol=1e-4)
