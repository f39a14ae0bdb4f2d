"""Convolutions of series of frames, over space and time at once or in two factors."""

from collections.abc import Sequence

import torch
from common.networks.regularization import feature_regularization
from torch import Tensor, nn

Kernel = tuple[int, int, int]

KERNELS: dict[str, tuple[Kernel, Kernel]] = {
    "UNet3D": ((3, 3, 3), (3, 3, 3)),
    "UNet2D1D": ((3, 3, 1), (1, 1, 3)),
    "UNet2D2D": ((1, 3, 3), (3, 1, 3)),
}
"""Rows, columns and frames of the two convolutions of a level."""

UP_KERNEL: Kernel = (2, 2, 1)


class SeriesConvolution(nn.Module):
    """Convolution, ReLU, then the regularisation of its features.

    Args:
        in_channels, out_channels: features.
        kernel: size in rows, columns and frames, odd.
        regularization, parameters: kind and numbers of the regularisation, see
            :func:`~common.networks.regularization.feature_regularization`.
        transposed: instead doubles height and width, each frame alone, by a transposed convolution with this kernel
            and stride.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Kernel,
        regularization: str = "none",
        parameters: Sequence[float] = (),
        transposed: bool = False,
    ) -> None:
        super().__init__()
        self.convolution: nn.Conv3d | nn.ConvTranspose3d
        if transposed:
            self.convolution = nn.ConvTranspose3d(in_channels, out_channels, kernel, stride=kernel)
            std = (2.0 / in_channels) ** 0.5  # each place is reached by one weight of each channel
        else:
            padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
            self.convolution = nn.Conv3d(in_channels, out_channels, kernel, padding=padding)
            std = (2.0 / (in_channels * kernel[0] * kernel[1] * kernel[2])) ** 0.5
        nn.init.normal_(self.convolution.weight, std=std)
        if self.convolution.bias is not None:
            nn.init.zeros_(self.convolution.bias)
        self.regularization = feature_regularization(regularization, parameters, out_channels, kernel)

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, in_channels, height, width, frames)`` to ``(batch, out_channels, height, width, frames)``."""
        return self.regularization(torch.relu(self.convolution(features)))


class SeriesBlock(nn.Module):
    """The two convolutions of a level.

    Args:
        network: one of ``KERNELS``.
        in_channels, out_channels: features before and after.
        regularization, parameters: kind and numbers of the regularisation after each convolution.
    """

    def __init__(
        self, network: str, in_channels: int, out_channels: int, regularization: str, parameters: Sequence[float]
    ) -> None:
        super().__init__()
        first, second = KERNELS[network]
        self.first = SeriesConvolution(in_channels, out_channels, first, regularization, parameters)
        self.second = SeriesConvolution(out_channels, out_channels, second, regularization, parameters)

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, in_channels, height, width, frames)`` to ``(batch, out_channels, height, width, frames)``."""
        return self.second(self.first(features))
