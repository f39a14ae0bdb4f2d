"""A small U-Net without normalisation on space-to-depth blocks of pixels, for images and for series of frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

Kernel = tuple[int, ...]

IMAGE_KERNELS: tuple[Kernel, Kernel] = ((3, 3), (3, 3))
SERIES_KERNELS: tuple[Kernel, Kernel] = ((1, 3, 3), (3, 1, 3))
"""Rows, columns and frames of the two convolutions of a block: the factors of UNet2D2D (Hauptmann et al. 2019)."""


def space_to_depth(image: Tensor, factor: int) -> Tensor:
    """Move blocks of ``factor x factor`` pixels into channels, ordered as by ``torch.nn.functional.pixel_unshuffle``.

    Args:
        image: ``(batch, channels, height, width[, frames])``, height and width multiples of ``factor``.
        factor: side of a block.

    Returns:
        ``(batch, channels * factor**2, height / factor, width / factor[, frames])``.
    """
    if image.dim() == 4:
        return nn.functional.pixel_unshuffle(image, factor)
    batch, channels, height, width, n_frames = image.shape
    blocks = image.reshape(batch, channels, height // factor, factor, width // factor, factor, n_frames)
    blocks = blocks.permute(0, 1, 3, 5, 2, 4, 6)
    return blocks.reshape(batch, channels * factor * factor, height // factor, width // factor, n_frames)


def depth_to_space(features: Tensor, factor: int) -> Tensor:
    """Move channels back into blocks of pixels; inverse of :func:`space_to_depth`."""
    if features.dim() == 4:
        return nn.functional.pixel_shuffle(features, factor)
    batch, channels, height, width, n_frames = features.shape
    out_channels = channels // (factor * factor)
    blocks = features.reshape(batch, out_channels, factor, factor, height, width, n_frames)
    blocks = blocks.permute(0, 1, 4, 2, 5, 3, 6)
    return blocks.reshape(batch, out_channels, height * factor, width * factor, n_frames)


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(x) + bias))``.

    The bias of each channel is an affine function of the conditions, zero at the start. The second convolution starts
    small (standard deviation ``0.1 / sqrt(fan in)``), so that a new block is close to the identity.

    Args:
        channels: number of channels of the features.
        kernels: sizes of the two convolutions, odd.
        n_conditions: length of the condition vectors; 0 for none.
    """

    def __init__(self, channels: int, kernels: tuple[Kernel, Kernel], n_conditions: int = 0) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, kernels[0])
        self.second = _convolution(channels, channels, kernels[1])
        fan_in = self.second.weight[0].numel()
        nn.init.normal_(self.second.weight, std=0.1 / fan_in**0.5)
        _zero(self.second.bias)
        self.conditioned = n_conditions > 0
        self.condition = nn.Linear(max(n_conditions, 1), channels if self.conditioned else 1, bias=False)
        self.condition.requires_grad_(self.conditioned)
        nn.init.zeros_(self.condition.weight)

    def forward(self, features: Tensor, conditions: Tensor) -> Tensor:
        """Add the block's correction to ``(batch, channels, height, width[, frames])``.

        ``conditions`` are ``(batch, n_conditions)``, ignored without conditions.
        """
        hidden = self.first(features)
        if self.conditioned:
            bias = self.condition(conditions).to(hidden.dtype)[:, :, None, None]
            hidden = hidden + (bias if hidden.dim() == 4 else bias[..., None])
        return features + self.second(torch.relu(hidden))


