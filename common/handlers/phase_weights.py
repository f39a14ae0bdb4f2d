"""Handler that keeps the newest weights, and those of each phase's end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from common.handlers.best_model import save_weights
from ignite.engine import Events
from torch import nn

if TYPE_CHECKING:
    from common.engines.gan_trainer import GanTrainer


class PhaseWeights:
    """Writes a plain state dict at the end of every epoch, and a second one at the end of every phase.

    For trainings that select nothing by a metric: a GAN's result scores lower in PSNR than that of the pixel phase
    before it, so that the best by PSNR would be the one without the GAN. No validation image has then had a say in
    which weights are kept.

    Args:
        network: network whose weights are kept, commonly the moving average.
        path: file of the newest, e.g. ``model.pt``, replaced atomically; a phase's is called ``model_<phase>.pt``.
        half: store floating-point weights as float16, half the size.
    """

    def __init__(self, network: nn.Module, path: str | Path, half: bool = False) -> None:
        self.network = network
        self.path = Path(path)
        self.half = half

    def attach(self, trainer: GanTrainer) -> None:
        """Register on a trainer; only the first process of a group writes."""
        if trainer.state.rank == 0:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _save(self, trainer: GanTrainer) -> None:
        save_weights(self.network, self.path, self.half)
        phase, _ = trainer.phases.at(trainer.state.epoch - 1)
        following, _ = trainer.phases.at(trainer.state.epoch)
        if following is not phase or trainer.state.epoch == trainer.phases.epochs:
            save_weights(self.network, self.path.with_stem(f"{self.path.stem}_{phase.name}"), self.half)
