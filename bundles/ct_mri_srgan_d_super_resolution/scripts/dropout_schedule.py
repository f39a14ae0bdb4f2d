"""Dropout of a discriminator, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ignite.engine import Events

if TYPE_CHECKING:
    from common.engines.gan_trainer import GanTrainer


class HasDropout(Protocol):
    """A network whose dropout rates can be lowered."""

    def set_dropout(self, factor: float) -> None:
        """Change the rates to ``factor`` times those the network was built with."""


class DropoutSchedule:
    """Sets a discriminator's dropout at every epoch, a resumed one too: the schedule is a function of the epoch.

    SRGAN-D holds its discriminator back by dropout and withdraws it once the training is stable.

    Args:
        discriminator: whose dropout is set.
        factors: for phases by name the factor of the rates it was built with, in [0, 1]: a number, or ``[first,
            last]`` for a linear change from the phase's first epoch to its last. Phases without one have 1.

    Raises:
        ValueError: at a training's start, if a name is not of one of its phases; for factors outside [0, 1].
    """

    def __init__(self, discriminator: HasDropout, factors: Mapping[str, float | Sequence[float]]) -> None:
        self.discriminator = discriminator
        self.factors = {name: _first_and_last(name, factor) for name, factor in factors.items()}

    def attach(self, trainer: GanTrainer) -> None:
        """Register on a trainer."""
        trainer.add_event_handler(Events.STARTED, self._check)
        trainer.add_event_handler(Events.EPOCH_STARTED, self._set)

    def _check(self, trainer: GanTrainer) -> None:
        phases = trainer.phases.names
        if unknown := [name for name in self.factors if name not in phases]:
            raise ValueError(f"dropout: expected names of phases ({', '.join(phases)}), got {unknown[0]!r}; correct it")

    def _set(self, trainer: GanTrainer) -> None:
        phase, done = trainer.phases.at(trainer.state.epoch - 1)
        first, last = self.factors.get(phase.name, (1.0, 1.0))
        progress = min(done / max(phase.epochs - 1, 1), 1.0)
        self.discriminator.set_dropout(first + (last - first) * progress)


def _first_and_last(name: str, factor: float | Sequence[float]) -> tuple[float, float]:
    both = tuple(factor) if isinstance(factor, Sequence) else (factor, factor)
    if len(both) != 2 or not all(0 <= one <= 1 for one in both):
        raise ValueError(f"dropout of phase {name!r}: expected a factor in [0, 1], or [first, last], got {factor}")
    return both
