"""Batch normalisation whose statistics span all processes of a group."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class _GroupBatchNorm(nn.modules.batchnorm._BatchNorm):
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


class GroupBatchNorm2d(_GroupBatchNorm, nn.BatchNorm2d):
    """Batch norm of images over all processes."""


class GroupBatchNorm3d(_GroupBatchNorm, nn.BatchNorm3d):
    """Batch norm of volumes over all processes."""


_KINDS: dict[type[nn.Module], type[_GroupBatchNorm]] = {
    nn.BatchNorm2d: GroupBatchNorm2d,
    nn.BatchNorm3d: GroupBatchNorm3d,
}


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Make the batch norms of a network of images or volumes span all processes, in place.

    Parameters stay the same objects.

    Args:
        network: holds the batch norms; must not be one itself.
        device: device of the training; CUDA gets ``torch.nn.SyncBatchNorm``.
    """
    for name, child in network.named_children():
        kind = _KINDS.get(type(child))
        if kind is None or not isinstance(child, nn.modules.batchnorm._BatchNorm):
            synchronise_batch_norm(child, device)
        elif device.type == "cuda":
            setattr(network, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        else:
            group = kind(child.num_features)
            group.__dict__.update(child.__dict__)
            setattr(network, name, group)
