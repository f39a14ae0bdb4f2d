"""Learned enlargement of feature maps by sub-pixel shuffles."""

from common.networks.sr_blocks import check_spatial_dims
from monai.networks.layers import Conv
from monai.networks.utils import icnr_init, pixelshuffle
from torch import Tensor, nn

UPSCALES = (2, 4, 8)


class PixelShuffle(nn.Module):
    """Groups of channels become sub-pixels (sub-voxels): ``(batch, c * f**d, ...)`` to ``(batch, c, f * ...)``.

    ``torch.nn.PixelShuffle`` for 3-D too (Shi et al. 2016, arXiv 1609.05158). MONAI's ``SubpixelUpsample`` has
    the same numbers when its averaging is off.

    Args:
        spatial_dims: 2 or 3, ``d``.
        factor: ratio of the sizes along each axis, ``f``.
    """

    def __init__(self, spatial_dims: int, factor: int = 2) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.factor = factor

    def forward(self, features: Tensor) -> Tensor:
        """Enlarge ``factor`` times in every spatial axis."""
        return pixelshuffle(features, self.spatial_dims, self.factor)


def shuffled_convolution(in_channels: int, out_channels: int, factor: int, spatial_dims: int) -> nn.Sequential:
    """Enlarge by one 3x3 convolution and one :class:`PixelShuffle`.

    Starts as nearest-neighbour enlargement of a convolution, hence without a checkerboard (ICNR: Aitken et al. 2017,
    arXiv 1707.02937), with biases 0.

    Args:
        in_channels: number of feature maps.
        out_channels: number of enlarged feature maps.
        factor: ratio of the sizes along each axis, one of ``UPSCALES``.
        spatial_dims: 2 or 3.

    Raises:
        ValueError: for any other enlargement or number of axes.
    """
    _check_upscale(factor)
    check_spatial_dims(spatial_dims)
    wide = Conv[Conv.CONV, spatial_dims](in_channels, factor**spatial_dims * out_channels, kernel_size=3, padding=1)
    icnr_init(wide, factor)
    nn.init.zeros_(wide.bias)
    return nn.Sequential(wide, PixelShuffle(spatial_dims, factor))


def upsampling(upscale: int, width: int, spatial_dims: int, *, slopes: int = 1) -> nn.Sequential:
    """Enlarge feature maps ``upscale`` times: :func:`shuffled_convolution` and PReLU for each doubling.

    Args:
        upscale: one of ``UPSCALES``.
        width: number of feature maps.
        spatial_dims: 2 or 3.
        slopes: number of slopes of a PReLU: 1, or ``width`` for one of each feature map.

    Raises:
        ValueError: for any other enlargement or number of axes.
    """
    _check_upscale(upscale)
    steps: list[nn.Module] = []
    for _ in range(upscale.bit_length() - 1):
        steps += [shuffled_convolution(width, width, 2, spatial_dims), nn.PReLU(slopes)]
    return nn.Sequential(*steps)


def _check_upscale(upscale: int) -> None:
    if upscale not in UPSCALES:
        raise ValueError(f"upscale must be one of {', '.join(map(str, UPSCALES))}, got {upscale!r}")
