"""Batch norm that keeps the statistics it has, also in training."""

from torch import nn


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
    """Replace the 2-D batch norms of a network by :class:`FrozenBatchNorm2d`, in place; weights and statistics stay.

    Args:
        network: holds the batch norms; must not be one itself.

    Returns:
        the network.
    """
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features)
            frozen.__dict__.update(child.__dict__)
            setattr(network, name, frozen.eval())
        else:
            freeze_batch_norm(child)
    return network
