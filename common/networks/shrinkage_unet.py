"""A U-Net whose skip connections are soft-thresholded, and into whose blocks textures can be injected.

After the blocks of Adaptive-CS-Network (Pezzotti et al. 2020, arXiv 2004.07339), where a learned shrinkage takes the
place of the proximal step of iterative soft-thresholding.
"""

import torch
from common.networks.attention import BottleneckAttention
from common.networks.blocks import crop_to_size, pad_to_multiple
from common.networks.injection import NoInjection, TextureInjection
from torch import Tensor, nn

LEVELS = 4


class SoftThreshold(nn.Module):
    """``sign(u) max(|u| - lambda, 0)`` with a learned ``lambda >= 0``; 0.5 becomes 0.3 at ``lambda`` = 0.2.

    Args:
        initial: ``lambda`` at the start.
    """

    def __init__(self, initial: float = 1.0) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(float(initial)))

    def forward(self, features: Tensor) -> Tensor:
        """Any shape to the same."""
        threshold = torch.relu(self.threshold)
        return features.sign() * torch.relu(features.abs() - threshold)


class ConvolutionPair(nn.Sequential):
    """Two 3x3 convolutions, each with batch norm and LeakyReLU(0.2)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(*_unit(in_channels, channels), *_unit(channels, channels))


def _unit(in_channels: int, channels: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(channels), nn.LeakyReLU(0.2, inplace=True)


class EncoderLevel(nn.Module):
    """Two convolutions and an injection; gives the thresholded skip and the halved features with twice the channels."""

    def __init__(self, channels: int, threshold: float, injection: nn.Module) -> None:
        super().__init__()
        self.convolutions = ConvolutionPair(channels, channels)
        self.injection = injection
        self.shrinkage = SoftThreshold(threshold)
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(channels, 2 * channels, 1))

    def forward(self, features: Tensor, noise: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, channels, height, width)`` to the same, and to ``(batch, 2 channels, height / 2, width / 2)``."""
        features = self.injection(self.convolutions(features), noise, style)
        return self.shrinkage(features), self.down(features)


class DecoderLevel(nn.Module):
    """Doubled features joined with a skip, two convolutions and an injection."""

    def __init__(self, channels: int, injection: nn.Module) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 3, stride=2, padding=1, output_padding=1)
        self.convolutions = ConvolutionPair(2 * channels, channels)
        self.injection = injection

    def forward(self, features: Tensor, skip: Tensor, noise: Tensor, style: Tensor) -> Tensor:
        """``(batch, 2 channels, height / 2, width / 2)`` and the skip to ``(batch, channels, height, width)``."""
        joined = torch.cat((self.up(features), skip), dim=1)
        return self.injection(self.convolutions(joined), noise, style)


class ShrinkageUNet(nn.Module):
    """Image to correction: four levels, skips through :class:`SoftThreshold`, any size (padded to multiples of 16).

    A 1x1 stem; at each level two convolutions; down by max-pooling and a 1x1 convolution that doubles the channels; up
    by a transposed 3x3 convolution; skips are concatenated. The correction is zero at the start.

    Args:
        in_channels: number of channels of the input.
        out_channels: number of channels of the correction.
        width: channels of the first level; the levels have 1, 2, 4, 8 and the bottom 16 times as many.
        threshold: start of the soft-thresholds, in units of features after batch norm.
        texture_channels: channels of the style maps that are injected after every block; 0 for none.
        injection: kind of the injected textures, see :class:`~common.networks.injection.TextureInjection`.
        attention: True adds self-attention to the bottom.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 2,
        width: int = 32,
        threshold: float = 1.0,
        texture_channels: int = 0,
        injection: str = "spatial",
        attention: bool = False,
    ) -> None:
        super().__init__()

        def injected(channels: int) -> nn.Module:
            return TextureInjection(channels, texture_channels, injection) if texture_channels else NoInjection()

        levels = [width * 2**level for level in range(LEVELS)]
        bottom = 2 * levels[-1]
        self.multiple = 2**LEVELS
        self.stem = nn.Conv2d(in_channels, width, 1)
        self.encoders = nn.ModuleList(EncoderLevel(c, threshold, injected(c)) for c in levels)
        self.bottom = ConvolutionPair(bottom, bottom)
        self.bottom_injection = injected(bottom)
        self.attention = BottleneckAttention(bottom) if attention else nn.Identity()
        self.decoders = nn.ModuleList(DecoderLevel(c, injected(c)) for c in reversed(levels))
        self.head = nn.Conv2d(width, out_channels, 1)
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor, noise: Tensor, style: Tensor) -> Tensor:
        """Compute the correction.

        Args:
            image: ``(batch, in_channels, height, width)``.
            noise: standard normal, ``(batch, 1, height, width)``; looked at where textures are injected.
            style: style maps, ``(batch, texture_channels, any height, any width)``; likewise.

        Returns:
            ``(batch, out_channels, height, width)``.
        """
        height, width = image.shape[-2], image.shape[-1]
        features = self.stem(pad_to_multiple(image, self.multiple))
        noise = pad_to_multiple(noise, self.multiple)
        noises: list[Tensor] = []
        skips: list[Tensor] = []
        for encoder in self.encoders:
            skip, features = encoder(features, noise, style)
            noises.append(noise)
            skips.append(skip)
            noise = noise[:, :, ::2, ::2]  # every other number of white noise is white noise
        features = self.attention(self.bottom_injection(self.bottom(features), noise, style))
        for decoder in self.decoders:
            features = decoder(features, skips.pop(), noises.pop(), style)
        return crop_to_size(self.head(features), height, width)
