"""Random crops of a batch, each sample at its own place, on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_generator(device: torch.device) -> torch.Generator:
    """A generator on a device, seeded by torch's own: a training that seeds its iterations repeats its draws."""
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))


def random_corners(n_samples: int, size: Sequence[int], patch: Sequence[int], generator: torch.Generator) -> Tensor:
    """First pixels of patches anywhere inside images of ``size``, ``(n_samples, dims)``."""
    places = [n - p + 1 for n, p in zip(size, patch, strict=True)]
    return torch.stack(
        [torch.randint(n, (n_samples,), generator=generator, device=generator.device) for n in places], dim=1
    )


def cropped(image: Tensor, corners: Tensor, size: Sequence[int]) -> Tensor:
    """Each sample's patch of ``size`` from its corner on."""
    for axis, length in enumerate(size):
        if length == image.shape[axis + 2]:
            continue
        places = corners[:, axis, None] + torch.arange(length, device=image.device)
        shape = [1] * image.ndim
        shape[0], shape[axis + 2] = places.shape
        image = torch.take_along_dim(image, places.reshape(shape), dim=axis + 2)
    return image
