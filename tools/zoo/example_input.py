"""Example inputs of a network, made by the description in its bundle's metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from monai.bundle.scripts import _get_fake_spatial_shape
from torch import Tensor

SAMPLED_FRACTION = 0.3
CENTER_FRACTION = 0.125  # of each axis, fully sampled
_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


class TensorFormat(NamedTuple):
    """Input or output tensor of a network, as `network_data_format` of metadata.json describes it."""

    name: str  # `image` or `pred`
    kind: str  # of its values, such as `kspace` or `magnitude`
    channels: tuple[str, ...]  # description of each
    spatial_shape: tuple[int | str, ...]  # for each axis an integer, `*` for any, or such as `8*n` or `2**p`
    value_range: tuple[float, float]

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], side: str) -> TensorFormat:
        """Read the one tensor of a side, `inputs` or `outputs`.

        Raises:
            ValueError: there is not one, or it is not of float32, or not described.
        """
        where = f"configs/metadata.json, network_data_format, {side}"
        try:
            tensors = dict(metadata["network_data_format"][side])
            if len(tensors) != 1:
                raise ValueError(f"expected one tensor, got {', '.join(tensors) or 'none'}")
            ((name, entry),) = tensors.items()
            if entry["dtype"] != "float32":
                raise ValueError(f"{name}: expected dtype float32, got {entry['dtype']}; convert in the network")
            words, shape = entry["channel_def"], tuple(entry["spatial_shape"])
            if set(words) != {str(channel) for channel in range(entry["num_channels"])}:
                raise ValueError(f"{name}: expected {entry['num_channels']} channels in channel_def, got {[*words]}")
            low, high = entry.get("value_range") or (0.0, 1.0)
            return cls(name, entry["format"], tuple(words[str(i)] for i in range(len(words))), shape, (low, high))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{where}: missing or unreadable entry ({error!r}); add it") from None

    def fit_size(self, wanted: Sequence[int]) -> tuple[int, ...]:
        """Return the smallest size that the metadata allow, and that is at least the wanted one where it is free."""
        return tuple(_fit_axis(rule, size) for rule, size in zip(self.spatial_shape, wanted, strict=True))


def example_input(tensor: TensorFormat, batch: int, size: Sequence[int], seed: int = 0) -> Tensor:
    """Return a smooth random image, or for the kind `kspace` a measurement of one; the same for the same seed.

    Args:
        tensor: description of the input. The words of a channel of k-space say what it holds: `mask` a sampling mask of
            0 and 1, `imag` the imaginary part and any other the real part of masked, centred, orthonormal k-space.
        batch: number of samples.
        size: sizes of the spatial axes.
        seed: seed of the random generator.

    Returns:
        Float32 `(batch, channels, *size)`, the image in the tensor's value range.
    """
    generator = torch.Generator().manual_seed(seed)
    low, high = tensor.value_range
    channels = 1 if tensor.kind == "kspace" else len(tensor.channels)
    coarse = torch.rand(batch, channels, *(-(-n // 8) for n in size), generator=generator)
    image = torch.nn.functional.interpolate(coarse, tuple(size), mode=_INTERPOLATION[len(size)], align_corners=False)
    image = low + (high - low) * image  # changes over about eight samples
    if tensor.kind != "kspace":
        return image
    mask = (torch.rand(batch, 1, *size, generator=generator) < SAMPLED_FRACTION).float()
    (top, bottom), (left, right) = (
        (n // 2 - int(CENTER_FRACTION * n / 2), n // 2 + int(CENTER_FRACTION * n / 2) + 1) for n in size[:2]
    )
    mask[:, :, top:bottom, left:right] = 1
    centred = torch.fft.fft2(torch.fft.ifftshift(image, dim=(2, 3)), dim=(2, 3), norm="ortho")
    kspace = mask * torch.fft.fftshift(centred, dim=(2, 3))
    parts = [
        mask if "mask" in word.lower() else kspace.imag if "imag" in word.lower() else kspace.real
        for word in tensor.channels
    ]
    return torch.cat(parts, dim=1)


def _fit_axis(rule: int | str, wanted: int) -> int:
    if isinstance(rule, int):
        return rule
    if rule == "*":
        return wanted
    variable = "n" if "n" in rule else "p"
    with suppress(SyntaxError, ValueError):  # MONAI's refusals
        for value in range(1, wanted + 1):
            (size,) = _get_fake_spatial_shape([rule], **{variable: value})
            if size >= wanted:
                return size
    raise ValueError(f"configs/metadata.json: expected a spatial_shape such as *, 256, 8*n or 2**p, got {rule!r}")
