"""RefineGAN: a cascade of two residual U-Nets with data consistency, and its patch critic.

Quan, Nguyen-Duc, Jeong: Compressed Sensing MRI Reconstruction Using a Generative Adversarial Network With a
Cyclic Loss. IEEE TMI 37(6), 2018, doi 10.1109/TMI.2018.2820120, arXiv 1709.00753.
"""

import torch
from common.networks.blocks import BottleneckResidual, conv_unit, crop_to_size, init_gan_weights, pad_to_multiple
from common.operators.data_consistency import HardDataConsistency
from common.operators.fourier import channels_to_complex, complex_to_channels, ifft2c
from common.operators.measurement import unpack_measurement
from common.operators.scaling import IntensityScaling
from torch import Tensor, nn


class EncoderBlock(nn.Sequential):
    """Halving convolution unit, bottleneck residual, convolution unit."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            conv_unit(in_channels, channels, stride=2), BottleneckResidual(channels), conv_unit(channels, channels)
        )


class DecoderBlock(nn.Sequential):
    """Transposed convolution unit, bottleneck residual, doubling transposed convolution unit."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            conv_unit(in_channels, channels, transposed=True),
            BottleneckResidual(channels),
            conv_unit(channels, channels, stride=2, transposed=True),
        )


class ResidualUNet(nn.Module):
    """One stage: ``x + tanh(head(decoder(encoder(x))))`` with additive skip connections.

    Args:
        width: channels of the first level, ``C``; the levels have C, 2C, 4C, 8C.
        channels: image channels.
    """

    def __init__(self, width: int = 64, channels: int = 2) -> None:
        super().__init__()
        self.encoder1 = EncoderBlock(channels, width)
        self.encoder2 = EncoderBlock(width, 2 * width)
        self.encoder3 = EncoderBlock(2 * width, 4 * width)
        self.encoder4 = EncoderBlock(4 * width, 8 * width)
        self.decoder4 = DecoderBlock(8 * width, 4 * width)
        self.decoder3 = DecoderBlock(4 * width, 2 * width)
        self.decoder2 = DecoderBlock(2 * width, width)
        self.decoder1 = DecoderBlock(width, width)
        self.head = nn.Conv2d(width, channels, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to the same; any size, padded to multiples of 16 inside."""
        height, width = image.shape[-2], image.shape[-1]
        # contiguous: complex numbers as channels lie channels last, whatever the weights do
        level1 = self.encoder1(pad_to_multiple(image, 16).contiguous())
        level2 = self.encoder2(level1)
        level3 = self.encoder3(level2)
        features = self.decoder4(self.encoder4(level3))
        features = self.decoder3(features + level3)
        features = self.decoder2(features + level2)
        features = self.decoder1(features + level1)
        correction = crop_to_size(torch.tanh(self.head(features)), height, width)
        return image + correction.to(image.dtype)


class RefineGanGenerator(nn.Module):
    """Measurement in, reconstruction out: zero-fill, then U-Net and data consistency, twice.

    ``x_u = F^H y``, ``s' = g0(x_u)``, ``s = DC(s')``, ``t' = g1(s)``, ``t = DC(t')``. Fourier transforms, data
    consistency and the intensity scaling are inside. Differs from the paper: sizes that are not multiples
    of 16 are padded; batch-norm scales start at normal(1, 0.02), where the public re-implementation draws
    them from U(-0.05, 0.05).

    Args:
        width: channels of the first level; 64 in the paper: 29,964,676 parameters (32: 7,498,948).
        scaling: intensity scaling of the input, see :class:`~common.operators.scaling.IntensityScaling`.
    """

    def __init__(self, width: int = 64, scaling: str = "shifted") -> None:
        super().__init__()
        self.scaling = IntensityScaling(scaling)
        self.data_consistency = HardDataConsistency()
        self.stage1 = ResidualUNet(width)
        self.stage2 = ResidualUNet(width)
        init_gan_weights(self)

    def forward(self, measurement: Tensor) -> Tensor:
        """Reconstruct.

        Args:
            measurement: float, ``(batch, 3, height, width)``: real k-space, imaginary k-space, mask (0/1), in
                the unit of an orthonormal transform of the image.

        Returns:
            float ``(batch, 2, height, width)``: real and imaginary image, in the image unit of the input.
        """
        return self.stages(measurement)[3]

    @torch.jit.export
    def stages(self, measurement: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four images training looks at, each as the result of ``forward``.

        Returns:
            ``s'`` (first U-Net), ``s`` (made consistent), ``t'`` (second U-Net), ``t`` (made consistent: the result).
        """
        masked_kspace, mask = unpack_measurement(measurement)
        zero_filled = complex_to_channels(ifft2c(masked_kspace))
        factor = self.scaling.factor(zero_filled)
        raw1 = self.scaling.restore(self.stage1(self.scaling.normalise(zero_filled, factor)), factor)
        consistent1 = self._consistent(raw1, masked_kspace, mask)
        raw2 = self.scaling.restore(self.stage2(self.scaling.normalise(consistent1, factor)), factor)
        return raw1, consistent1, raw2, self._consistent(raw2, masked_kspace, mask)

    def _consistent(self, channels: Tensor, masked_kspace: Tensor, mask: Tensor) -> Tensor:
        return complex_to_channels(self.data_consistency(channels_to_complex(channels), masked_kspace, mask))


class RefineGanDiscriminator(nn.Module):
    """The encoder of the U-Net and a 4x4 convolution to a patch map of scores.

    Args:
        width: channels of the first level; 64: 10,966,593 parameters (32: 2,746,145).
        channels: image channels.
    """

    def __init__(self, width: int = 64, channels: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            EncoderBlock(channels, width),
            EncoderBlock(width, 2 * width),
            EncoderBlock(2 * width, 4 * width),
            EncoderBlock(4 * width, 8 * width),
        )
        self.head = nn.Conv2d(8 * width, 1, kernel_size=4, padding=2)
        init_gan_weights(self)

    def forward(self, image: Tensor) -> Tensor:
        """Image in network units, ``(batch, 2, height, width)``, to scores ``(batch, 1, ~height/16, ~width/16)``."""
        return self.head(self.encoder(image))
