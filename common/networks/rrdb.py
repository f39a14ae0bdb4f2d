"""The generator of SRGAN-D: residual-in-residual dense blocks.

Wang et al.: ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks. ECCV Workshops 2018, arXiv 1809.00219.
"""

import torch
from common.networks.sr_blocks import Residual, convolution, leaky_relu
from common.networks.super_resolution import SrGenerator
from common.networks.upsampling import upsampling
from torch import Tensor, nn


class DenseLayers(nn.Module):
    """Five 3x3 convolutions, each of the first four seeing the input and all before it; no activation at the end.

    Args:
        width: feature maps in and out.
        growth: feature maps of each of the first four, LeakyReLU(0.2).
        spatial_dims: 2 or 3.
    """

    def __init__(self, width: int, growth: int, spatial_dims: int) -> None:
        super().__init__()
        self.growing = nn.ModuleList(
            convolution(spatial_dims, width + n * growth, growth, act=leaky_relu(0.2)) for n in range(4)
        )
        self.fusing = convolution(spatial_dims, width + 4 * growth, width)

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, width, *spatial)`` to the same."""
        for layer in self.growing:
            features = torch.cat((features, layer(features)), dim=1)
        return self.fusing(features)


def rrdb(width: int, growth: int, spatial_dims: int) -> Residual:
    """Residual-in-residual dense block: ``x + 0.2 d3(d2(d1(x)))``, each ``d(x) = x + 0.2 dense(x)``, as in ESRGAN."""
    dense = (Residual(DenseLayers(width, growth, spatial_dims), scale=0.2) for _ in range(3))
    return Residual(nn.Sequential(*dense), scale=0.2)


class UnitTanh(nn.Module):
    """``(tanh(x) + 1) / 2``: the tanh head of a network whose images lie in [-1, 1], given in [0, 1]."""

    def forward(self, image: Tensor) -> Tensor:
        """Any shape."""
        return 0.5 * torch.tanh(image) + 0.5


class RrdbGenerator(SrGenerator):
    """Convolution, residual-in-residual dense blocks and a convolution in a long skip, shuffles, two convolutions.

    Differs from ESRGAN, as SRGAN-D does: growth 64 for 32, one block for 23, the long skip's residual times
    0.2, PReLU (one slope a feature map) after sub-pixel shuffles for LeakyReLU after nearest-neighbour
    enlargement, LeakyReLU(0.4) before the head, tanh. Differs from SRGAN-D: grey images are one channel, the output
    is mapped to [0, 1], shuffles start as nearest-neighbour enlargement, and 3-D.

    One block at width 64, growth 64, upscale 4: 2,030,465 parameters; each further block 1,659,840. The halo is
    19 pixels with one block at upscale 4, and each further block adds 15.

    Args:
        upscale: 2, 4 or 8.
        channels: image channels.
        spatial_dims: 2 or 3.
        n_blocks: residual-in-residual dense blocks.
        width: feature maps.
        growth: feature maps that a dense block's convolution adds.
        bounded: the tanh head, output within [0, 1]. ``False``: a linear head, output of any value.
    """

    def __init__(
        self,
        upscale: int = 4,
        channels: int = 1,
        spatial_dims: int = 2,
        n_blocks: int = 1,
        width: int = 64,
        growth: int = 64,
        bounded: bool = True,
    ) -> None:
        enlarge = upsampling(upscale, width, spatial_dims, slopes=width)
        blocks = (rrdb(width, growth, spatial_dims) for _ in range(n_blocks))
        super().__init__(
            head=convolution(spatial_dims, channels, width, act=leaky_relu(0.2)),
            trunk=Residual(nn.Sequential(*blocks, convolution(spatial_dims, width, width)), scale=0.2),
            upsampling=enlarge,
            tail=nn.Sequential(
                convolution(spatial_dims, width, width, act=leaky_relu(0.4)), convolution(spatial_dims, width, channels)
            ),
            output=UnitTanh() if bounded else None,
            upscale=upscale,
            channels=channels,
            spatial_dims=spatial_dims,
        )
