"""Input tensor of a reconstruction network: k-space, mask and sensitivity maps, stacked as real channels."""

import torch
from common.operators.fourier import channels_to_complex
from torch import Tensor


def pack_measurement(masked_kspace: Tensor, mask: Tensor, sensitivity_maps: Tensor | None = None) -> Tensor:
    """Stack a measurement for a network.

    Args:
        masked_kspace: complex, ``(batch, n_coils, height, width)``, centred, zero where not sampled.
        mask: 1 where sampled, ``(batch or 1, 1, height, width)``, boolean or real.
        sensitivity_maps: complex, ``(batch or 1, n_coils, height, width)``; may be left out for one coil.

    Returns:
        float32. Without maps ``(batch, 3, height, width)``: real k-space, imaginary k-space, mask. With maps
        ``(batch, 4 n_coils + 1, height, width)``: real k-space of all coils, imaginary k-space of all coils, mask,
        real maps of all coils, imaginary maps of all coils.

    Raises:
        ValueError: if heights and widths or the numbers of coils differ, or several coils have no maps.
    """
    if masked_kspace.shape[-2:] != mask.shape[-2:]:
        raise ValueError(
            f"expected k-space and mask of one size, got k-space {list(masked_kspace.shape[-2:])} and "
            f"mask {list(mask.shape[-2:])}; make or load a mask of the k-space's size"
        )
    batch, n_coils = masked_kspace.shape[0], masked_kspace.shape[1]
    parts = [
        masked_kspace.real.to(torch.float32),
        masked_kspace.imag.to(torch.float32),
        mask.to(torch.float32).expand(batch, 1, -1, -1),
    ]
    if sensitivity_maps is None:
        if n_coils != 1:
            raise ValueError(
                f"expected sensitivity maps with k-space of {n_coils} coils, got none; estimate them with "
                "common.operators.estimate_sensitivity_maps"
            )
    else:
        if sensitivity_maps.shape[1:] != masked_kspace.shape[1:]:
            raise ValueError(
                "expected sensitivity maps of the k-space's coils, height and width "
                f"{list(masked_kspace.shape[1:])}, got {list(sensitivity_maps.shape[1:])}"
            )
        maps = sensitivity_maps.expand(batch, n_coils, -1, -1)
        parts += [maps.real.to(torch.float32), maps.imag.to(torch.float32)]
    return torch.cat(parts, dim=1)


def unpack_measurement(measurement: Tensor) -> tuple[Tensor, Tensor]:
    """Take a packed measurement of one coil without maps apart.

    Args:
        measurement: float, ``(batch, 3, height, width)``.

    Returns:
        masked k-space, complex ``(batch, 1, height, width)``, and mask, float of the same shape. Samples
        outside the mask are set to zero, so that a careless caller cannot smuggle them in.

    Raises:
        ValueError: if there are not three channels.
    """
    if measurement.dim() != 4 or measurement.shape[1] != 3:
        raise ValueError(
            "expected a measurement (batch, 3, height, width) of real k-space, imaginary k-space and mask, "
            f"got shape {list(measurement.shape)}; stack it with common.operators.pack_measurement"
        )
    mask = measurement[:, 2:3]
    return channels_to_complex(measurement[:, :2] * mask), mask


def unpack_coils(measurement: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take a packed measurement of any number of coils apart.

    Args:
        measurement: float, ``(batch, 3 or 4 n_coils + 1, height, width)``, of :func:`pack_measurement`.

    Returns:
        masked k-space, complex ``(batch, n_coils, height, width)``, zero outside the mask; mask, float
        ``(batch, 1, height, width)``; sensitivity maps, complex, shaped as the k-space: ones where there are only
        three channels.

    Raises:
        ValueError: if the number of channels is neither 3 nor 5, 9, 13 ...
    """
    n_channels = measurement.shape[1] if measurement.dim() == 4 else 0
    if n_channels == 3:
        masked_kspace, mask = unpack_measurement(measurement)
        return (
            masked_kspace,
            mask,
            torch.view_as_complex(torch.stack((torch.ones_like(mask), torch.zeros_like(mask)), dim=-1)),
        )
    if n_channels < 5 or n_channels % 4 != 1:
        raise ValueError(
            "expected a measurement (batch, 3 or 4 n_coils + 1, height, width) of k-space, mask and sensitivity maps, "
            f"got shape {list(measurement.shape)}; stack it with common.operators.pack_measurement"
        )
    n_coils = n_channels // 4
    mask = measurement[:, 2 * n_coils : 2 * n_coils + 1]
    masked_kspace = _coils_to_complex(measurement[:, : 2 * n_coils] * mask)
    return masked_kspace, mask, _coils_to_complex(measurement[:, 2 * n_coils + 1 :])


def _coils_to_complex(channels: Tensor) -> Tensor:
    """Real parts of all coils, then imaginary parts, ``(batch, 2 n_coils, height, width)``, to complex coils."""
    real, imaginary = channels.chunk(2, dim=1)
    return torch.view_as_complex(torch.stack((real, imaginary), dim=-1))
