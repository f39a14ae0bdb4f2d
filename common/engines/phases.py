"""Phases of a training: what changes at which epoch, as data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DECAYS = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs trained with one set of weights, learning rates and parts.

    Args:
        name: shown in logs.
        epochs: length; a phase of 0 is left out.
        adversarial: whether the discriminator is trained and judges; a pixel phase has it off.
        weights: loss weights that differ from the trainer's in this phase.
        learning_rate: the generator's at the start of the phase; ``None`` keeps the optimizer's own.
        discriminator_learning_rate: the discriminator's, likewise.
        decay: ``constant``, ``linear`` or ``cosine`` fall of both rates over the phase.
        final_fraction: fraction of the rate left at the end of the phase.
        warmup_epochs: epochs (may be a fraction) of linear rise from zero at the start of the phase.
    """

    name: str
    epochs: int
    adversarial: bool = True
    weights: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    discriminator_learning_rate: float | None = None
    decay: str = "constant"
    final_fraction: float = 0.0
    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ValueError(f"phase {self.name!r}: epochs must be at least 0, got {self.epochs}")
        if self.decay not in DECAYS:
            raise ValueError(f"phase {self.name!r}: decay must be one of {', '.join(DECAYS)}, got {self.decay!r}")

    def rate_factor(self, epochs_done: float) -> float:
        """Multiplier of the learning rates, ``epochs_done`` (a fraction within an epoch) after the phase began."""
        if epochs_done < self.warmup_epochs:
            return epochs_done / self.warmup_epochs
        progress = min(epochs_done / self.epochs, 1.0)
        if self.decay == "linear":
            return 1 - (1 - self.final_fraction) * progress
        if self.decay == "cosine":
            return self.final_fraction + (1 - self.final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))
        return 1.0


class PhaseSchedule:
    """Phases one after another; the last one lasts as long as the training does.

    Args:
        phases: in order, at least one with epochs.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.phases = tuple(phase for phase in phases if phase.epochs > 0)
        if not self.phases:
            raise ValueError("expected at least one phase of one epoch, got none; give Phase(name='train', epochs=...)")

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def at(self, epochs_done: float) -> tuple[Phase, float]:
        """The phase after so many epochs of training, and the epochs done in it."""
        for phase in self.phases[:-1]:
            if epochs_done < phase.epochs:
                return phase, epochs_done
            epochs_done -= phase.epochs
        return self.phases[-1], epochs_done
