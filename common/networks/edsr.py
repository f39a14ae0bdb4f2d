"""The generator for micro-CT of rock: a residual network without batch norm, in 2-D and 3-D.

Wang, Armstrong, Mostaghimi: Boosting Resolution and Recovering Texture of 2D and 3D Micro-CT Images with Deep
Learning. Water Resources Research 56, 2020, doi 10.1029/2019WR026052, arXiv 1907.07131; the plan is that of EDSR (Lim
et al. 2017, arXiv 1707.02921).
"""

from common.networks.sr_blocks import Residual, convolution
from common.networks.super_resolution import SrGenerator
from common.networks.upsampling import upsampling
from torch import nn


def residual_block(width: int, spatial_dims: int) -> Residual:
    """``x + conv(prelu(conv(x)))``, 3x3."""
    return Residual(
        nn.Sequential(convolution(spatial_dims, width, width, act="PRELU"), convolution(spatial_dims, width, width))
    )


class EdsrGenerator(SrGenerator):
    """Convolution, residual blocks and a convolution in a long skip, shuffles with PReLU, a head.

    Differs from the paper: the head is the 1x1 convolution of a public reproduction of its 2-D part, shuffles start as
    nearest-neighbour enlargement. One block, upscale 4: 406,916 parameters, halo 6 (16 blocks: 1,514,771, halo 36).

    Args:
        upscale: 2, 4 or 8.
        channels: image channels.
        spatial_dims: 2 or 3; 3-D shuffles sub-voxels.
        n_blocks: residual blocks.
        width: feature maps.
        head_kernel: kernel of the last convolution; 1, or odd.
        upsampling_kind: kind of the enlarging layers, see :func:`~common.networks.upsampling.doubling`.
    """

    def __init__(
        self,
        upscale: int = 4,
        channels: int = 1,
        spatial_dims: int = 2,
        n_blocks: int = 16,
        width: int = 64,
        head_kernel: int = 1,
        upsampling_kind: str = "shuffle",
    ) -> None:
        if head_kernel < 1 or head_kernel % 2 == 0:
            raise ValueError(f"head_kernel must be odd, so that the image keeps its size, got {head_kernel}")
        enlarge = upsampling(upsampling_kind, upscale, width, spatial_dims)
        blocks = (residual_block(width, spatial_dims) for _ in range(n_blocks))
        super().__init__(
            head=convolution(spatial_dims, channels, width),
            trunk=Residual(nn.Sequential(*blocks, convolution(spatial_dims, width, width))),
            upsampling=enlarge,
            tail=convolution(spatial_dims, width, channels, kernel_size=head_kernel),
            upscale=upscale,
            channels=channels,
            spatial_dims=spatial_dims,
        )
