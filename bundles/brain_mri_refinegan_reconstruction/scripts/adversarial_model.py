"""Handler that keeps the weights of the last adversarial epoch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from common.handlers import save_weights
from ignite.engine import Events
from monai.engines import Evaluator
from torch import nn

if TYPE_CHECKING:
    from common.engines.gan_trainer import GanTrainer

logger = logging.getLogger("recon")


class AdversarialModel:
    """Keep the weights after the last adversarial epoch where they cost little of the key metric.

    :class:`~common.handlers.BestModel` keeps the best weights by the key metric, such as the PSNR, which an adversarial
    phase does not raise: its weights would never be kept. Attach after :class:`Validation`.

    Args:
        validator: MONAI evaluator with a key metric, of which more is better.
        network: network whose weights are kept, commonly the moving average.
        path: file, as of ``BestModel``; replaced atomically.
        tolerance: largest loss of the key metric, from the best validation, in its unit.
        half: True stores floating-point weights as float16.
    """

    def __init__(
        self, validator: Evaluator, network: nn.Module, path: str | Path, tolerance: float = 0.1, half: bool = False
    ) -> None:
        self.validator = validator
        self.network = network
        self.path = Path(path)
        self.tolerance = tolerance
        self.half = half

    def attach(self, engine: GanTrainer) -> None:
        """Register on a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: GanTrainer) -> None:
        """Write the weights, if this was the last epoch and an adversarial one."""
        if engine.state.rank != 0 or engine.state.epoch != engine.state.max_epochs or not engine.phase.adversarial:
            return
        state = self.validator.state
        value, best = float(state.metrics[state.key_metric_name]), float(state.best_metric)
        kept = value >= best - self.tolerance
        if kept:
            save_weights(self.network, self.path, self.half)
        logger.info(
            f"{self.path.name}: {'kept' if kept else 'not replaced by'} the weights after the adversarial phase, "
            f"{state.key_metric_name} {value:.4g}; best before {best:.4g}, tolerance {self.tolerance:g}"
        )
