"""MobileNetV2: features of an image, light enough to be trained along with another network.

Sandler et al.: MobileNetV2: Inverted Residuals and Linear Bottlenecks. CVPR 2018, arXiv 1801.04381. State dicts have
torchvision's keys (``features.0.0.weight`` ...), so that its weight files load; torchvision is not needed.
"""

from pathlib import Path

import torch
from common.networks.weights import load_part, read_weights
from torch import Tensor, nn

# expansion, channels, blocks, stride of the first: table 2 of the paper
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_LAST_CHANNELS = 1280


class MobileNetV2Features(nn.Module):
    """The convolutions of MobileNetV2 on magnitude images.

    Grey images are repeated to RGB and normalised with ImageNet's means and standard deviations, as torchvision's
    weights want it. At ``width`` 1: 2,223,872 parameters.

    Args:
        weights: a file with torchvision's state dict for this ``width`` (its classifier is left aside); ``None`` starts
            from random weights (He et al. 2015, arXiv 1502.01852).
        width: multiplier of the channels, rounded to multiples of 8; the last layer keeps 1280.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or does not hold these weights.
    """

    channels: int = _LAST_CHANNELS
    stride: int = 32
    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path | None = None, width: float = 1.0) -> None:
        super().__init__()
        channels = _rounded(32 * width)
        layers: list[nn.Module] = [_unit(3, channels, 3, stride=2)]
        for expansion, base, n_blocks, first_stride in _STAGES:
            out_channels = _rounded(base * width)
            for block in range(n_blocks):
                stride = first_stride if block == 0 else 1
                layers.append(InvertedResidual(channels, out_channels, stride, expansion))
                channels = out_channels
        layers.append(_unit(channels, _LAST_CHANNELS, 1))
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if weights is not None:
            load_part(self, read_weights(weights), weights, "torchvision's state dict of MobileNetV2 of the same width")

    def forward(self, image: Tensor) -> Tensor:
        """``(batch, 1, height, width)``, about [0, 1], to ``(batch, 1280, height / 32, width / 32)``, rounded up."""
        return self.features((image - self.mean) / self.std)


class InvertedResidual(nn.Module):
    """1x1 convolution that expands, 3x3 convolution of each channel, linear 1x1 convolution; added if shapes fit."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers = [_unit(in_channels, hidden, 1)] if expansion > 1 else []
        layers.append(_unit(hidden, hidden, 3, stride=stride, groups=hidden))
        self.conv = nn.Sequential(*layers, nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, in_channels, height, width)`` to ``(batch, out_channels, height / stride, width / stride)``."""
        return features + self.conv(features) if self.residual else self.conv(features)


def _unit(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    )


def _rounded(channels: float) -> int:
    """To the nearest multiple of 8, but not more than a tenth below."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
