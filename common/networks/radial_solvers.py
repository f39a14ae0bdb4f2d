"""Reconstructions of radial series without a trained network: what one is compared with."""

from __future__ import annotations

import torch
from common.operators.fourier import complex_to_channels
from common.operators.radial_series import unpack_radial
from common.operators.series import batch_to_frames
from common.operators.toeplitz import toeplitz_normal
from common.operators.toeplitz_consistency import ToeplitzConsistency
from torch import Tensor, nn


class RadialCgSense(nn.Module):
    """CG-SENSE (Pruessmann et al. 2001, doi 10.1002/mrm.1241), each frame alone, from zero.

    Args:
        n_iterations: steps of conjugate gradients. Of 5 to 40 steps and weights from 0.01 to 0.3, these have the best
            PSNR for a heart of 96 x 96, 13 spokes, 8 coils and noise of 0.01.
        weight: weight of the squared norm of the image.
    """

    def __init__(self, n_iterations: int = 20, weight: float = 0.01) -> None:
        super().__init__()
        self.consistency = ToeplitzConsistency(n_iterations, weight).requires_grad_(False)

    def forward(self, measurement: Tensor) -> Tensor:
        """Measurement, see :class:`~common.networks.RadialCineCascade`, to ``(batch, 2, height, width, frames)``."""
        gridded, _, kernel, maps = unpack_radial(measurement)
        image = self.consistency(torch.zeros_like(gridded), gridded, kernel, maps)
        return batch_to_frames(complex_to_channels(image), measurement.shape[0])


class TemporalTotalVariation(nn.Module):
    """``argmin_x |A x - y|_W^2 / 2 + weight sum |x_(t+1) - x_t|`` of complex series.

    The regularisation of Feng et al. 2014 (doi 10.1002/mrm.24980, GRASP), without the coils' smoothing there, by the
    primal-dual iterations of Condat 2013 (doi 10.1007/s10957-012-0245-9), from the view-shared images.

    Args:
        n_iterations: iterations, each of one normal operator.
        weight: weight of total variation, in units of the largest view-shared magnitude; the best PSNR for that heart
            lies between 0.03 and 0.06.
    """

    def __init__(self, n_iterations: int = 40, weight: float = 0.04) -> None:
        super().__init__()
        self.n_iterations = n_iterations
        self.weight = weight

    @torch.no_grad()
    def forward(self, measurement: Tensor) -> Tensor:
        """Measurement, see :class:`~common.networks.RadialCineCascade`, to ``(batch, 2, height, width, frames)``."""
        series = [self._solved(one) for one in measurement.split(1)]
        return torch.cat(series)

    def _solved(self, measurement: Tensor) -> Tensor:
        gridded, image, kernel, maps = unpack_radial(measurement)
        weight = self.weight * image.abs().max()
        step = 1.0 / (_largest_eigenvalue(image, kernel, maps) / 2 + 1)  # |D|^2 <= 4, dual step 1 / 4
        dual = torch.zeros_like(image[1:])
        for _ in range(self.n_iterations):
            gradient = toeplitz_normal(image, kernel, maps) - gridded
            new = image - step * (gradient + _differences_adjoint(dual))
            dual = dual + (2 * new - image).diff(dim=0) / 4
            dual = dual / (dual.abs() / weight).clamp(min=1)
            image = new
        return batch_to_frames(complex_to_channels(image), 1)


def _differences_adjoint(dual: Tensor) -> Tensor:
    zero = torch.zeros_like(dual[:1])
    return torch.cat((zero, dual)) - torch.cat((dual, zero))


def _largest_eigenvalue(image: Tensor, kernel: Tensor, maps: Tensor, n_iterations: int = 8) -> float:
    """Upper end of the spectrum of the normal operator of all frames, by power iteration; 10 % more for safety."""
    image = torch.randn(image.shape, dtype=image.dtype, generator=torch.Generator().manual_seed(0)).to(image.device)
    for _ in range(n_iterations):
        image = toeplitz_normal(image / torch.linalg.vector_norm(image), kernel, maps)
    return 1.1 * float(torch.linalg.vector_norm(image))
