"""Learned enlargement of feature maps by factors of two."""

from common.networks.sr_blocks import check_spatial_dims, convolution
from monai.networks.layers import Conv
from monai.networks.utils import icnr_init, pixelshuffle
from torch import Tensor, nn

UPSCALES = (2, 4, 8)
UPSAMPLINGS = ("shuffle", "resize", "transposed")


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


def doubling(kind: str, width: int, spatial_dims: int) -> nn.Sequential:
    """Layers that enlarge ``width`` feature maps twice; no activation.

    - ``shuffle``: 3x3 convolution to ``2**spatial_dims * width`` maps, then :class:`PixelShuffle`. Starts as
      nearest-neighbour enlargement of a convolution, hence without a checkerboard (ICNR: Aitken et al. 2017,
      arXiv 1707.02937), with biases 0.
    - ``resize``: nearest-neighbour enlargement, then a 3x3 convolution (Odena et al. 2016, doi 10.23915/distill.00003).
    - ``transposed``: transposed convolution with kernel 4, stride 2.
    """
    if kind == "shuffle":
        wide = Conv[Conv.CONV, spatial_dims](width, 2**spatial_dims * width, kernel_size=3, padding=1)
        icnr_init(wide, 2)
        nn.init.zeros_(wide.bias)
        return nn.Sequential(wide, PixelShuffle(spatial_dims))
    if kind == "resize":
        return nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), convolution(spatial_dims, width, width))
    if kind == "transposed":
        return nn.Sequential(Conv[Conv.CONVTRANS, spatial_dims](width, width, kernel_size=4, stride=2, padding=1))
    raise ValueError(f"upsampling must be one of {', '.join(UPSAMPLINGS)}, got {kind!r}")


def upsampling(kind: str, upscale: int, width: int, spatial_dims: int, *, slopes: int = 1) -> nn.Sequential:
    """Enlarge ``width`` feature maps ``upscale`` times: :func:`doubling` and PReLU for each factor of two.

    Args:
        kind: one of ``UPSAMPLINGS``.
        upscale: one of ``UPSCALES``.
        width: feature maps.
        spatial_dims: 2 or 3.
        slopes: slopes of a PReLU: 1, or ``width`` for one of each feature map.

    Raises:
        ValueError: for any other kind, enlargement or number of axes.
    """
    if upscale not in UPSCALES:
        raise ValueError(f"upscale must be one of {', '.join(map(str, UPSCALES))}, got {upscale!r}")
    check_spatial_dims(spatial_dims)
    steps: list[nn.Module] = []
    for _ in range(upscale.bit_length() - 1):
        steps += [doubling(kind, width, spatial_dims), nn.PReLU(slopes)]
    return nn.Sequential(*steps)
