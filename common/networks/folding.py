"""Batch norm for the training alone: added to a network's convolutions, and folded into their weights afterwards."""

import copy

from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval


class NormalisedConv2d(nn.Module):
    """A convolution, then batch norm."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm2d(convolution.out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """``(batch, channels, height, width)``, as the convolution."""
        return self.norm(self.convolution(image))


def add_batch_norm(network: nn.Module) -> nn.Module:
    """Put batch norm (Ioffe and Szegedy 2015, arXiv 1502.03167) behind each 2-D convolution of a network, in place.

    A VGG19 of random weights answers nearly alike to all images, and on images of low contrast its training does not
    start without.

    Args:
        network: holds the convolutions; must not be one itself.

    Returns:
        the network.
    """
    for name, child in network.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(network, name, NormalisedConv2d(child))
        else:
            add_batch_norm(child)
    return network


class FoldedBatchNorm:
    """The state dict that a network of :func:`add_batch_norm` has without it, for who writes weights.

    Its answers in evaluation mode are the same to rounding, and its keys those of the network as it was.

    Args:
        network: as trained; is not changed.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def state_dict(self) -> dict[str, Tensor]:
        """Weights with means, variances, scales and shifts multiplied in."""
        return _fold(copy.deepcopy(self.network).eval()).state_dict()


def _fold(network: nn.Module) -> nn.Module:
    for name, child in network.named_children():
        if isinstance(child, NormalisedConv2d):
            setattr(network, name, fuse_conv_bn_eval(child.convolution, child.norm))
        else:
            _fold(child)
    return network
