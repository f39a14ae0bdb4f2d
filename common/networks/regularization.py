"""Regularisations of a network of series by name: of its weights, or of the features after each convolution."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REGULARIZATIONS = {
    "none": (),
    "l1": ("coefficient",),
    "l2": ("coefficient",),
    "l1_l2": ("coefficient of l1", "coefficient of l2"),
    "batch_norm": (),
    "instance_norm": (),
    "dropout": ("rate",),
    "dropblock": ("keep_prob", "block_size"),
}


class DropBlock(nn.Module):
    """Blocks of neighbouring features set to zero in training, the rest scaled up by what is left.

    Ghiasi et al. 2018, arXiv 1810.12890: block corners are drawn at the rate ``gamma = (1 - keep_prob) /
    block volume * feature volume / volume of possible corners``, for each channel alone, so that about
    ``1 - keep_prob`` of the features go, a little less since blocks overlap. The identity in evaluation. Differs: a
    block is cut to the size of small features, and ``keep_prob`` is not lowered during training.

    Args:
        keep_prob: share of features that stay, in (0, 1].
        block: size of a block in rows, columns and frames.
    """

    def __init__(self, keep_prob: float, block: tuple[int, int, int]) -> None:
        super().__init__()
        if not 0 < keep_prob <= 1:
            raise ValueError(f"keep_prob of dropblock must be in (0, 1], got {keep_prob}")
        if min(block) < 1:
            raise ValueError(f"block_size of dropblock must be at least 1, got {min(block)}")
        self.keep_prob = float(keep_prob)
        self.block = block

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, channels, height, width, frames)`` to the same."""
        if not self.training or self.keep_prob == 1.0:
            return features
        batch, channels, height, width, n_frames = features.shape
        rows, columns, frames = min(self.block[0], height), min(self.block[1], width), min(self.block[2], n_frames)
        corners = [batch, channels, height - rows + 1, width - columns + 1, n_frames - frames + 1]
        n_corners = corners[2] * corners[3] * corners[4]
        gamma = (1.0 - self.keep_prob) / (rows * columns * frames) * (height * width * n_frames) / n_corners
        drawn = (torch.rand(corners, device=features.device) < gamma).to(features.dtype)
        around = [frames - 1, frames - 1, columns - 1, columns - 1, rows - 1, rows - 1]
        kept = 1.0 - F.max_pool3d(F.pad(drawn, around), [rows, columns, frames], stride=1)
        return features * kept * (kept.numel() / kept.sum().clamp(min=1.0))


def penalty_coefficients(regularization: str, parameters: Sequence[float]) -> tuple[float, float]:
    """Coefficients of :func:`weight_penalty`; zeros for names of ``REGULARIZATIONS`` that are not of weights.

    Raises:
        ValueError: for an unknown name, or parameters of the wrong number or below 0.
    """
    values = _checked(regularization, parameters)
    if regularization not in ("l1", "l2", "l1_l2"):
        return 0.0, 0.0
    if min(values) < 0:
        raise ValueError(f"coefficients of {regularization} must be at least 0, got {values}")
    return {"l1": (values[0], 0.0), "l2": (0.0, values[0]), "l1_l2": (values[0], values[-1])}[regularization]


def weight_penalty(network: nn.Module, l1: float, l2: float) -> Tensor:
    """``l1 sum |w| + l2 sum w^2`` over the kernels of a network's convolutions, a scalar.

    Biases and norms are left alone, as Keras' ``kernel_regularizer`` leaves them. For one kernel of a single weight
    0.5, ``l1`` 1 and ``l2`` 2 give 1.
    """
    total = torch.zeros((), device=next(network.parameters()).device)
    for module in network.modules():
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            if l1 > 0:
                total = total + l1 * module.weight.abs().sum()
            if l2 > 0:
                total = total + l2 * module.weight.square().sum()
    return total


def feature_regularization(
    regularization: str, parameters: Sequence[float], channels: int, kernel: tuple[int, int, int]
) -> nn.Module:
    """The layer of a name of ``REGULARIZATIONS`` that follows a convolution.

    Args:
        regularization: name; of those of weights, and of ``none``, the layer is the identity.
        parameters: its numbers.
        channels: features of the convolution.
        kernel: its size in rows, columns and frames. Blocks of ``dropblock`` lie in the axes along which it is larger
            than 1; there are none after one along a single axis.

    Raises:
        ValueError: for an unknown name, or parameters of the wrong number or outside their range.
    """
    values = _checked(regularization, parameters)
    if regularization == "batch_norm":
        return nn.BatchNorm3d(channels)
    if regularization == "instance_norm":
        return nn.InstanceNorm3d(channels, affine=True)
    if regularization == "dropout":
        if not 0 <= values[0] < 1:
            raise ValueError(f"rate of dropout must be in [0, 1), got {values[0]}")
        return nn.Dropout(values[0])
    if regularization == "dropblock" and sum(size > 1 for size in kernel) > 1:
        if values[1] != int(values[1]):
            raise ValueError(f"block_size of dropblock must be a whole number, got {values[1]}")
        rows, columns, frames = (int(values[1]) if size > 1 else 1 for size in kernel)
        return DropBlock(values[0], (rows, columns, frames))
    return nn.Identity()


def _checked(regularization: str, parameters: Sequence[float]) -> list[float]:
    """The parameters as numbers, if they are as many as the name takes."""
    if regularization not in REGULARIZATIONS:
        raise ValueError(f"regularization must be one of {', '.join(REGULARIZATIONS)}, got {regularization!r}")
    wanted, values = REGULARIZATIONS[regularization], list(parameters)
    if len(values) != len(wanted):
        described = ", ".join(wanted) if wanted else "no parameters"
        raise ValueError(f"regularization {regularization} takes {described}, got regularization_parameters {values}")
    return [float(value) for value in values]
