"""The plain U-Net on zero-filled images that reconstructions are commonly compared with."""

from common.networks.blocks import crop_to_size, pad_to_multiple
from common.operators.fourier import channels_to_complex, complex_to_channels
from common.operators.measurement import unpack_coils
from common.operators.scaling import peak_and_phase
from common.operators.sense import sense_adjoint
from monai.networks.nets import BasicUNet
from torch import Tensor, nn


class ImageUNet(nn.Module):
    """Zero-filled image to image by MONAI's ``BasicUNet``, without data consistency.

    The image-domain baseline of fastMRI (Zbontar et al. 2018, arXiv 1811.08839), as MONAI builds it, on complex images
    in two channels; the input is added to the output. Units and phase are normalised as in
    :class:`~common.networks.texture_gan.UnrolledUNets`. At ``width`` 32: 7,783,170 parameters.

    Args:
        width: channels of the first level; the levels have 1, 2, 4, 8 and 16 times as many.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=2,
            out_channels=2,
            features=(width, 2 * width, 4 * width, 8 * width, 16 * width, width),
            act=("LeakyReLU", {"negative_slope": 0.2, "inplace": True}),
            norm=("instance", {"affine": True}),
        )

    def forward(self, measurement: Tensor, noise: Tensor | None = None) -> Tensor:
        """Reconstruct; arguments and result as :class:`~common.networks.texture_gan.UnrolledUNets`."""
        masked_kspace, mask, sensitivity_maps = unpack_coils(measurement)
        zero_filled = complex_to_channels(sense_adjoint(masked_kspace, sensitivity_maps, mask))
        height, width = zero_filled.shape[-2], zero_filled.shape[-1]
        factor, restore = peak_and_phase(zero_filled)
        image = complex_to_channels(channels_to_complex(zero_filled) * factor)
        correction = self.unet(pad_to_multiple(image, 16))
        image = image + crop_to_size(correction, height, width).to(image.dtype)
        return complex_to_channels(channels_to_complex(image) * restore)
