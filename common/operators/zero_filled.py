"""The image before any reconstruction: what all methods are compared with."""

from collections.abc import Sequence

from common.operators.cropping import center_crop
from common.operators.measurement import unpack_coils
from common.operators.sense import sense_adjoint
from torch import Tensor


def zero_filled_image(measurement: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Zero-filled images of packed measurements, the coils combined.

    Args:
        measurement: real, ``(batch, 3 or 4 n_coils + 1, height, width)``, see
            :func:`~common.operators.pack_measurement`.
        size: height and width of the central part to keep; None for all.

    Returns:
        complex ``(batch, height, width)``.
    """
    masked_kspace, mask, sensitivity_maps = unpack_coils(measurement.float())
    image = sense_adjoint(masked_kspace, sensitivity_maps, mask)[:, 0]
    return image if size is None else center_crop(image, size)
