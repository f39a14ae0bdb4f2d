"""PSNR, MSE, NMSE and SSIM of real images.

All run batched on the images' device and in float64: SSIM's variances are differences of nearly equal
numbers, which float32 leaves with four digits, and TF32 convolutions (the default on recent GPUs) with none.
For the same reason this is not ``monai.metrics.SSIMMetric``, which casts to float32; the two agree on a CPU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
        ValueError: if an image is smaller than the window.
    """
    size = len(window)
    axes = range(1, prediction.dim())
    if min(prediction.shape[1:]) < size:
        raise ValueError(
            f"SSIM has a {' x '.join([str(size)] * len(axes))} window and needs images at least as large, got "
            f"{list(prediction.shape[1:])}; evaluate larger images, or leave out the metric ssim"
        )
    weights = window.to(device=prediction.device, dtype=torch.float64).view(1, 1, size)

    def local_mean(image: Tensor) -> Tensor:
        for axis in axes:
            lines = image.movedim(axis, -1)
            means = F.conv1d(lines.reshape(-1, 1, lines.shape[-1]), weights)
            image = means.reshape(*lines.shape[:-1], -1).movedim(-1, axis)
        return image

    prediction, target = prediction.double(), target.double()
    mean_p, mean_t = local_mean(prediction), local_mean(target)
    scale = size ** len(axes) / (size ** len(axes) - 1) if sample_covariance else 1.0
    variances = scale * (local_mean(prediction.square() + target.square()) - mean_p.square() - mean_t.square())
    covariance = scale * (local_mean(prediction * target) - mean_p * mean_t)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_p * mean_t + c1) / (mean_p.square() + mean_t.square() + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return (luminance * structure).flatten(1).mean(1)
