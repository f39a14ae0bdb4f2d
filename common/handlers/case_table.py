"""Ignite handler: the metrics of each evaluated slice, beside those of its zero-filled image, in a CSV file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist
from common.handlers.cases import MakeCase, cases_of, measured_case
from common.metrics.case import Case
from common.metrics.collector import CaseCollector
from common.metrics.protocols import Protocol, get_protocol
from ignite.engine import Engine, Events


class CaseTableHandler:
    """Write the metrics of every slice, rows ``zero_filled`` and ``reconstruction``, and log their table.

    Samples of a reconstruction have a row ``sample``. Items without a label are left out. See
    :mod:`common.handlers.cases` for what the evaluator's items hold.

    Args:
        output_dir: folder of the file; made if need be.
        protocols: protocols or their names; those of volumes need the slices file by file, see ``CaseCollector``.
        filename: name of the CSV file, all protocols in one. With no label in the data it is not written.
        make: function that makes a case of an item.
        baseline: row that the others are compared with.
        methods: rows to write; None for all methods of the cases.
    """

    def __init__(
        self,
        output_dir: str | Path,
        protocols: Sequence[str | Protocol] = ("magnitude_slice",),
        filename: str = "metrics.csv",
        make: MakeCase = measured_case,
        baseline: str = "zero_filled",
        methods: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(output_dir) / filename
        chosen = [protocols] if isinstance(protocols, str) else protocols
        self.protocols = [get_protocol(one) if isinstance(one, str) else one for one in chosen]
        self.make = make
        self.baseline = baseline
        self.methods = methods
        self.collector = CaseCollector(self.protocols, baseline, methods)
        self._logger = logging.getLogger("recon")

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.collector = CaseCollector(self.protocols, self.baseline, self.methods)

    def _add_batch(self, engine: Engine) -> None:
        cases = cases_of(engine, self.make)
        for position, with_target in enumerate(cases.with_target):
            if with_target:
                self._add(cases[position])

    def _add(self, case: Case) -> None:
        self.collector.add(case)

    def _finish(self, engine: Engine) -> None:
        self.collector.gather()
        if idist.get_rank() > 0:
            return
        if not len(self.collector):
            self._logger.info("no case has a target image, so %s is not written", self.path.name)
            return
        self.collector.write(self.path)
        for text in self.collector.format():
            self._logger.info("%s", text)
        self._logger.info("a value per case is in %s", self.path)
