"""A progress bar with the time to go, where somebody is watching."""

import logging
import sys

from ignite.engine import Events
from ignite.handlers import ProgressBar
from monai.engines.workflow import Workflow

logger = logging.getLogger("recon")


class Progress:
    """A bar on a terminal; elsewhere a line every tenth of the run. Only in the first process."""

    def attach(self, engine: Workflow) -> None:
        """Register on an engine."""
        if engine.state.rank != 0:
            return
        if sys.stderr.isatty():
            ProgressBar(persist=False).attach(engine)
        else:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._line)

    def _line(self, engine: Workflow) -> None:
        done, total = engine.state.iteration, engine.state.epoch_length
        if total and done * 10 // total > (done - 1) * 10 // total:
            logger.info(f"{done} of {total} batches")
