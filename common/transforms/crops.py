"""Random crops of a batch, each sample at its own place, on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from ignite.engine import Events
from torch import Tensor

if TYPE_CHECKING:
    from common.engines.gan_trainer import GanTrainer


class PhaseValue:
    """An option that may change with the phases of a training, such as the side of patches.

    Args:
        value: one for all phases, or one by name for each phase of the trainer this is attached to.
        name: name of the option, for error messages.
    """

    def __init__(self, value: int | Mapping[str, int] | None, name: str = "patch_size") -> None:
        self.values = dict(value) if isinstance(value, Mapping) else value
        self.name = name
        self._trainer: GanTrainer | None = None

    def attach(self, trainer: GanTrainer) -> None:
        """Follow the phases of a trainer.

        Raises:
            ValueError: at the start of the training, if a phase has no value.
        """
        self._trainer = trainer
        trainer.add_event_handler(Events.STARTED, self._check)

    def __call__(self) -> int | None:
        """Return the value of the trainer's current phase."""
        if not isinstance(self.values, dict):
            return self.values
        if self._trainer is None:
            raise ValueError(f"{self.name} by phase: expected to be attached to a trainer, through its prepare_batch")
        return self.values[self._trainer.phase.name]

    def _check(self, trainer: GanTrainer) -> None:
        phases = [phase.name for phase in trainer.phases.phases]
        if isinstance(self.values, dict) and not set(phases) <= self.values.keys():
            raise ValueError(
                f"{self.name}: expected a value for each phase of {', '.join(phases)}, got those of "
                f"{', '.join(self.values)}; add the others"
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
