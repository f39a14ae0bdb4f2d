"""Simulated radial scans of series: spokes drawn by a seed, coils in a ring, noise."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from common.operators.coils import simulated_sensitivity_maps
from common.operators.radial import SPOKE_ORDERS, radial_trajectory, series_angles
from common.operators.radial_series import RadialGridding, unpack_radial
from common.operators.series import frames_to_batch
from torch import Tensor

N_FIRST_ANGLES = 8
"""First angles that are drawn among, over 180 degrees: gridding takes a second to set up and is kept."""


class RadialScan:
    """Radial measurement of series, in place of the masks of a Cartesian one.

    Spokes are read with twofold oversampling; coils stand in a ring, see
    :func:`~common.operators.coils.simulated_sensitivity_maps`, at a distance of 1.5 to 2 and an angle drawn for each
    series. Maps are estimated from the noisy samples, as they must be of a measured file.

    Args:
        order: order of the spokes, see :func:`~common.operators.radial.series_angles`.
        n_spokes: number of spokes in each frame.
        n_coils: number of coils.
        noise_std: standard deviation of the real and of the imaginary part of the noise of a sample, in units of
            the truth; transforms are orthonormal.

    Raises:
        ValueError: for an unknown order or a number out of range.
    """

    def __init__(self, order: str = "golden", n_spokes: int = 13, n_coils: int = 8, noise_std: float = 0.01) -> None:
        if order not in SPOKE_ORDERS:
            raise ValueError(f"order of spokes must be one of {', '.join(SPOKE_ORDERS)}, got {order!r}")
        if n_spokes < 2 or n_coils < 1 or noise_std < 0:
            raise ValueError(
                "expected n_spokes of at least 2, n_coils of at least 1 and noise_std of at least 0, got "
                f"{n_spokes}, {n_coils} and {noise_std}"
            )
        self.order = order
        self.n_spokes = n_spokes
        self.n_coils = n_coils
        self.noise_std = noise_std

    def __call__(self, series: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Measure one series.

        Args:
            series: complex, ``(1, 1, height, width, frames)``.
            generator: draws first angle, coils and noise.

        Returns:
            the measurement, see :class:`~common.operators.radial_series.RadialGridding`, and the series in the phase
            of the estimated maps, complex, shaped as the series.
        """
        kspace, gridding, maps = self.sample(series, generator)
        measurement = gridding.pack(kspace)
        _, _, _, estimated = unpack_radial(measurement[..., :1])
        turn = (estimated.conj() * maps).sum(dim=1, keepdim=True).angle()
        return measurement, series * torch.polar(torch.ones_like(turn), turn)[..., None]

    def sample(self, series: Tensor, generator: torch.Generator) -> tuple[Tensor, RadialGridding, Tensor]:
        """Return the samples of one series with the gridding of their trajectory and the maps of the coils.

        Args:
            series: complex, ``(1, 1, height, width, frames)``.
            generator: draws first angle, coils and noise.

        Returns:
            complex64 ``(frames, n_coils, spokes, samples)``; the gridding; the true maps, complex64
            ``(1, n_coils, height, width)``.
        """
        _, _, height, width, n_frames = series.shape
        device = generator.device
        first, distance, turn = torch.rand(3, generator=generator, device=device).tolist()
        maps = simulated_sensitivity_maps(
            self.n_coils, height, width, radius=1.5 + 0.5 * distance, angle_deg=360 * turn
        ).to(device)
        number = int(first * N_FIRST_ANGLES)
        gridding = _gridding(self.order, n_frames, self.n_spokes, number, (height, width), device)
        kspace = gridding.sample(maps * frames_to_batch(series).to(torch.complex64))
        real, imaginary = torch.randn(2, *kspace.shape, generator=generator, device=device)
        return kspace + self.noise_std * torch.complex(real, imaginary), gridding, maps

    def drawn(self, seed: int | str) -> tuple[str, float | None]:
        """Return the order of the spokes, and None: spokes sample no fraction of a grid."""
        return self.order, None

    def __repr__(self) -> str:
        return f"RadialScan({self.order!r}, n_spokes={self.n_spokes}, n_coils={self.n_coils})"


@lru_cache(maxsize=N_FIRST_ANGLES)
def _gridding(
    order: str, n_frames: int, n_spokes: int, number: int, shape: tuple[int, int], device: torch.device
) -> RadialGridding:
    angles = series_angles(order, n_frames, n_spokes, math.pi * number / N_FIRST_ANGLES)
    return RadialGridding(radial_trajectory(angles, 2 * max(shape)).to(device, torch.float32), shape)
