"""Building blocks of super-resolution networks, in 2-D and 3-D."""

from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn


def convolution(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    bias: bool = True,
    norm: str | None = None,
    act: str | tuple[str, dict[str, Any]] | None = None,
    transposed: bool = False,
) -> Convolution:
    """A convolution, then norm, then activation where given; keeps the size unless ``padding`` says otherwise."""
    return Convolution(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=kernel_size,
        strides=stride,
        padding=padding,
        groups=groups,
        bias=bias,
        adn_ordering="NA",
        norm=norm,
        act=act,
        is_transposed=transposed,
    )


def leaky_relu(negative_slope: float) -> tuple[str, dict[str, Any]]:
    """The activation of a slope, for :func:`convolution`."""
    return "LEAKYRELU", {"negative_slope": negative_slope, "inplace": True}


class Residual(nn.Module):
    """``x + scale * body(x)``."""

    def __init__(self, body: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.body = body
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """Features of any shape that ``body`` keeps, to the same."""
        return torch.add(features, self.body(features), alpha=self.scale)


def check_spatial_dims(spatial_dims: int) -> None:
    """Refuse anything but images and volumes.

    Raises:
        ValueError: if ``spatial_dims`` is neither 2 nor 3.
    """
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 (images) or 3 (volumes), got {spatial_dims!r}")


def check_image(image: Tensor, channels: int, spatial_dims: int) -> None:
    """Refuse what is no batch of images with this many channels and spatial axes (scriptable).

    Raises:
        ValueError: says the shape that is expected and the one that came.
    """
    if image.dim() != spatial_dims + 2 or image.shape[1] != channels:
        axes = "height, width" if spatial_dims == 2 else "height, width, depth"
        raise ValueError(
            f"expected a batch of images (batch, {channels}, {axes}), got shape {list(image.shape)}; convert the "
            "images, or build the network with their channels and spatial_dims"
        )
