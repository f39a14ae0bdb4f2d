"""The network: image in, larger image out."""

from monai.networks.blocks import Convolution, ResidualUnit, SubpixelUpsample
from torch import Tensor, nn
from torch.nn.functional import interpolate


class SuperResolutionNetwork(nn.Module):
    """Bicubic enlargement plus a learnt correction, of MONAI's blocks: a start, to be replaced by the method's own.

    Args:
        upscale: ratio of output to input size, a whole number.
        width: channels of the features.
        n_blocks: number of residual units.
        channels: image channels.
    """

    def __init__(self, upscale: int = 2, width: int = 32, n_blocks: int = 4, channels: int = 1) -> None:
        super().__init__()
        self.upscale = upscale
        self.correction = nn.Sequential(
            Convolution(2, channels, width, norm=None),
            *(ResidualUnit(2, width, width, norm=None) for _ in range(n_blocks)),
            SubpixelUpsample(2, width, width, upscale, apply_pad_pool=False),
            Convolution(2, width, channels, conv_only=True),
        )

    def forward(self, image: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to the same, ``upscale`` times higher and wider, in its unit."""
        # antialias chooses Pillow's kernel (a = -0.5), that of the baseline; when enlarging nothing is filtered
        bicubic = interpolate(image, scale_factor=float(self.upscale), mode="bicubic", antialias=True)
        return bicubic + self.correction(image)
