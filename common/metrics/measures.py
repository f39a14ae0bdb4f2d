"""PSNR, MSE, NMSE and SSIM of real images.

All run batched on the images' device and in float64: SSIM's variances are differences of nearly equal
numbers, which float32 leaves with four digits, and TF32 convolutions (the default on recent GPUs) with none.
For the same reason this is not ``monai.metrics.SSIMMetric``, which casts to float32; the two agree on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import zip_longest

import torch
from torch import Tensor

_PIXELS_AT_ONCE = 2**14
_Sums = Callable[..., Tensor]
_Constants = tuple[float, float, float | Tensor, float | Tensor]


def nmse(prediction: Tensor, target: Tensor) -> Tensor:
    """Normalised squared error ``|prediction - target|^2 / |target|^2``.

    Args:
        prediction: real, ``(batch, ...)``.
        target: real, the same shape.

    Returns:
        float64 ``(batch,)``; NaN (undefined) where the target is zero everywhere.
    """
    energy = _sums_of_squares(target)
    return torch.where(energy > 0, _sums_of_squares(target, prediction) / energy, torch.nan)


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of real images ``(batch, ...)``, float64 ``(batch,)``; 0.01 for a constant error of 0.1."""
    return _sums_of_squares(target, prediction) / target[0].numel()


def _sums_of_squares(image: Tensor, other: Tensor | None = None) -> Tensor:
    """Sum of squares of each item of a batch, or of its differences to another, in parts that stay in the cache."""
    total = torch.zeros(len(image), dtype=torch.float64, device=image.device)
    others = [None] if other is None else other.flatten(1).split(_PIXELS_AT_ONCE, 1)
    for part, beside in zip_longest(image.flatten(1).split(_PIXELS_AT_ONCE, 1), others):
        values = part.double() if beside is None else part.double() - beside
        total += (values * values).sum(1)
    return total


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
    window = window.to(prediction.device)
    # equal weights are counted at the end: sums in the windows are n times their means
    is_uniform = bool((window == window[0]).all())
    n = float(size**n_axes) if is_uniform else 1.0
    sums = partial(_window_sums, size=size) if is_uniform else partial(_weighted_sums, window=window)
    constants = (scale, n, n**2 * c1, n**2 * c2)
    return torch.stack([_ssim(p, t, size, sums, constants) for p, t in zip(prediction, target, strict=True)])


def _ssim(prediction: Tensor, target: Tensor, size: int, sums: _Sums, constants: _Constants) -> Tensor:
    """Mean structural similarity of two images or volumes, a scalar.

    Strips of rows are measured one after the other, so that their moments stay in the processor's cache.
    """
    step = max(4 * size, _PIXELS_AT_ONCE // prediction[0].numel())
    total = torch.zeros((), dtype=torch.float64, device=prediction.device)
    for row in range(0, len(prediction) - size + 1, step):
        rows = slice(row, row + step + size - 1)
        total += _similarity(prediction[rows], target[rows], sums, constants).sum()
    return total / math.prod(length - size + 1 for length in prediction.shape)


def _similarity(prediction: Tensor, target: Tensor, sums: _Sums, constants: _Constants) -> Tensor:
    """Structural similarity of each pixel whose window lies inside the images or volumes.

    Args:
        prediction: real, ``(height, width[, depth])``.
        target: the same shape.
        sums: sums the pixels in the window along an axis.
        constants: factor of the variances, n (what weights of the window sum up to), and ``n^2 c1``, ``n^2 c2``.
    """
    scale, n, c1, c2 = constants
    if prediction.requires_grad:  # a loss: nothing is changed in place
        p, t = prediction.double(), target.double()
        moments = torch.stack((p, t, p * p + t * t, p * t), dim=1)
    else:
        moments = torch.empty((len(target), 4, *target.shape[1:]), dtype=torch.float64, device=target.device)
        p, t, squares, product = moments.unbind(1)
        p.copy_(prediction)
        t.copy_(target)
        torch.mul(p, p, out=squares).addcmul_(t, t)
        torch.mul(p, t, out=product)
    for axis in (0, *range(2, moments.dim())):
        moments = sums(moments, axis=axis)
    p, t, squares, product = moments.unbind(1)
    both = p * t
    if prediction.requires_grad:
        powers = p * p + t * t
        contrast = (2 * scale * (n * product - both) + c2) / (scale * (n * squares - powers) + c2)
        return contrast * (2 * both + c1) / (powers + c1)
    powers = p.square_().addcmul_(t, t)
    product.mul_(2 * scale * n).sub_(both, alpha=2 * scale).add_(c2).mul_(both.mul_(2).add_(c1))
    squares.mul_(scale * n).sub_(powers, alpha=scale).add_(c2).mul_(powers.add_(c1))
    return product.div_(squares)


def _weighted_sums(values: Tensor, axis: int, window: Tensor) -> Tensor:
    """Weighted sums of neighbours along an axis, where the window lies inside: faster here than a convolution."""
    size, length = len(window), values.shape[axis] - len(window) + 1
    if axis == 0:  # a product of the weights with as many rows, for each row
        row = values[0].numel()
        rows = values.as_strided((length, size, row), (row, row, 1))
        return torch.bmm(window.expand(length, 1, size), rows).view(length, *values.shape[1:])
    weights = window.tolist()
    total = weights[0] * values.narrow(axis, 0, length)
    for shift, weight in enumerate(weights[1:], start=1):
        total.add_(values.narrow(axis, shift, length), alpha=weight)
    return total


def _window_sums(values: Tensor, axis: int, size: int) -> Tensor:
    """Sums of `size` neighbours along an axis: of 1, 2, 4 ... of them, as the binary digits of the size say."""
    length = values.shape[axis] - size + 1
    total, width, begin = None, 1, 0
    while width <= size:
        if size & width:
            part = values.narrow(axis, begin, length)
            total = part.clone() if total is None else total.add_(part)
            begin += width
        if 2 * width <= size:
            n = values.shape[axis] - width
            values = values.narrow(axis, 0, n) + values.narrow(axis, width, n)
        width *= 2
    assert total is not None  # the size is positive
    return total
