"""PSNR, MSE, NMSE and SSIM of real images.

All run batched on the images' device and in float64: SSIM's variances are differences of nearly equal
numbers, which float32 leaves with four digits, and TF32 convolutions (the default on recent GPUs) with none.
For the same reason this is not ``monai.metrics.SSIMMetric``, which casts to float32; the two agree on a CPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_PIXELS_AT_ONCE = 2**15


def nmse(prediction: Tensor, target: Tensor) -> Tensor:
    """Normalised squared error ``|prediction - target|^2 / |target|^2``.

    Args:
        prediction: real, ``(batch, ...)``.
        target: real, the same shape.

    Returns:
        float64 ``(batch,)``; NaN (undefined) where the target is zero everywhere.
    """
    prediction, target = prediction.double().flatten(1), target.double().flatten(1)
    energy = target.square().sum(1)
    error = (prediction - target).square().sum(1)
    return torch.where(energy > 0, error / energy, torch.nan)


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of real images ``(batch, ...)``, float64 ``(batch,)``; 0.01 for a constant error of 0.1."""
    return (prediction.double() - target.double()).square().flatten(1).mean(1)


def psnr(prediction: Tensor, target: Tensor, data_range: float | Tensor = 1.0) -> Tensor:
    """Peak signal-to-noise ratio ``10 log10(data_range^2 / MSE)`` in dB: an MSE of 0.01 at data range 1 is 20 dB.

    Args:
        prediction: real, ``(batch, ...)``.
        target: real, the same shape.
        data_range: the peak; a number, or one per item ``(batch,)``.

    Returns:
        float64 ``(batch,)``; infinite where the images are identical.
    """
    peak = torch.as_tensor(data_range, dtype=torch.float64, device=prediction.device)
    return 10 * torch.log10(peak.square() / mse(prediction, target))


class ImageTooSmallError(ValueError):
    """An image has fewer pixels than a measure needs."""


def gaussian_window(size: int = 11, sigma: float = 1.5) -> Tensor:
    """Gaussian weights of sum 1, float64 ``(size,)``: the window of Wang et al. 2004."""
    offsets = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-0.5 * (offsets / sigma).square())
    return weights / weights.sum()


def uniform_window(size: int = 7) -> Tensor:
    """Equal weights of sum 1, float64 ``(size,)``: the window of scikit-image and fastMRI."""
    return torch.full((size,), 1 / size, dtype=torch.float64)


def ssim(
    prediction: Tensor,
    target: Tensor,
    window: Tensor,
    data_range: float | Tensor = 1.0,
    sample_covariance: bool = False,
) -> Tensor:
    """Mean structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861), K1 = 0.01, K2 = 0.03.

    Averaged over the pixels whose window lies inside the image, as in scikit-image.

    Args:
        prediction: real, ``(batch, height, width)``, or volumes ``(batch, height, width, depth)``.
        target: real, the same shape.
        window: weights along one axis, of sum 1; the window is their outer product over all axes.
        data_range: the range of values; a number, or a tensor of one.
        sample_covariance: variances over N - 1 instead of N, N the number of pixels in the window.

    Returns:
        float64 ``(batch,)``; 1 where the images are identical.

    Raises:
        ImageTooSmallError: if an image is smaller than the window.
    """
    size, n_axes = len(window), prediction.dim() - 1
    if min(prediction.shape[1:]) < size:
        raise ImageTooSmallError(
            f"SSIM has a {' x '.join([str(size)] * n_axes)} window and needs images at least as large, got "
            f"{list(prediction.shape[1:])}; evaluate larger images, or leave out the metric ssim"
        )
    scale = size**n_axes / (size**n_axes - 1) if sample_covariance else 1.0
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    weights = window.tolist()
    return torch.stack(
        [_ssim(p.double(), t.double(), weights, scale, c1, c2) for p, t in zip(prediction, target, strict=True)]
    )


def _ssim(
    prediction: Tensor, target: Tensor, weights: list[float], scale: float, c1: float | Tensor, c2: float | Tensor
) -> Tensor:
    """Mean structural similarity of two images or volumes, a scalar.

    Strips of rows are measured one after the other, so that their moments stay in the processor's cache.
    """
    size = len(weights)
    n_rows = len(prediction) - size + 1
    step = max(4 * size, _PIXELS_AT_ONCE // prediction[0].numel())
    total = prediction.new_zeros(())
    for row in range(0, n_rows, step):
        rows = slice(row, row + step + size - 1)
        total = total + _similarity(prediction[rows], target[rows], weights, scale, c1, c2).sum()
    return total / math.prod(length - size + 1 for length in prediction.shape)


def _similarity(
    prediction: Tensor, target: Tensor, weights: list[float], scale: float, c1: float | Tensor, c2: float | Tensor
) -> Tensor:
    """Structural similarity of each pixel whose window lies inside the images or volumes."""
    moments = torch.stack((prediction, target, torch.addcmul(prediction.square(), target, target), prediction * target))
    for axis in range(1, moments.dim()):
        moments = _weighted_mean(moments, weights, axis)
    mean_p, mean_t, mean_squares, mean_product = moments.unbind()
    product, squares = mean_p * mean_t, torch.addcmul(mean_p.square(), mean_t, mean_t)
    numerator = (2 * product).add_(c1) * (mean_product - product).mul_(2 * scale).add_(c2)
    denominator = (mean_squares - squares).mul_(scale).add_(c2) * (squares + c1)
    return numerator / denominator


def _weighted_mean(values: Tensor, weights: list[float], axis: int) -> Tensor:
    """Weighted sum of shifted views along an axis, where the window lies inside: faster than a convolution here."""
    length = values.shape[axis] - len(weights) + 1
    total = weights[0] * values.narrow(axis, 0, length)
    for shift, weight in enumerate(weights[1:], start=1):
        total.add_(values.narrow(axis, shift, length), alpha=weight)
    return total
