"""The network: measurement in, image out."""

from common.networks import ResidualUNet
from common.networks.blocks import init_gan_weights
from common.operators import (
    HardDataConsistency,
    IntensityScaling,
    channels_to_complex,
    complex_to_channels,
    ifft2c,
    unpack_measurement,
)
from torch import Tensor, nn


class ReconstructionNetwork(nn.Module):
    """Zero-filling, a residual U-Net, data consistency: a start, to be replaced by the method's own.

    Args:
        width: channels of the U-Net's first level.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.scaling = IntensityScaling("peak")
        self.unet = ResidualUNet(width)
        self.data_consistency = HardDataConsistency()
        init_gan_weights(self)

    def forward(self, measurement: Tensor) -> Tensor:
        """Reconstruct.

        Args:
            measurement: float, ``(batch, 3, height, width)``: real k-space, imaginary k-space, mask (0/1).

        Returns:
            float ``(batch, 2, height, width)``: real and imaginary image, in the image unit of the input.
        """
        masked_kspace, mask = unpack_measurement(measurement)
        zero_filled = complex_to_channels(ifft2c(masked_kspace))
        factor = self.scaling.factor(zero_filled)
        image = self.scaling.restore(self.unet(self.scaling.normalise(zero_filled, factor)), factor)
        return complex_to_channels(self.data_consistency(channels_to_complex(image), masked_kspace, mask))
