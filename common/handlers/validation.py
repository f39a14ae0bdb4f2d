"""Handler that chooses the epochs that are validated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ignite.engine import Events
from monai.engines import Evaluator
from monai.handlers import ValidationHandler

if TYPE_CHECKING:
    from common.engines.gan_trainer import GanTrainer


class Validation(ValidationHandler):
    """MONAI's ``ValidationHandler`` by epochs, which also validates the last epoch of each phase.

    So no phase ends without its weights having been looked at, however long the interval is.

    Args:
        validator: MONAI evaluator.
        interval: epochs from one validation to the next.
    """

    def __init__(self, validator: Evaluator, interval: int = 1) -> None:
        super().__init__(interval=interval, validator=validator)

    def attach(self, engine: GanTrainer) -> None:  # type: ignore[override]
        """Register on a trainer."""

        def due(engine: GanTrainer, epoch: int) -> bool:
            last = epoch == engine.state.max_epochs
            return last or epoch % self.interval == 0 or engine.phases.at(epoch - 1)[0] != engine.phases.at(epoch)[0]

        engine.add_event_handler(Events.EPOCH_COMPLETED(event_filter=due), self)
