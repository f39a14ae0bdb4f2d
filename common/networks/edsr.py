"""Residual generators: with batch norm, of SRGAN, and without it, for micro-CT of rock, in 2-D and 3-D.

Ledig et al.: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network. CVPR 2017,
arXiv 1609.04802. Wang, Armstrong, Mostaghimi: Boosting Resolution and Recovering Texture of 2D and 3D Micro-CT Images
with Deep Learning. Water Resources Research 56, 2020, doi 10.1029/2019WR026052, arXiv 1907.07131; its plan is that of
EDSR (Lim et al. 2017, arXiv 1707.02921).
"""

from typing import Any

from common.networks.sr_blocks import Residual, convolution
from common.networks.super_resolution import SrGenerator
from common.networks.upsampling import shuffled_convolution, upsampling
from torch import nn


class EdsrGenerator(SrGenerator):
    """Convolution, residual blocks and a convolution in a long skip, shuffles with PReLU, a head.

    Differs from the paper: the head is the 1x1 convolution of a public reproduction of its 2-D part, shuffles start as
    nearest-neighbour enlargement. One block, upscale 4: 406,916 parameters, halo 6 (16 blocks: 1,514,771, halo 36).

    With ``direct`` one convolution and one shuffle make the image, as in ESPCN (Shi et al. 2016, arXiv 1609.05158): no
    layer works at high resolution, where a 3-D generator spends most of its time and memory.

    Args:
        upscale: 2, 4 or 8.
        channels: image channels.
        spatial_dims: 2 or 3; 3-D shuffles sub-voxels.
        n_blocks: residual blocks, ``x + conv(prelu(conv(x)))``, 3x3.
        width: feature maps.
        direct: True for one shuffle to the image, False for a shuffle of feature maps for each doubling and a head.
    """

    _norm: str | None = None
    _first: dict[str, Any] = {}  # noqa: RUF012  # options of the first convolution
    _last_kernel = 1

    def __init__(
        self,
        upscale: int = 4,
        channels: int = 1,
        spatial_dims: int = 2,
        n_blocks: int = 16,
        width: int = 64,
        direct: bool = False,
    ) -> None:
        def unit(act: str | None = None) -> nn.Module:
            return convolution(spatial_dims, width, width, norm=self._norm, act=act)

        enlarge: nn.Module
        tail: nn.Module
        if direct:
            enlarge, tail = shuffled_convolution(width, channels, upscale, spatial_dims), nn.Identity()
        else:
            enlarge = upsampling(upscale, width, spatial_dims)
            tail = convolution(spatial_dims, width, channels, kernel_size=self._last_kernel)
        blocks = (Residual(nn.Sequential(unit("PRELU"), unit())) for _ in range(n_blocks))
        super().__init__(
            head=convolution(spatial_dims, channels, width, **self._first),
            trunk=Residual(nn.Sequential(*blocks, unit())),
            upsampling=enlarge,
            tail=tail,
            upscale=upscale,
            channels=channels,
            spatial_dims=spatial_dims,
        )
        self.direct = direct


class SrResNetGenerator(EdsrGenerator):
    """SRGAN's generator: as :class:`EdsrGenerator`, with batch norm, and 9x9 convolutions first and last.

    The paper leaves open what a PReLU's slopes are: here one a layer. Shuffles start as nearest-neighbour
    enlargement. 3-D is not in the paper. 16 blocks, upscale 4, one channel: 1,528,724 parameters, halo 40.
    """

    _norm = "BATCH"
    _first = {"kernel_size": 9, "act": "PRELU"}  # noqa: RUF012
    _last_kernel = 9
