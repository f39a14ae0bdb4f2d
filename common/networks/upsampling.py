"""Learned enlargement of feature maps by factors of two."""

from common.networks.sr_blocks import check_spatial_dims
from monai.networks.layers import Conv
from monai.networks.utils import icnr_init, pixelshuffle
from torch import Tensor, nn

UPSCALES = (2, 4, 8)


class PixelShuffle(nn.Module):
    """Groups of channels become sub-pixels (sub-voxels): ``(batch, c * 2**d, ...)`` to ``(batch, c, 2 * ...)``.

    ``torch.nn.PixelShuffle`` for 3-D too (Shi et al. 2016, arXiv 1609.05158). MONAI's ``SubpixelUpsample`` has
    the same numbers when its averaging is off.

    Args:
        spatial_dims: 2 or 3, ``d``.
    """

    def __init__(self, spatial_dims: int) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims

    def forward(self, features: Tensor) -> Tensor:
        """Twice as large in every spatial axis."""
        return pixelshuffle(features, self.spatial_dims, 2)


def upsampling(upscale: int, width: int, spatial_dims: int, *, slopes: int = 1) -> nn.Sequential:
    """Enlarge feature maps ``upscale`` times: a 3x3 convolution, :class:`PixelShuffle` and PReLU for each doubling.

    Starts as nearest-neighbour enlargement of a convolution, hence without a checkerboard (ICNR: Aitken et al. 2017,
    arXiv 1707.02937), with biases 0.

    Args:
        upscale: one of ``UPSCALES``.
        width: number of feature maps.
        spatial_dims: 2 or 3.
        slopes: number of slopes of a PReLU: 1, or ``width`` for one of each feature map.

    Raises:
        ValueError: for any other enlargement or number of axes.
    """
    if upscale not in UPSCALES:
        raise ValueError(f"upscale must be one of {', '.join(map(str, UPSCALES))}, got {upscale!r}")
    check_spatial_dims(spatial_dims)
    steps: list[nn.Module] = []
    for _ in range(upscale.bit_length() - 1):
        wide = Conv[Conv.CONV, spatial_dims](width, 2**spatial_dims * width, kernel_size=3, padding=1)
        icnr_init(wide, 2)
        nn.init.zeros_(wide.bias)
        steps += [nn.Sequential(wide, PixelShuffle(spatial_dims)), nn.PReLU(slopes)]
    return nn.Sequential(*steps)
