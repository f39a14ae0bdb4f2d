"""A conditional patch discriminator."""

import torch
from common.networks.blocks import init_gan_weights
from torch import Tensor, nn


class ConditionalPatchDiscriminator(nn.Module):
    """Scores of patches of an image beside what it was made from (pix2pix, Isola et al. 2017, arXiv 1611.07004).

    4x4 convolutions of 64, 128, 256 and 512 channels, the first three of stride 2, reflected borders, batch norm but in
    the first, LeakyReLU(0.2), and one more to the scores. Their mean is the score of the image. At ``width`` 64:
    2,764,609 parameters.

    Args:
        in_channels: number of channels of image and condition together.
        width: channels of the first convolution.
    """

    def __init__(self, in_channels: int = 2, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1, padding_mode="reflect"),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for channels, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, stride, padding=1, padding_mode="reflect", bias=False),
                nn.BatchNorm2d(2 * channels),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers.append(nn.Conv2d(8 * width, 1, 4, padding=1, padding_mode="reflect"))
        self.layers = nn.Sequential(*layers)
        init_gan_weights(self)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Image and condition, ``(batch, channels, height, width)``, to scores ``(batch, 1, ~height / 8, ~width / 8)``.

        Without a condition the image holds both.
        """
        return self.layers(image if condition is None else torch.cat((image, condition), dim=1))
