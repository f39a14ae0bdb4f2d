"""The generator of SRGAN: a residual network with batch norm.

Ledig et al.: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network. CVPR 2017,
arXiv 1609.04802.
"""

from common.networks.sr_blocks import Residual, convolution
from common.networks.super_resolution import SrGenerator
from common.networks.upsampling import upsampling
from torch import nn


def residual_block(width: int, spatial_dims: int) -> Residual:
    """``x + norm(conv(prelu(norm(conv(x)))))``, 3x3."""
    return Residual(
        nn.Sequential(
            convolution(spatial_dims, width, width, norm="BATCH", act="PRELU"),
            convolution(spatial_dims, width, width, norm="BATCH"),
        )
    )


class SrResNetGenerator(SrGenerator):
    """9x9 convolution, residual blocks and a convolution in a long skip, sub-pixel shuffles, 9x9 convolution.

    The paper leaves open what a PReLU's slopes are: here one a layer. Shuffles start as nearest-neighbour
    enlargement. 3-D is not in the paper. 16 blocks, upscale 4, one channel: 1,528,724 parameters, halo 40.

    Args:
        upscale: 2, 4 or 8.
        channels: image channels.
        spatial_dims: 2 or 3.
        n_blocks: residual blocks.
        width: feature maps.
        upsampling_kind: kind of the enlarging layers, see :func:`~common.networks.upsampling.doubling`.
    """

    def __init__(
        self,
        upscale: int = 4,
        channels: int = 1,
        spatial_dims: int = 2,
        n_blocks: int = 16,
        width: int = 64,
        upsampling_kind: str = "shuffle",
    ) -> None:
        enlarge = upsampling(upsampling_kind, upscale, width, spatial_dims)
        blocks = (residual_block(width, spatial_dims) for _ in range(n_blocks))
        super().__init__(
            head=convolution(spatial_dims, channels, width, kernel_size=9, act="PRELU"),
            trunk=Residual(nn.Sequential(*blocks, convolution(spatial_dims, width, width, norm="BATCH"))),
            upsampling=enlarge,
            tail=convolution(spatial_dims, width, channels, kernel_size=9),
            upscale=upscale,
            channels=channels,
            spatial_dims=spatial_dims,
        )
