"""Batch normalisation whose statistics span all processes of a group."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class GroupBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the joined batch of all processes, on any device.

    ``torch.nn.SyncBatchNorm`` does the same with faster kernels, but only on accelerators. Every process must
    bring a batch of one and the same size.
    """

    momentum: float
    num_batches_tracked: Tensor
    running_mean: Tensor
    running_var: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to the same."""
        if not self.training:
            return super().forward(features)
        # before the means: in bfloat16 their rounding would swamp the variance
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        local = torch.stack((features.mean(dim=(0, 2, 3)), features.square().mean(dim=(0, 2, 3))))
        mean, mean_square = all_reduce(local) / dist.get_world_size()
        variance = mean_square - mean.square()
        with torch.no_grad():
            n = features.numel() / features.shape[1] * dist.get_world_size()
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return features * scale[:, None, None] + shift[:, None, None]


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Make the 2-D batch norms of a network span all processes, in place; parameters stay the same objects.

    Args:
        network: holds the batch norms; must not be one itself.
        device: where it trains; CUDA gets ``torch.nn.SyncBatchNorm``.
    """
    for name, child in network.named_children():
        if type(child) is not nn.BatchNorm2d:
            synchronise_batch_norm(child, device)
        elif device.type == "cuda":
            setattr(network, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        else:
            group = GroupBatchNorm2d(child.num_features, eps=child.eps, momentum=child.momentum)
            group.__dict__.update(child.__dict__)
            setattr(network, name, group)
