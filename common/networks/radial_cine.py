"""The light cascade for series measured on spokes: gridded images and their kernel in, images that explain them out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from common.errors import require_at_least
from common.networks.light_cine import LightCorrection, of_frames
from common.operators.fourier import channels_to_complex, complex_to_channels
from common.operators.radial_series import unpack_radial
from common.operators.scaling import peak_and_phase
from common.operators.series import batch_to_frames, frames_to_batch
from common.operators.toeplitz_consistency import ToeplitzConsistency
from torch import Tensor, nn


class RadialCineCascade(nn.Module):
    """View-shared gridding, then ``n_stages`` times a U-Net's correction and data consistency.

    ``x_0`` is the view-shared image, ``x_i = DC(x_(i-1) + network_i([x_(i-1), A^H W y]))``. The U-Nets are those of
    :class:`~common.networks.light_cine.LightCineCascade`, whose weights may start a training: ``networks`` has the
    same keys. Data consistency is :class:`~common.operators.toeplitz_consistency.ToeplitzConsistency`, so that no
    non-uniform transform is part of the network. Any number of coils, of frames and of spokes.

    Args:
        n_stages: U-Nets, each with its own weights.
        widths: channels of the levels of each U-Net.
        shuffle: side of the blocks of pixels that become channels.
        n_dc_iterations: steps of conjugate gradients in each stage.
    """

    def __init__(
        self, n_stages: int = 4, widths: Sequence[int] = (24, 48, 72), shuffle: int = 2, n_dc_iterations: int = 2
    ) -> None:
        super().__init__()
        require_at_least(1, n_stages=n_stages)
        self.networks = nn.ModuleList(LightCorrection(widths, shuffle) for _ in range(n_stages))
        self.consistency = nn.ModuleList(ToeplitzConsistency(n_dc_iterations) for _ in range(n_stages))

    def forward(self, measurement: Tensor) -> Tensor:
        """Reconstruct.

        Args:
            measurement: float, ``(batch, 8 + 2 n_coils, height, width, frames)``, of
                :class:`~common.operators.radial_series.RadialGridding`.

        Returns:
            float ``(batch, 2, height, width, frames)``: real and imaginary images, in the image unit of the input.

        Raises:
            ValueError: if the measurement has another shape.
        """
        batch, n_frames = measurement.shape[0], measurement.shape[4]
        gridded, image, kernel, maps = unpack_radial(measurement)
        factor, restore = peak_and_phase(batch_to_frames(complex_to_channels(image), batch).flatten(3))
        to_units, from_units = of_frames(factor, n_frames), of_frames(restore, n_frames)
        gridded, image = gridded * to_units, image * to_units
        seen = batch_to_frames(complex_to_channels(gridded), batch)
        for network, consistency in zip(self.networks, self.consistency):  # noqa: B905  TorchScript knows no strict
            series = batch_to_frames(complex_to_channels(image), batch)
            correction = network(torch.cat((series, seen), dim=1))
            image = channels_to_complex(frames_to_batch(series + correction))
            image = consistency(image, gridded, kernel, maps)
        return batch_to_frames(complex_to_channels(image * from_units), batch)
