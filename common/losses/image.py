"""Losses between images, and priors of one image. All take real ``(batch, channels, height, width)``."""

from common.operators.fourier import channels_to_complex, fft2c
from torch import Tensor


def total_variation(image: Tensor) -> Tensor:
    """Anisotropic total variation: absolute differences of neighbours summed per image, mean over the batch.

    A unit step edge across an image of height ``h`` and one channel has total variation ``h``.
    """
    rows = (image[..., 1:, :] - image[..., :-1, :]).abs().sum()
    columns = (image[..., :, 1:] - image[..., :, :-1]).abs().sum()
    return (rows + columns) / image.shape[0]


def masked_kspace_l1(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of two images' k-space, real and imaginary part, zero where not sampled.

    The mean is over all elements, sampled or not.

    Args:
        image: real and imaginary channel, ``(batch, 2, height, width)``.
        target: the same shape; its sampled k-space is the measurement.
        mask: float, 1 where sampled, ``(batch or 1, 1, height, width)``.
    """
    difference = mask * fft2c(channels_to_complex((image - target).float()))
    return 0.5 * (difference.real.abs().mean() + difference.imag.abs().mean())
