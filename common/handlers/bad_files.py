"""Ignite handler: files that could not be read, reported when the others are done."""

from __future__ import annotations

from common.data.loading import CaseBatchSampler
from common.errors import joined_errors
from common.inferers.group import Group
from ignite.engine import Events
from monai.engines.workflow import Workflow


class BadFiles:
    """End an evaluator with one line about the files that its loader left out.

    For a loader of :func:`~common.data.loading.evaluation_loader` with ``skip_bad_files``; with another one nothing
    happens. The last handler of the evaluator, so that the others finish what they have of the good files.

    Raises:
        DataError: when the evaluator has ended, or before the other handlers finish if there is no good file.
    """

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.DATALOADER_STOP_ITERATION, self._end_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report, only_if_empty=True)
        engine.add_event_handler(Events.COMPLETED, self._report, only_if_empty=False)

    def _end_epoch(self, engine: Workflow) -> None:
        engine.terminate_epoch()  # fewer batches than announced; Ignite would begin the loader anew

    def _report(self, engine: Workflow, only_if_empty: bool) -> None:
        sampler = getattr(engine.data_loader, "batch_sampler", None)
        own = sampler.errors if isinstance(sampler, CaseBatchSampler) else []
        parts = Group(shared=True).gather((engine.state.iteration, own))
        errors = [error for _, part in parts for error in part]
        if errors and not (only_if_empty and any(n for n, _ in parts)):
            raise joined_errors(errors, "could not be read")
