"""The middle part of an image."""

from collections.abc import Sequence

from torch import Tensor


def center_crop(image: Tensor, size: Sequence[int]) -> Tensor:
    """The central ``size`` pixels of the last two axes, a view.

    The origin ``H // 2`` of centred Fourier transforms comes to ``height // 2``. The fastMRI package cuts the same
    pixels, but for an odd part of an even image: there it begins one pixel earlier.

    Args:
        image: ``(..., H, W)``.
        size: height and width, no larger than the image's.

    Raises:
        ValueError: if the part is larger than the image.
    """
    height, width = (int(n) for n in size)
    if not (0 < height <= image.shape[-2] and 0 < width <= image.shape[-1]):
        raise ValueError(
            f"expected a central part no larger than the image {list(image.shape[-2:])}, got {[height, width]}; "
            "check the header's reconSpace, or the size of the reference"
        )
    top, left = image.shape[-2] // 2 - height // 2, image.shape[-1] // 2 - width // 2
    return image[..., top : top + height, left : left + width]
