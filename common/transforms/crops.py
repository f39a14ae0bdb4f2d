"""Random crops of a batch, each sample at its own place, on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from ignite.engine import Events
from torch import Tensor

if TYPE_CHECKING:
    from common.engines.gan_trainer import GanTrainer


class PhasePatchSize:
    """The side of patches, which may grow with the phases of a training; ``None`` is the whole image.

    Args:
        patch_size: one for all, or one by name for each phase of the trainer this is attached to.
    """

    def __init__(self, patch_size: int | Mapping[str, int] | None) -> None:
        self.sizes = dict(patch_size) if isinstance(patch_size, Mapping) else patch_size
        self._trainer: GanTrainer | None = None

    def attach(self, trainer: GanTrainer) -> None:
        """Follow the phases of a trainer.

        Raises:
            ValueError: at the start of the training, if a phase has no size.
        """
        self._trainer = trainer
        trainer.add_event_handler(Events.STARTED, self._check)

    def __call__(self) -> int | None:
        """The side of now."""
        if not isinstance(self.sizes, dict):
            return self.sizes
        if self._trainer is None:
            raise ValueError("patch_size by phase: expected to know the trainer; make this its prepare_batch")
        return self.sizes[self._trainer.phase.name]

    def _check(self, trainer: GanTrainer) -> None:
        phases = [phase.name for phase in trainer.phases.phases]
        if isinstance(self.sizes, dict) and not set(phases) <= self.sizes.keys():
            raise ValueError(
                f"patch_size: expected a size for each phase of {', '.join(phases)}, got those of "
                f"{', '.join(self.sizes)}; add the others"
            )


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
