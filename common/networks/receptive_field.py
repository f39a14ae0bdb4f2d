"""How far the pixels of a super-resolved image look."""

from common.networks.upsampling import PixelShuffle
from torch import nn

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (*_CONVOLUTIONS, *_TRANSPOSED, PixelShuffle, nn.Upsample)


def receptive_halo(network: nn.Module) -> int:
    """Low-resolution pixels that an output pixel sees beyond the one it lies in, to each side.

    A tile that reaches this far beyond the wanted part, or to the edge of the image, gives that part as the whole
    image would. Batch norm must be in evaluation mode: in training it looks at everything.

    Args:
        network: enlarges images; its layers are registered in the order in which they run, and all lie on one
            longest path, as in networks of residual and dense blocks (shortcuts do not look further). Convolutions
            have stride 1; kernels are alike in all axes.
    """
    layers = [module for module in network.modules() if isinstance(module, _LAYERS)]
    upscale = 1
    for layer in layers:
        upscale *= _factor(layer)
    halo = 0
    for pixel in range(upscale):  # the output pixels of one input pixel
        low = high = pixel
        for layer in reversed(layers):
            low, high = _seen(layer, low, high)
        halo = max(halo, -low, high)
    return halo


def _factor(layer: nn.Module) -> int:
    if isinstance(layer, _TRANSPOSED):
        return int(layer.stride[0])
    if isinstance(layer, nn.Upsample):
        return int(layer.scale_factor)  # type: ignore[arg-type]
    return 2 if isinstance(layer, PixelShuffle) else 1


def _seen(layer: nn.Module, low: int, high: int) -> tuple[int, int]:
    """First and last input pixel on which output pixels ``low`` to ``high`` depend, along one axis."""
    if isinstance(layer, _CONVOLUTIONS):
        padding = int(layer.padding[0])
        return low - padding, high - padding + layer.dilation[0] * (layer.kernel_size[0] - 1)
    factor = _factor(layer)
    if isinstance(layer, _TRANSPOSED):  # input i reaches the outputs factor * i - padding + (0 ... kernel - 1)
        padding = int(layer.padding[0])
        return -((layer.kernel_size[0] - 1 - padding - low) // factor), (high + padding) // factor
    return low // factor, high // factor
