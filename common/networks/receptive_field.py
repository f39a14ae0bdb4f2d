"""How far the pixels of a super-resolved image look."""

import math

from common.networks.upsampling import PixelShuffle
from torch import nn

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def receptive_halo(network: nn.Module) -> int:
    """Low-resolution pixels that an output pixel sees beyond the one it lies in, to each side.

    A tile that reaches this far beyond the wanted part, or to the edge of the image, gives that part as the whole
    image would. Batch norm must be in evaluation mode: in training it looks at everything.

    Args:
        network: enlarges images; its layers are registered in the order in which they run, and all lie on one
            longest path, as in networks of residual and dense blocks (shortcuts do not look further). It consists of
            convolutions of stride 1, with kernels alike in all axes, and of
            :class:`~common.networks.upsampling.PixelShuffle`.
    """
    layers = [module for module in network.modules() if isinstance(module, (*_CONVOLUTIONS, PixelShuffle))]
    upscale = math.prod(layer.factor for layer in layers if isinstance(layer, PixelShuffle))
    halo = 0
    for pixel in range(upscale):  # the output pixels of one input pixel
        low = high = pixel
        for layer in reversed(layers):
            if isinstance(layer, PixelShuffle):
                low, high = low // layer.factor, high // layer.factor
            else:
                low -= int(layer.padding[0])
                high += layer.dilation[0] * (layer.kernel_size[0] - 1) - int(layer.padding[0])
        halo = max(halo, -low, high)
    return halo
