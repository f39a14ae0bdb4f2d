"""Building blocks of convolutional encoder-decoders."""

import torch
from common.networks.sr_blocks import convolution, leaky_relu
from monai.networks.blocks import Convolution
from torch import Tensor, nn


def conv_unit(in_channels: int, out_channels: int, *, stride: int = 1, transposed: bool = False) -> Convolution:
    """3x3 convolution without bias, batch norm, LeakyReLU(0.2); stride 2 halves (or, transposed, doubles) the size."""
    act = leaky_relu(0.2)
    return convolution(
        2, in_channels, out_channels, stride=stride, bias=False, norm="BATCH", act=act, transposed=transposed
    )


class BottleneckResidual(nn.Module):
    """``x + f(x)``, ``f`` three 3x3 convolution units with ``c``, ``c / 2`` and ``c`` channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_unit(channels, channels), conv_unit(channels, channels // 2), conv_unit(channels // 2, channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to the same."""
        return features + self.body(features)


def init_gan_weights(network: nn.Module, norm_scale_std: float = 0.02) -> None:
    """Initialise as GANs of the DCGAN line do.

    Convolutions: normal(0, 0.02) cut at two standard deviations, biases 0. Batch norm: scale
    normal(1, ``norm_scale_std``), shift 0 (Radford et al. 2016, arXiv 1511.06434).
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.weight, 1.0, norm_scale_std)
            nn.init.zeros_(module.bias)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of ``multiple``."""
    height, width = image.shape[-2], image.shape[-1]
    return torch.nn.functional.pad(image, [0, -width % multiple, 0, -height % multiple], mode="replicate")


def crop_to_size(image: Tensor, height: int, width: int) -> Tensor:
    """The upper left part of an image; undoes :func:`pad_to_multiple`.

    A copy by index: a slice is a view whose strides tie a program of ``torch.export`` to padded or to unpadded sizes.
    """
    rows, columns = torch.arange(height, device=image.device), torch.arange(width, device=image.device)
    return image.index_select(-2, rows).index_select(-1, columns)
