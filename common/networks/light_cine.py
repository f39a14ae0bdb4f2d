"""The light cascade for measured series: k-space in, images that explain it out."""

from collections.abc import Sequence

import torch
from common.errors import require_at_least
from common.networks.blocks import crop_to_size, pad_to_multiple
from common.networks.light_cascade import INPUT_SCALE
from common.networks.light_unet import LightUNet
from common.operators.fourier import channels_to_complex, complex_to_channels
from common.operators.measurement import unpack_coils
from common.operators.scaling import peak_and_phase
from common.operators.sense import sense_adjoint
from common.operators.sense_consistency import SenseDataConsistency
from common.operators.series import batch_to_frames, frames_to_batch, view_shared
from torch import Tensor, nn


class LightCorrection(nn.Module):
    """A :class:`~common.networks.light_unet.LightUNet` for series of any height and width.

    It takes two complex series as channels and gives the correction of the first, which is close to zero at first.

    Args:
        widths: channels of its levels.
        shuffle: side of its blocks of pixels.
    """

    def __init__(self, widths: Sequence[int], shuffle: int) -> None:
        super().__init__()
        self.network = LightUNet(4, 2, widths, shuffle, series=True)
        self.input_scale = INPUT_SCALE

    def forward(self, series: Tensor) -> Tensor:
        """Series ``(batch, 4, height, width, frames)`` to ``(batch, 2, height, width, frames)``."""
        batch, height, width = series.shape[0], series.shape[2], series.shape[3]
        padded = pad_to_multiple(frames_to_batch(series), self.network.multiple)
        features = self.input_scale * batch_to_frames(padded, batch)
        correction, _ = self.network(features, None, features[:, :0])
        cropped = crop_to_size(frames_to_batch(correction), height, width)
        return batch_to_frames(cropped, batch).to(series.dtype)


class LightCineCascade(nn.Module):
    """Images of view-shared k-space, then ``n_stages`` times a U-Net's correction and data consistency.

    ``x_0 = A^H y'``, ``x_i = DC(x_(i-1) + network_i([x_(i-1), A^H y]))``: ``y`` the samples of each frame, ``y'`` those
    filled up from the frames nearby, see :func:`view_shared`, ``DC`` the projection onto images that explain ``y``. The
    U-Nets see real and imaginary part, of a series whose largest magnitude is 1; unit and phase are put back, so the
    result scales and turns with its measurement. Their corrections start near zero: before training the result
    is nearly ``x_0`` (made consistent, for several coils).

    It is a cascade of Schlemper et al. 2018 (doi 10.1109/TMI.2017.2760978), where data sharing too is fed to the
    networks, with the small U-Nets of :class:`~common.networks.light_cascade.LightCascade`. Their blocks have the two
    factored convolutions of UNet2D2D, see :class:`~common.networks.cine_unet.CineUNet`: over columns and time, then
    over rows and time.

    Args:
        n_stages: U-Nets, each with its own weights.
        widths: channels of the levels of each U-Net.
        shuffle: side of the blocks of pixels that become channels.
        n_dc_iterations: steps of conjugate gradients of data consistency with several coils; one coil is exact.

    Raises:
        ValueError: if a number is less than 1.
    """

    def __init__(
        self, n_stages: int = 4, widths: Sequence[int] = (24, 48, 72), shuffle: int = 2, n_dc_iterations: int = 4
    ) -> None:
        super().__init__()
        require_at_least(1, n_stages=n_stages)
        self.networks = nn.ModuleList(LightCorrection(widths, shuffle) for _ in range(n_stages))
        self.consistency = SenseDataConsistency(n_dc_iterations)

    def forward(self, measurement: Tensor) -> Tensor:
        """Reconstruct.

        Args:
            measurement: float, ``(batch, 3 or 4 n_coils + 1, height, width, frames)``, of
                :func:`~common.operators.series.pack_series`.

        Returns:
            float ``(batch, 2, height, width, frames)``: real and imaginary images, in the image unit of the input.

        Raises:
            ValueError: if there are not five axes, or the number of channels is neither 3 nor 5, 9, 13 ...
        """
        if measurement.dim() != 5:
            raise ValueError(
                "expected a measurement (batch, 3 or 4 n_coils + 1, height, width, frames), got shape "
                f"{list(measurement.shape)}; stack it with common.operators.series.pack_series"
            )
        batch, n_frames = measurement.shape[0], measurement.shape[4]
        masked_kspace, mask, sensitivity_maps = unpack_coils(frames_to_batch(measurement))
        zero_filled = sense_adjoint(masked_kspace, sensitivity_maps, mask)
        shared_kspace, sampled, _ = unpack_coils(frames_to_batch(view_shared(measurement)))
        image = sense_adjoint(shared_kspace, sensitivity_maps, sampled)
        factor, restore = peak_and_phase(batch_to_frames(complex_to_channels(image), batch).flatten(3))
        to_units, from_units = of_frames(factor, n_frames), of_frames(restore, n_frames)
        kspace, image = masked_kspace * to_units, image * to_units
        seen = batch_to_frames(complex_to_channels(zero_filled * to_units), batch)
        for network in self.networks:
            series = batch_to_frames(complex_to_channels(image), batch)
            correction = network(torch.cat((series, seen), dim=1))
            image = channels_to_complex(frames_to_batch(series + correction))
            image = self.consistency(image, kspace, sensitivity_maps, mask)
        return batch_to_frames(complex_to_channels(image * from_units), batch)


def of_frames(factor: Tensor, n_frames: int) -> Tensor:
    """Multipliers of series, complex ``(batch, 1, 1, 1)``, to those of their frames, ``(batch * frames, 1, 1, 1)``."""
    channels = complex_to_channels(factor)[:, None].expand(-1, n_frames, -1, -1, -1)
    return channels_to_complex(channels.flatten(0, 1))