class LightUNet(nn.Module):
    """Image to features at full resolution: a U-Net of one residual block a level and side.

    Pixels go into channels in blocks of ``shuffle x shuffle``; strided ``2 x 2`` convolutions go down, transposed ones
    up, skips are added. There is no normalisation. Time is never pooled.

    Args:
        in_channels: number of channels of the image.
        out_channels: number of channels of the result; the convolution that makes it starts near zero (standard
            deviation 0.002).
        widths: channels of the levels, the finest first.
        shuffle: side of the blocks of pixels; 1 works at full resolution.
        memory: features handed on from one U-Net of a cascade to the next, at the resolution of the first level.
        n_conditions: length of the condition vectors, see :class:`ResidualBlock`.
        series: True for series of frames, ``(batch, channels, height, width, frames)``.

    Raises:
        ValueError: if ``widths`` is empty.
    """

    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int = 2,
        widths: Sequence[int] = (24, 48, 72),
        shuffle: int = 2,
        memory: int = 0,
        n_conditions: int = 0,
        series: bool = False,
    ) -> None:
        super().__init__()
        if not widths:
            raise ValueError("expected widths of at least one level, got none; for instance (24, 48, 72)")
        kernels = SERIES_KERNELS if series else IMAGE_KERNELS
        whole: Kernel = (3, 3, 3) if series else (3, 3)
        self.shuffle = shuffle
        self.n_image_channels = out_channels * shuffle * shuffle
        self.multiple = shuffle * 2 ** (len(widths) - 1)
        self.head = _convolution(in_channels * shuffle * shuffle + memory, widths[0], whole)
        self.encoders = nn.ModuleList(ResidualBlock(width, kernels, n_conditions) for width in widths[:-1])
        self.downs = nn.ModuleList(_resampling(a, b, series) for a, b in pairwise(widths))
        self.bottom = ResidualBlock(widths[-1], kernels, n_conditions)
        coarse_first = list(reversed(widths))
        self.ups = nn.ModuleList(_resampling(a, b, series, transposed=True) for a, b in pairwise(coarse_first))
        self.decoders = nn.ModuleList(ResidualBlock(width, kernels, n_conditions) for width in coarse_first[1:])
        self.tail = _convolution(widths[0], self.n_image_channels + memory, whole)
        nn.init.normal_(self.tail.weight, std=0.002)
        _zero(self.tail.bias)

    def forward(self, image: Tensor, memory: Tensor | None, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Compute a correction.

        Args:
            image: ``(batch, in_channels, height, width[, frames])``, height and width multiples of ``multiple``.
            memory: ``(batch, memory, height / shuffle, width / shuffle[, frames])``, of the U-Net before;
                ``None`` in a U-Net without memory.
            conditions: ``(batch, n_conditions)``.

        Returns:
            the correction ``(batch, out_channels, height, width[, frames])``, and the memory for the next U-Net.
        """
        skips: list[Tensor] = []
        features = self.entrance(image, memory)
        for encoder, down in zip(self.encoders, self.downs):  # noqa: B905  TorchScript knows no strict
            features = encoder(features, conditions)
            skips.append(features)
            features = down(features)
        features = self.bottom(features, conditions)
        for up, decoder in zip(self.ups, self.decoders):  # noqa: B905
            features = decoder(up(features) + skips.pop(), conditions)
        return self.exit(features)

    def entrance(self, image: Tensor, memory: Tensor | None) -> Tensor:
        """Return the features of the first level."""
        blocks = space_to_depth(image.contiguous(), self.shuffle)  # the weights' memory format decides, not the image's
        return self.head(blocks if memory is None else torch.cat((blocks, memory), dim=1))

    def exit(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the correction and the memory, of the last features of the first level."""
        result = self.tail(features)
        correction = depth_to_space(result[:, : self.n_image_channels], self.shuffle)
        return correction, result[:, self.n_image_channels :]


def _convolution(in_channels: int, out_channels: int, kernel: Kernel) -> nn.Conv2d | nn.Conv3d:
    """A convolution that keeps the size, zero outside, He initialisation."""
    kind = nn.Conv2d if len(kernel) == 2 else nn.Conv3d
    layer = kind(in_channels, out_channels, kernel, padding=tuple(size // 2 for size in kernel))  # type: ignore[arg-type]
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    _zero(layer.bias)
    return layer


def _resampling(in_channels: int, out_channels: int, series: bool, transposed: bool = False) -> nn.Module:
    """A convolution of ``2 x 2`` pixels that halves height and width, or, transposed, doubles them."""
    kernel: Kernel = (2, 2, 1) if series else (2, 2)
    if transposed:
        kind: type[nn.Module] = nn.ConvTranspose3d if series else nn.ConvTranspose2d
    else:
        kind = nn.Conv3d if series else nn.Conv2d
    layer = kind(in_channels, out_channels, kernel, stride=kernel)
    fan_in = in_channels if transposed else 4 * in_channels  # a doubled pixel sees one weight of each channel
    nn.init.normal_(layer.weight, std=fan_in**-0.5)  # type: ignore[arg-type]
    _zero(layer.bias)  # type: ignore[arg-type]
    return layer


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)
