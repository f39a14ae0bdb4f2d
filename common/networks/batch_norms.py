"""Batch norms of a network exchanged in place: over all processes, frozen, or for the training alone."""

import copy
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.utils import fuse_conv_bn_eval


class GroupBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the joined batch of all processes, on any device.

    ``torch.nn.SyncBatchNorm`` does the same with faster kernels, but only on accelerators. Every process must
    bring a batch of one and the same size.
    """

    momentum: float
    num_batches_tracked: Tensor
    running_mean: Tensor
    running_var: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, channels, height, width[, depth])`` to the same."""
        if not self.training:
            return super().forward(features)
        # before the means: in bfloat16 their rounding would swamp the variance
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        axes = [0, *range(2, features.ndim)]
        local = torch.stack((features.mean(dim=axes), features.square().mean(dim=axes)))
        mean, mean_square = all_reduce(local) / dist.get_world_size()
        variance = mean_square - mean.square()
        with torch.no_grad():
            n = features.numel() / features.shape[1] * dist.get_world_size()
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        each_channel = (-1, *(1,) * (features.ndim - 2))
        return features * scale.view(each_channel) + shift.view(each_channel)

    def _check_input_dim(self, input: Tensor) -> None:
        """Images and volumes alike."""


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Make the batch norms of a network of images or volumes span all processes, in place.

    Parameters stay the same objects.

    Args:
        network: holds the batch norms; must not be one itself.
        device: device of the training; CUDA gets ``torch.nn.SyncBatchNorm``.
    """

    def spanning(norm: nn.Module) -> nn.Module:
        if device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        return _with_state_of(norm, GroupBatchNorm)

    _exchange(network, spanning, nn.BatchNorm2d, nn.BatchNorm3d)


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Normalises with its running means and variances in training too, and leaves them as they are.

    Batch norm makes the images of a batch depend on each other. Where two samples of one measurement lie in a batch, a
    network can tell them apart by what the other one is, and does worse when it meets one alone. Keys of the state dict
    are those of ``torch.nn.BatchNorm2d``.
    """

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":
        """Stays in evaluation mode."""
        return super().train(False)


def freeze_batch_norm(network: nn.Module) -> nn.Module:
    """Replace the 2-D batch norms of a network by :class:`FrozenBatchNorm2d`, in place; weights and statistics stay."""
    return _exchange(network, lambda norm: _with_state_of(norm, FrozenBatchNorm2d).eval(), nn.BatchNorm2d)


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
    """
    return _exchange(network, NormalisedConv2d, nn.Conv2d)


class FoldedBatchNorm:
    """The state dict that a network of :func:`add_batch_norm` has without it, for who writes weights.

    Its answers in evaluation mode are the same to rounding, and its keys those of the network as it was.

    Args:
        network: network as trained; it is not changed.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def state_dict(self) -> dict[str, Tensor]:
        """Weights with means, variances, scales and shifts multiplied in."""
        folded = copy.deepcopy(self.network).eval()
        _exchange(folded, lambda unit: fuse_conv_bn_eval(unit.convolution, unit.norm), NormalisedConv2d)
        return folded.state_dict()


def _exchange(network: nn.Module, make: Callable[..., nn.Module], *kinds: type[nn.Module]) -> nn.Module:
    """Replace each part of just these kinds by what ``make`` makes of it, in place; the network itself is none."""
    for name, child in network.named_children():
        if type(child) in kinds:
            setattr(network, name, make(child))
        else:
            _exchange(child, make, *kinds)
    return network


def _with_state_of(norm: nn.Module, kind: type[nn.modules.batchnorm._BatchNorm]) -> nn.Module:
    """A norm of another kind with the same parameters and statistics."""
    other = kind(1)
    other.__dict__.update(norm.__dict__)
    return other
