"""Measurement of a radial series as input of a network: gridded images, the kernel of their spokes, coil maps."""

from __future__ import annotations

import math

import torch
from common.operators.fourier import channels_to_complex, complex_to_channels, fft2c, ifft2c
from common.operators.gridding import density_compensation, maps_of_mean
from common.operators.nonuniform import NonuniformFourier
from common.operators.series import batch_to_frames, frames_to_batch
from common.operators.toeplitz import toeplitz_kernel
from torch import Tensor

_OWN_CHANNELS = 8  # gridded 2, view-shared 2, kernel 4; the maps follow


class RadialGridding:
    """Gridding of series that were measured on one trajectory.

    Args:
        trajectory: places in k-space in cycles per pixel, ``(frames, spokes, samples, 2)``, see
            :class:`~common.operators.nonuniform.NonuniformFourier`; straight spokes through the centre.
        shape: height and width of the images in pixels.

    Raises:
        ValueError: if the trajectory has another shape, dtype or range, or torchkbnufft is missing.
    """

    def __init__(self, trajectory: Tensor, shape: tuple[int, int]) -> None:
        self.trajectory = trajectory
        self.transform = NonuniformFourier(trajectory, shape)
        self.weights = density_compensation(trajectory, shape)
        self.kernel = toeplitz_kernel(trajectory, self.weights, shape)

    def sample(self, coil_images: Tensor) -> Tensor:
        """Coil images ``(frames, n_coils, height, width)`` to ``(frames, n_coils, spokes, samples)``, complex."""
        return self.transform(coil_images)

    def pack(self, kspace: Tensor, sensitivity_maps: Tensor | None = None) -> Tensor:
        """Stack the measurement of a series for a network.

        Args:
            kspace: complex, ``(frames, n_coils, spokes, samples)``.
            sensitivity_maps: complex, ``(1, n_coils, height, width)``, ``sum |S|^2 = 1`` or 0 at a pixel; None
                estimates them from the mean of all frames, see :func:`~common.operators.gridding.maps_of_mean`.

        Returns:
            float32 ``(1, 8 + 2 n_coils, height, width, frames)``: the gridded images ``A^H W y`` (real, imaginary);
            the view-shared ones (:func:`view_shared_gridding`); the kernel of ``A^H W A``
            (:func:`~common.operators.toeplitz.toeplitz_kernel`), its ``2 x 2`` blocks as channels; real parts of the
            maps, imaginary parts, the same for all frames.
        """
        coil_images = self.transform.coil_images(self.weights[:, None] * kspace)
        if sensitivity_maps is None:
            sensitivity_maps = maps_of_mean(coil_images.mean(dim=0, keepdim=True), len(kspace) * kspace.shape[2])
        gridded = (sensitivity_maps.conj() * coil_images).sum(dim=1, keepdim=True)
        shared = view_shared_gridding(gridded, kspace.shape[2])
        maps = torch.cat((sensitivity_maps.real, sensitivity_maps.imag), dim=1).expand(len(gridded), -1, -1, -1)
        kernel = torch.nn.functional.pixel_unshuffle(self.kernel[:, None], 2)
        parts = complex_to_channels(gridded), complex_to_channels(shared), kernel, maps
        return batch_to_frames(torch.cat([part.to(torch.float32) for part in parts], dim=1), 1)


def is_radial(measurement: Tensor) -> bool:
    """Return True for a measurement of :class:`RadialGridding`; Cartesian ones have an odd number of channels."""
    return measurement.shape[1] > _OWN_CHANNELS and measurement.shape[1] % 2 == 0


def unpack_radial(measurement: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Take a packed radial series apart.

    Args:
        measurement: float ``(batch, 8 + 2 n_coils, height, width, frames)``, of :class:`RadialGridding`.

    Returns:
        gridded and view-shared images, complex ``(batch * frames, 1, height, width)``; the kernel, float
        ``(batch * frames, 2 height, 2 width)``; maps, complex ``(batch * frames, n_coils, height, width)``.

    Raises:
        ValueError: if there are not five axes, or the number of channels is not 10, 12, 14 ...
    """
    if measurement.dim() != 5 or measurement.shape[1] <= 8 or measurement.shape[1] % 2 == 1:
        raise ValueError(
            "expected a radial measurement (batch, 8 + 2 n_coils, height, width, frames), got shape "
            f"{list(measurement.shape)}; stack it with common.operators.radial_series.RadialGridding"
        )
    frames = frames_to_batch(measurement)
    kernel = torch.nn.functional.pixel_shuffle(frames[:, 4:8], 2)[:, 0]
    real, imaginary = frames[:, 8:].chunk(2, dim=1)
    maps = torch.view_as_complex(torch.stack((real, imaginary), dim=-1))
    return channels_to_complex(frames[:, :2]), channels_to_complex(frames[:, 2:4]), kernel, maps


def view_shared_gridding(gridded: Tensor, n_spokes: int) -> Tensor:
    """Average gridded images over a window in time that is the longer, the farther out in k-space.

    The window holds twice the ``pi r`` spokes that a radius of ``r`` samples needs (Nyquist), and at least 3 frames:
    the centre of k-space, and with it the contrast, is shared with the neighbouring frames alone. It is the view
    sharing of KWIC (Song and Dougherty 2000, doi 10.1002/1522-2594(200012)44:6<825::AID-MRM2>3.0.CO;2-E) with
    Gaussian weights over time in place of rings, and of the gridded images. Of three hearts of 96 x 96, 13 golden-angle
    spokes and 8 coils: 31.3 dB; a window of 7 frames for all of k-space has 29.5 dB, gridding 15.6 dB. Angles must
    differ from frame to frame.

    Args:
        gridded: complex ``(frames, 1, height, width)``.
        n_spokes: spokes in each frame.

    Returns:
        complex, shaped as the images.
    """
    n_frames, _, height, width = gridded.shape
    rows, columns = (torch.arange(n, device=gridded.device) - n // 2 for n in (height, width))
    # in samples of the longer axis
    scaled = torch.hypot(rows[:, None] / height, columns / width) * max(height, width)
    window = (2 * math.pi * scaled / n_spokes).clamp(min=3)  # in frames, the area of the weights
    times = torch.arange(n_frames, device=gridded.device)
    weights = torch.exp(-math.pi * ((times[:, None] - times)[..., None, None] / window) ** 2)
    weights = (weights / weights.sum(dim=1, keepdim=True)).to(gridded.real.dtype)
    return ifft2c(torch.einsum("tshw,shw->thw", weights.to(gridded.dtype), fft2c(gridded)[:, 0]))[:, None]
