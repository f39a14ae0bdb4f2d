"""Data consistency of non-uniform measurements, of gridded images and the kernel of their trajectory alone."""

import math

import torch
from common.operators.sense_consistency import quotient, squared_norm
from common.operators.toeplitz import toeplitz_normal
from torch import Tensor, nn


class ToeplitzConsistency(nn.Module):
    """``argmin_z |A z - y|_W^2 + w |z - x|^2`` for an image ``x``, by conjugate gradients from ``x``.

    The step of MoDL (Aggarwal et al. 2019, doi 10.1109/TMI.2018.2865356), with the samples weighted by their density,
    which needs fewer iterations. All that it takes of the measurement is ``A^H W y``, the gridded image, and the kernel
    of ``A^H W A``, so that it exports; an iteration is two Fourier transforms of twice the size in each coil.

    Args:
        n_iterations: steps of conjugate gradients.
        weight: ``w`` at the start of a training, above 0; it is learned.

    Raises:
        ValueError: if ``n_iterations`` is less than 1 or the weight not positive.
    """

    def __init__(self, n_iterations: int = 3, weight: float = 0.1) -> None:
        super().__init__()
        if n_iterations < 1 or not weight > 0:
            raise ValueError(f"expected n_iterations of at least 1 and a weight above 0, got {n_iterations}, {weight}")
        self.n_iterations = n_iterations
        self.log_weight = nn.Parameter(torch.tensor(math.log(weight)))

    def forward(self, image: Tensor, gridded: Tensor, kernel: Tensor, sensitivity_maps: Tensor) -> Tensor:
        """Make an image consistent.

        Args:
            image: complex, ``(batch, 1, height, width)``.
            gridded: ``A^H W y``, complex, shaped as the image.
            kernel: float, ``(batch, 2 height, 2 width)``, of :func:`~common.operators.toeplitz.toeplitz_kernel`.
            sensitivity_maps: complex, ``(batch, n_coils, height, width)``, ``sum |S|^2 = 1`` or 0 at a pixel.

        Returns:
            complex image, shaped as ``image``.
        """
        weight = torch.exp(self.log_weight)
        residual = gridded - toeplitz_normal(image, kernel, sensitivity_maps)
        direction = residual
        left = squared_norm(residual)
        for _ in range(self.n_iterations):
            spread = toeplitz_normal(direction, kernel, sensitivity_maps) + weight * direction
            product = torch.view_as_real(direction) * torch.view_as_real(spread)
            curvature = product.sum(dim=4).sum(dim=(1, 2, 3), keepdim=True)
            step = quotient(left, curvature, left > 0)
            image = image + step * direction
            residual = residual - step * spread
            new_left = squared_norm(residual)
            direction = residual + quotient(new_left, left, left > 0) * direction
            left = new_left
        return image
