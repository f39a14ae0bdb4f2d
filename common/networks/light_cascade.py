"""Cascades of light U-Nets, each followed by data consistency: one measurement in, one image out.

The cascade is that of Schlemper et al. 2018 (doi 10.1109/TMI.2017.2760978) with un-shared weights. It differs from
there in its networks: small U-Nets without normalisation on ``2 x 2`` blocks of pixels, in place of five convolutions
at full resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from common.errors import require_at_least
from common.networks.blocks import crop_to_size, pad_to_multiple
from common.networks.light_unet import LightUNet
from common.operators.fourier import channels_to_complex, complex_to_channels
from common.operators.measurement import unpack_coils
from common.operators.scaling import peak_and_phase
from common.operators.sense import sense_adjoint
from common.operators.sense_consistency import SenseDataConsistency
from torch import Tensor, nn

INPUT_SCALE = 4.0
"""Multiplies images, whose largest magnitude is 1, at a U-Net's input: most of an image is darker than a quarter."""


class MaskConditions(nn.Module):
    """Describe a sampling mask by numbers that a network is conditioned on.

    The sampled fraction in ``4 x 4`` overlapping bands of ``|ky|`` and ``|kx|`` (triangular weights, from the centre
    of k-space to its edge) goes through two linear layers. Matrix products alone, so any size exports.

    Args:
        n_conditions: numbers that come out.
    """

    def __init__(self, n_conditions: int) -> None:
        super().__init__()
        self.n_bands = 4
        self.layers = nn.Sequential(nn.Linear(self.n_bands**2, n_conditions), nn.ReLU())

    def forward(self, mask: Tensor) -> Tensor:
        """Masks ``(batch, 1, height, width)``, 1 where sampled, to ``(batch, n_conditions)``."""
        rows, columns = self._bands(mask.shape[-2], mask.device), self._bands(mask.shape[-1], mask.device)
        density = torch.matmul(torch.matmul(rows, mask[:, 0]), columns.transpose(0, 1))
        return self.layers(density.flatten(1))

    def _bands(self, size: int, device: torch.device) -> Tensor:
        """Weights of the samples of an axis in each band, ``(bands, size)``, of sum 1 in a band."""
        place = torch.arange(size, device=device, dtype=torch.float32)
        distance = (place - size // 2).abs() * (2.0 * (self.n_bands - 1) / size)
        centres = torch.arange(self.n_bands, device=device, dtype=torch.float32)
        weights = torch.relu(1.0 - (distance[None] - centres[:, None]).abs()) + 1e-6
        return weights / weights.sum(dim=1, keepdim=True)


class LightCascade(nn.Module):
    """Zero-filled image, then ``n_stages`` times a U-Net's correction and data consistency.

    ``x_0 = A^H y``, ``x_i = DC(x_(i-1) + network_i(x_(i-1)))``. Data consistency is hard for one coil: measured samples
    come back exactly. For several coils it is the least-squares projection by conjugate gradients, see
    :class:`~common.operators.sense_consistency.SenseDataConsistency`. The unit and the phase of the zero-filled image
    are taken out before and put back after: the result scales and turns with its measurement. Images stay complex
    throughout; that a phantom or a magnitude image is real is not used.

    Args:
        n_stages: U-Nets, each with its own weights. Six of the default widths have 1,454,544 parameters without memory
            and conditions.
        widths: channels of the levels of each U-Net.
        shuffle: side of the blocks of pixels that become channels.
        memory: features that a U-Net hands on to the next; 0 for none.
        n_conditions: numbers that describe the mask to every block, see :class:`MaskConditions`; 0 for none. For one
            network that takes many masks.
        n_dc_iterations: steps of conjugate gradients with several coils; one coil is exact.

    Raises:
        ValueError: if there is no stage.
    """

    def __init__(
        self,
        n_stages: int = 6,
        widths: Sequence[int] = (24, 48, 72),
        shuffle: int = 2,
        memory: int = 24,
        n_conditions: int = 32,
        n_dc_iterations: int = 4,
    ) -> None:
        super().__init__()
        require_at_least(1, n_stages=n_stages)
        self.networks = nn.ModuleList(LightUNet(2, 2, widths, shuffle, memory, n_conditions) for _ in range(n_stages))
        self.conditions = MaskConditions(n_conditions) if n_conditions else NoConditions()
        self.consistency = SenseDataConsistency(n_dc_iterations)
        self.input_scale = INPUT_SCALE
        self.shuffle = shuffle
        self.memory = memory
        self.multiple = shuffle * 2 ** (len(widths) - 1)
        self.halfway_stage = (n_stages - 1) // 2

    def forward(self, measurement: Tensor) -> Tensor:
        """Reconstruct.

        Args:
            measurement: float, ``(batch, 3, height, width)`` for one coil, ``(batch, 4 n_coils + 1, height, width)``
                for several; see :func:`~common.operators.measurement.pack_measurement`.

        Returns:
            float ``(batch, 2, height, width)``: real and imaginary image, in the image unit of the input.

        Raises:
            ValueError: if the number of channels is neither 3 nor 5, 9, 13 ...
        """
        return self.stages(measurement)[3]

    @torch.jit.export
    def stages(self, measurement: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the images that training looks at, each like the result of ``forward``.

        Returns:
            after half of the stages (rounded up) and after all of them, each before and after data consistency: the
            order of :meth:`~common.networks.refinegan.RefineGanGenerator.stages`.
        """
        kspace, mask, maps, image, restore = self.network_units(measurement)
        halfway_raw, halfway, raw, image = self.refined(image, kspace, mask, maps)
        return (
            complex_to_channels(halfway_raw * restore),
            complex_to_channels(halfway * restore),
            complex_to_channels(raw * restore),
            complex_to_channels(image * restore),
        )

    def refined(
        self, image: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the images of :meth:`stages`, complex and in network units, of what :meth:`network_units` gives."""
        conditions, memory = self.conditions(mask), self._no_memory(image)
        raw, halfway_raw, halfway = image, image, image
        for stage, network in enumerate(self.networks):
            correction, memory = network(self._padded(image), memory, conditions)
            raw = self._corrected(image, correction)
            image = self.consistency(raw, kspace, maps, mask)
            if stage == self.halfway_stage:
                halfway_raw, halfway = raw, image
        return halfway_raw, halfway, raw, image

    def network_units(self, measurement: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return k-space, mask, maps and zero-filled image in network units, and the factor back to image units."""
        masked_kspace, mask, maps = unpack_coils(measurement)
        zero_filled = sense_adjoint(masked_kspace, maps, mask)
        factor, restore = peak_and_phase(complex_to_channels(zero_filled))
        return masked_kspace * factor, mask, maps, zero_filled * factor, restore

    def _padded(self, image: Tensor) -> Tensor:
        """Complex image to a U-Net's input."""
        return self.input_scale * pad_to_multiple(complex_to_channels(image), self.multiple)

    def _corrected(self, image: Tensor, correction: Tensor) -> Tensor:
        """Complex image plus a U-Net's output."""
        cropped = crop_to_size(correction, image.shape[-2], image.shape[-1])
        return image + channels_to_complex(cropped.to(image.real.dtype))

    def _no_memory(self, image: Tensor) -> Tensor:
        """Zeros for the first U-Net, made of the image, so that their size follows it in an exported network."""
        places = self._padded(image)[:, :1, :: self.shuffle, :: self.shuffle]
        return 0.0 * places.expand(-1, self.memory, -1, -1)


class NoConditions(nn.Module):
    """Conditions of a network that takes one kind of mask: a zero."""

    def forward(self, mask: Tensor) -> Tensor:
        """Masks ``(batch, 1, height, width)`` to ``(batch, 1)``."""
        return mask[:, 0, 0, :1] * 0.0
