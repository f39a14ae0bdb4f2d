"""Regularisations by name: penalties of weights, and blocks of features that are dropped."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.networks.regularization import DropBlock, feature_regularization, penalty_coefficients, weight_penalty


def test_weight_penalty_of_one_known_weight():
    layer = nn.Conv3d(1, 1, 1)
    nn.init.constant_(layer.weight, -0.5)
    assert weight_penalty(layer, *penalty_coefficients("l1_l2", (1, 2))).item() == 1.0


@pytest.mark.parametrize(
    ("kernel", "block"),
    [((3, 3, 3), (3, 3, 3)), ((3, 3, 1), (3, 3, 1)), ((1, 3, 3), (1, 3, 3)), ((2, 2, 1), (3, 3, 1))],
)
def test_blocks_lie_in_the_axes_of_their_convolution(kernel, block):
    layer = feature_regularization("dropblock", (0.9, 3), 4, kernel)
    assert isinstance(layer, DropBlock)
    assert layer.block == block
    assert isinstance(feature_regularization("dropblock", (0.9, 3), 4, (1, 1, 3)), nn.Identity)


@pytest.mark.parametrize(("block", "keep_prob"), [((3, 3, 3), 0.9), ((4, 1, 4), 0.7), ((5, 5, 1), 0.9)])
def test_dropblock_drops_whole_blocks_at_its_rate(block, keep_prob):
    torch.manual_seed(0)
    height, width, n_frames = 14, 12, 9
    layer = DropBlock(keep_prob, block).train()
    result = layer(torch.ones(40, 50, height, width, n_frames))
    volume, n_corners = block[0] * block[1] * block[2], 1
    covering = torch.ones(())  # blocks that hold each place, of those possible
    for size, length in zip((height, width, n_frames), block, strict=True):
        n_corners *= size - length + 1
        one = torch.tensor([min(i + 1, size - i, length, size - length + 1) for i in range(size)], dtype=torch.float32)
        covering = covering[..., None] * one
    gamma = (1 - keep_prob) / volume * height * width * n_frames / n_corners
    dropped = (result == 0).float()
    expected = 1 - (1 - gamma) ** covering
    assert abs(dropped.mean() - expected.mean()) < 0.004
    assert 0.8 * (1 - keep_prob) < expected.mean() < 1 - keep_prob + 1e-6
    torch.testing.assert_close(dropped.mean(dim=(0, 1)), expected, rtol=0, atol=0.06)
    # what is left has the sum of all; each dropped place lies in a block that is dropped as a whole
    torch.testing.assert_close(result.mean(), torch.ones(()))
    kept = 1 - dropped
    whole = (F.avg_pool3d(dropped, block, 1) == 1).float()
    around = [n for length in reversed(block) for n in (length - 1, length - 1)]
    assert torch.equal(F.max_pool3d(F.pad(whole, around), block, 1), 1 - kept)


def test_dropblock_of_features_smaller_than_a_block():
    torch.manual_seed(0)
    result = DropBlock(0.5, (7, 7, 7)).train()(torch.ones(30, 30, 2, 3, 1))
    dropped = (result == 0).float()
    assert torch.equal(dropped.amax(dim=(2, 3, 4)), dropped.amin(dim=(2, 3, 4)))  # all of a channel or none
    assert abs(dropped.mean() - 0.5) < 0.06
