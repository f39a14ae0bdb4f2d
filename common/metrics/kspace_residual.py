"""How far a reconstruction is from the k-space it was made of."""

from __future__ import annotations

import torch
from common.operators.measurement import unpack_coils
from common.operators.sense import sense_forward
from torch import Tensor


@torch.no_grad()
def kspace_residual(image: Tensor, measurement: Tensor) -> Tensor:
    """Relative residual ``|M F S x - y| / |y|`` of each image, over the samples of all its coils.

    0 says that no measured sample was altered; hard data consistency in float32 reaches about 1e-7. An image of zeros
    has 1. Where nothing but zeros was measured, there is no relative residual, and the value is 0.

    Args:
        image: complex, ``(batch, height, width)``, in the units of the measurement.
        measurement: real, ``(batch, 3 or 4 n_coils + 1, height, width)``, see
            :func:`~common.operators.pack_measurement`.

    Returns:
        float64 ``(batch,)``.

    Raises:
        ValueError: if the sizes differ.
    """
    if image.shape[0] != measurement.shape[0] or image.shape[-2:] != measurement.shape[-2:]:
        raise ValueError(
            f"expected an image for each measurement {list(measurement.shape)} and of its size, got "
            f"{list(image.shape)}; measure before images are cropped"
        )
    masked_kspace, mask, sensitivity_maps = unpack_coils(measurement.double())
    predicted = sense_forward(image[:, None].to(torch.complex128), sensitivity_maps, mask)
    residual, norm = (
        (kspace.abs().square().sum(dim=(1, 2, 3))).sqrt() for kspace in (predicted - masked_kspace, masked_kspace)
    )
    return torch.where(norm > 0, residual / torch.where(norm > 0, norm, 1.0), 0.0)
