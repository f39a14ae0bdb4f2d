"""Non-uniform Fourier transform of images with several coils, by torchkbnufft."""

from __future__ import annotations

import math
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor, nn

KERNEL_WIDTHS = {torch.float32: 6, torch.float64: 10}
"""Width of the Kaiser-Bessel kernel on the doubled grid: errors below 1e-5 and below 1e-8 of a direct transform."""


class NonuniformFourier(nn.Module):
    """Multi-coil non-Cartesian acquisition ``y = F S x``, each image of a batch with a trajectory of its own.

    ``y[m] = 1 / sqrt(H W) sum_r S[r] x[r] exp(-2 pi i k[m] r)`` with the origin of ``r`` at ``(H // 2, W // 2)``. At
    the points of the Cartesian grid, ``k = n / size``, it is :func:`~common.operators.fourier.fft2c`. The frames of a
    series are a batch, see :func:`~common.operators.series.frames_to_batch`.

    It is the interpolation of Fessler and Sutton 2003 (doi 10.1109/TSP.2002.807005) with the Kaiser-Bessel kernel as in
    torchkbnufft (Muckley et al. 2020). Its weights are computed from the kernel itself, as sparse matrices: the tables
    that torchkbnufft takes by default have errors of 6e-4.

    Args:
        trajectory: places in k-space in cycles per pixel, from -0.5 to 0.5, ``(batch, spokes, samples, 2)``, float32 or
            float64; the last axis is row, column. The computation has its dtype. Spokes need not be straight.
        shape: height and width of the images in pixels.
        sensitivity_maps: complex, ``(batch or 1, n_coils, height, width)``; None is one coil of ones.

    Raises:
        ValueError: if the trajectory has another shape or dtype or leaves [-0.5, 0.5], the maps have another size, or
            torchkbnufft is missing.
    """

    def __init__(self, trajectory: Tensor, shape: tuple[int, int], sensitivity_maps: Tensor | None = None) -> None:
        super().__init__()
        check_trajectory(trajectory)
        if sensitivity_maps is None:
            sensitivity_maps = torch.ones(1, 1, *shape, dtype=torch.complex64)
        if tuple(sensitivity_maps.shape[2:]) != tuple(shape) or len(sensitivity_maps) not in (1, len(trajectory)):
            raise ValueError(
                f"expected sensitivity maps ({len(trajectory)} or 1, coils, {shape[0]}, {shape[1]}), got "
                f"{list(sensitivity_maps.shape)}; make or load maps of the image's size"
            )
        dtype, device = trajectory.dtype, trajectory.device
        tkbn = torchkbnufft()
        options = {"im_size": tuple(shape), "numpoints": KERNEL_WIDTHS[dtype]}
        self._forward = tkbn.KbNufft(**options, dtype=dtype, device=device)
        self._adjoint = tkbn.KbNufftAdjoint(**options, dtype=dtype, device=device)
        with torch.sparse.check_sparse_tensor_invariants(enable=False):
            self._matrices = [
                tkbn.calc_tensor_spmatrix(2 * math.pi * frame.reshape(-1, 2).T, **options) for frame in trajectory
            ]
        self._samples = tuple(trajectory.shape[1:3])
        self._scale = 1 / math.sqrt(math.prod(shape))
        self.sensitivity_maps: Tensor
        maps = sensitivity_maps.to(device, torch.complex64 if dtype == torch.float32 else torch.complex128)
        self.register_buffer("sensitivity_maps", maps, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Image ``(batch, 1, height, width)`` to k-space ``(batch, n_coils, spokes, samples)``, both complex."""
        coil_images = (self.sensitivity_maps * image).split(1)
        omega = image.real.new_zeros(2, 0)  # the matrices hold the trajectory
        pairs = zip(coil_images, self._matrices, strict=True)
        kspace = torch.cat([self._forward(coils, omega, interp_mats=matrices) for coils, matrices in pairs])
        return self._scale * kspace.unflatten(2, self._samples)

    def adjoint(self, kspace: Tensor) -> Tensor:
        """K-space ``(batch, n_coils, spokes, samples)`` to image ``(batch, 1, height, width)``, coils combined.

        Of k-space times density compensation it is the gridding reconstruction, see
        :func:`~common.operators.density.radial_density`.
        """
        return (self.sensitivity_maps.conj() * self.coil_images(kspace)).sum(dim=1, keepdim=True)

    def coil_images(self, kspace: Tensor) -> Tensor:
        """K-space ``(batch, n_coils, spokes, samples)`` to images of each coil ``(batch, n_coils, height, width)``."""
        omega = kspace.real.new_zeros(2, 0)
        pairs = zip(kspace.flatten(2).split(1), self._matrices, strict=True)
        images = torch.cat([self._adjoint(samples, omega, interp_mats=matrices) for samples, matrices in pairs])
        return self._scale * images


def check_trajectory(trajectory: Tensor) -> None:
    """Refuse what is no trajectory in cycles per pixel, ``(batch, spokes, samples, 2)``.

    Raises:
        ValueError: if shape, dtype or range are wrong.
    """
    if trajectory.dim() != 4 or trajectory.shape[3] != 2 or trajectory.dtype not in KERNEL_WIDTHS:
        raise ValueError(
            "expected a trajectory (batch, spokes, samples, 2), float32 or float64, got "
            f"{list(trajectory.shape)}, {str(trajectory.dtype).removeprefix('torch.')}"
        )
    largest = float(trajectory.abs().max()) if trajectory.numel() else 0.0
    if not largest <= 0.5 * (1 + 1e-3):  # NaN too
        raise ValueError(
            f"expected a trajectory in cycles per pixel, from -0.5 to 0.5, got values up to {largest:.4g}; divide "
            "radians by 2 pi, and cycles per field of view by the matrix size"
        )


def torchkbnufft() -> ModuleType:
    """Import torchkbnufft.

    Raises:
        ValueError: if it is missing.
    """
    try:
        return import_module("torchkbnufft")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"non-uniform Fourier transforms need torchkbnufft, and {error.name} is not installed; "
            "`pip install 'torchkbnufft>=1.5'`"
        ) from None
