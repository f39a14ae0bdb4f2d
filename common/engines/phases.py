"""Phases of a training: weights, learning rates and parts by epoch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DECAYS = ("constant", "linear", "cosine", "step")


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs trained with one set of weights, learning rates and parts.

    Args:
        name: name in logs and in options by phase.
        epochs: number of epochs; a phase of 0 is left out.
        adversarial: True if the discriminator is trained and judges; a pixel phase has it off.
        weights: loss weights that differ from the trainer's in this phase.
        learning_rate: the generator's at the start of the phase, of its optimizer's first group of parameters; the
            others keep their ratio to it. ``None`` keeps the optimizer's own.
        discriminator_learning_rate: the discriminator's, likewise.
        decay: ``constant``, ``linear`` or ``cosine`` fall of both rates over the phase, or ``step``: ``step_factor``
            times the rate every ``step_epochs``.
        final_fraction: fraction of the rate left at the end of the phase, of a ``linear`` or ``cosine`` fall.
        step_epochs: epochs between two steps of the rate; needed for ``step`` alone.
        step_factor: factor of the rate at a step.
        warmup_epochs: epochs (may be a fraction) of linear rise from zero at the start of the phase.
        reset_optimizers: True if the phase begins with empty moments of the optimizers.
        same_schedule: True if the schedule of the phase before goes on: warm-up and decay, as that phase has them, span
            both. Its own ``decay``, ``warmup_epochs`` and learning rates are not used.

    Raises:
        ValueError: for negative epochs, an unknown decay, or ``step_epochs`` that do not fit it.
    """

    name: str
    epochs: int
    adversarial: bool = True
    weights: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    discriminator_learning_rate: float | None = None
    decay: str = "constant"
    final_fraction: float = 0.0
    step_epochs: float | None = None
    step_factor: float = 0.1
    warmup_epochs: float = 0.0
    reset_optimizers: bool = False
    same_schedule: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ValueError(f"phase {self.name!r}: epochs must be at least 0, got {self.epochs}")
        if self.decay not in DECAYS:
            raise ValueError(f"phase {self.name!r}: decay must be one of {', '.join(DECAYS)}, got {self.decay!r}")
        steps = self.decay == "step"
        fits = not steps if self.step_epochs is None else steps and self.step_epochs > 0
        if not fits:
            raise ValueError(
                f"phase {self.name!r}: expected step_epochs above 0 with decay 'step', and None without, got "
                f"{self.step_epochs} with {self.decay!r}"
            )

    def rate_factor(self, epochs_done: float, epochs: float | None = None) -> float:
        """Return the multiplier of the learning rates.

        Args:
            epochs_done: epochs since the schedule began, a fraction within an epoch.
            epochs: length of the schedule; ``None`` for that of the phase.
        """
        if epochs_done < self.warmup_epochs:
            return epochs_done / self.warmup_epochs
        if self.step_epochs is not None:
            return self.step_factor ** (epochs_done // self.step_epochs)
        progress = min(epochs_done / (self.epochs if epochs is None else epochs), 1.0)
        if self.decay == "linear":
            return 1 - (1 - self.final_fraction) * progress
        if self.decay == "cosine":
            return self.final_fraction + (1 - self.final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))
        return 1.0


class PhaseSchedule:
    """Phases one after another; the last one lasts as long as the training does.

    Args:
        phases: phases in order, at least one with epochs.

    Attributes:
        phases: the phases with epochs.
        names: names of all phases, those without epochs too.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.names = tuple(phase.name for phase in phases)
        self.phases = tuple(phase for phase in phases if phase.epochs > 0)
        if not self.phases:
            raise ValueError("expected at least one phase of one epoch, got none; give Phase(name='train', epochs=...)")

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def at(self, epochs_done: float) -> tuple[Phase, float]:
        """Return the phase after so many epochs of training, and the epochs done in it."""
        for phase in self.phases[:-1]:
            if epochs_done < phase.epochs:
                return phase, epochs_done
            epochs_done -= phase.epochs
        return self.phases[-1], epochs_done

    def rate(self, epochs_done: float) -> tuple[float, Phase]:
        """Return the multiplier of the learning rates after so many epochs, and the phase whose schedule gives it.

        Phases of ``same_schedule`` belong to the one before them.
        """
        runs: list[list[Phase]] = []
        for phase in self.phases:
            if phase.same_schedule and runs:
                runs[-1].append(phase)
            else:
                runs.append([phase])
        for run in runs:
            epochs = sum(phase.epochs for phase in run)
            if epochs_done < epochs or run is runs[-1]:
                return run[0].rate_factor(epochs_done, epochs), run[0]
            epochs_done -= epochs
        raise AssertionError("a schedule has at least one phase")
