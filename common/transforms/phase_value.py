"""Options whose value depends on the phase of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ignite.engine import Events


class PhasedTrainer(Protocol):
    """Interface of a trainer with phases, such as :class:`~common.engines.GanTrainer`.

    Attributes:
        phases: object whose attribute ``phases`` lists all phases, each with a ``name``.
    """

    phases: Any

    @property
    def phase(self) -> Any:
        """Phase of the current iteration."""

    def add_event_handler(self, event_name: Any, handler: Callable, *args: Any, **kwargs: Any) -> Any:
        """Register a handler, as Ignite's engines do."""


class PhaseValue:
    """An option that may change with the phases of a training, such as the side of patches.

    Args:
        value: one for all phases, or one by name for each phase of the trainer this is attached to.
        name: name of the option, for error messages.
    """

    def __init__(self, value: int | Mapping[str, int] | None, name: str = "patch_size") -> None:
        self.values = dict(value) if isinstance(value, Mapping) else value
        self.name = name
        self._trainer: PhasedTrainer | None = None

    def attach(self, trainer: PhasedTrainer) -> None:
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

    def _check(self, trainer: PhasedTrainer) -> None:
        phases = [phase.name for phase in trainer.phases.phases]
        if isinstance(self.values, dict) and not set(phases) <= self.values.keys():
            raise ValueError(
                f"{self.name}: expected a value for each phase of {', '.join(phases)}, got those of "
                f"{', '.join(self.values)}; add the others"
            )
