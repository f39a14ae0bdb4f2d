"""How far a reconstruction is from the k-space it was made of."""

from __future__ import annotations

import torch
from common.operators.measurement import unpack_coils
from common.operators.radial_series import is_radial, unpack_radial
from common.operators.sense import sense_forward
from common.operators.series import frames_to_batch
from common.operators.toeplitz import toeplitz_normal
from torch import Tensor


@torch.no_grad()
def kspace_residual(image: Tensor, measurement: Tensor) -> Tensor:
    """Relative residual ``|M F S x - y| / |y|`` of each image or series, over the samples of all its coils and frames.

    0 says that no measured sample was altered; hard data consistency in float32 reaches about 1e-7. An image of zeros
    has 1. Where nothing but zeros was measured, there is no relative residual, and the value is 0. Of radial series,
    whose samples the measurement does not have, it is that of the gridded images, ``|A^H W (A x - y)| / |A^H W y|``.

    Args:
        image: complex, ``(batch, height, width)`` or ``(batch, height, width, frames)``, in the units of the
            measurement.
        measurement: real, ``(batch, channels, height, width)`` or ``(batch, channels, height, width, frames)``, see
            :func:`~common.operators.pack_measurement`, :func:`~common.operators.series.pack_series` and
            :class:`~common.operators.radial_series.RadialGridding`.

    Returns:
        float64 ``(batch,)``.

    Raises:
        ValueError: if the sizes differ.
    """
    if image.shape != (len(measurement), *measurement.shape[2:]):
        raise ValueError(
            f"expected an image for each measurement {list(measurement.shape)} and of its size, got "
            f"{list(image.shape)}; measure before images are cropped"
        )
    batch, is_series = len(measurement), measurement.dim() == 5
    images = frames_to_batch(image[:, None]) if is_series else image[:, None]
    if is_series and is_radial(measurement):
        expected, _, kernel, maps = unpack_radial(measurement)
        predicted = toeplitz_normal(images.to(expected.dtype), kernel, maps)
    else:
        expected, mask, maps = unpack_coils((frames_to_batch(measurement) if is_series else measurement).double())
        predicted = sense_forward(images.to(torch.complex128), maps, mask)
    residual, norm = (
        values.abs().square().sum(dim=(1, 2, 3)).double().reshape(batch, -1).sum(dim=1).sqrt()
        for values in (predicted - expected, expected)
    )
    return torch.where(norm > 0, residual / torch.where(norm > 0, norm, 1.0), 0.0)
