"""What reports on volumes have in common: values from all processes, a CSV file, a line in the log."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import cast

import ignite.distributed as idist
from common.metrics.report import CaseRow, write_csv
from ignite.engine import Events
from monai.engines.workflow import Workflow

logger = logging.getLogger("recon")


class VolumeReport(ABC):
    """A handler of an evaluator with values for each volume: at the end they are written, and summed up in a line.

    Args:
        output_dir: where the file goes; made if need be.
        filename: of the CSV file, with a row per volume and method. Not written where there is no value.
    """

    def __init__(self, output_dir: str | Path, filename: str) -> None:
        self.path = Path(output_dir) / filename

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    @abstractmethod
    def _start(self, engine: Workflow) -> None:
        """Forget the run before."""

    @abstractmethod
    def _rows(self) -> list[CaseRow]:
        """The values of this process."""

    @abstractmethod
    def _line(self, rows: list[CaseRow]) -> str:
        """What is logged, of the rows of all processes; perhaps there are none."""

    def _finish(self, engine: Workflow) -> None:
        parts = cast("list[list[CaseRow]]", idist.all_gather(self._rows()))
        if idist.get_rank() > 0:
            return
        rows = sorted((row for part in parts for row in part), key=lambda row: row.path)
        if rows:
            write_csv(self.path, rows)
        logger.info("%s", self._line(rows))
