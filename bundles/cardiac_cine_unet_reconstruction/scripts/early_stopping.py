"""Handler that ends a training whose validation has stopped getting better."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING

from ignite.engine import Events
from monai.engines.workflow import Workflow
from scripts.epoch_weights import validated

if TYPE_CHECKING:
    from common.engines.gan_trainer import GanTrainer

logger = logging.getLogger("recon")

_KEPT = "early_stopping"  # in trainer.state


class EarlyStopping:
    """Ends the training when ``patience`` validations one after another have not beaten the best by ``min_delta``.

    As Keras's callback of that name: the first validation is the best to begin with, a gain of ``min_delta`` or less
    leaves the best as it is, and a larger one starts the count anew. With the default values an SSIM of 0.80, 0.85,
    0.855, 0.859 ends after the fourth validation, and one of 0.80, 0.806, 0.815 goes on.

    The epoch is completed first: its row, weights and checkpoint are written. Count and best value are kept by
    :class:`~common.engines.checkpoint.TrainingCheckpoint`, so that a killed training stops where an uninterrupted one
    does. One that was stopped is not trained further when it is run again, unless with more patience or none; within
    the same process it is, the count starting anew.

    Not Ignite's handler, which MONAI's wraps: that one needs the trainer at construction, a circle in a configuration;
    its count is not part of the trainer's state; and NaN is its best value for ever.

    Args:
        validator: MONAI evaluator whose metric is watched.
        metric: name of one of its metrics. NaN is no gain.
        patience: number of validations to wait for a better one; ``None`` or 0 never ends the training early.
        min_delta: gain that a validation must exceed.

    Raises:
        ValueError: for a negative ``patience`` or ``min_delta``; at the first validation, if the metric is not one.
    """

    def __init__(
        self, validator: Workflow, metric: str = "ssim", patience: int | None = 2, min_delta: float = 0.01
    ) -> None:
        if (patience is not None and patience < 0) or not min_delta >= 0:
            raise ValueError(
                f"early stopping: expected patience and min_delta of 0 or more, got {patience} and {min_delta}; "
                "patience 0 switches it off"
            )
        self.validator = validator
        self.metric = metric
        self.patience = patience or 0
        self.min_delta = min_delta

    def attach(self, trainer: GanTrainer) -> None:
        """Register on a trainer, before or after the handler that validates."""
        if not self.patience:
            return
        setattr(trainer.state, _KEPT, {"best": -math.inf, "count": 0})
        trainer.state_dict_user_keys.append(_KEPT)
        trainer.add_event_handler(Events.STARTED, self._end_again)
        trainer.add_event_handler(Events.COMPLETED, self._start_anew)
        self.validator.add_event_handler(Events.COMPLETED, partial(self._watch, trainer))

    def _watch(self, trainer: GanTrainer, validator: Workflow) -> None:
        kept, value = getattr(trainer.state, _KEPT), validated(validator, self.metric)
        if value - kept["best"] > self.min_delta:
            kept.update(best=value, count=0)
            return
        kept["count"] += 1
        if kept["count"] >= self.patience:
            logger.info(f"training stops after epoch {trainer.state.epoch}: {self._why(kept)}")
            trainer.terminate()

    def _end_again(self, trainer: GanTrainer) -> None:
        kept = getattr(trainer.state, _KEPT)
        if kept["count"] >= self.patience:
            logger.info(
                f"training was stopped after epoch {trainer.state.epoch}: {self._why(kept)}; raise patience to go on"
            )
            trainer.terminate()

    def _start_anew(self, trainer: GanTrainer) -> None:
        getattr(trainer.state, _KEPT)["count"] = 0

    def _why(self, kept: dict[str, float]) -> str:
        best, count = kept["best"], kept["count"]
        return f"no {self.metric} better than {best:.4g} by more than {self.min_delta:g} in {count} validations"
