"""Base of reports on volumes: values from all processes, a CSV file, a line in the log."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
from common.metrics.cases import case_table, write_cases
from ignite.engine import Events
from monai.engines.workflow import Workflow

logger = logging.getLogger("recon")


class VolumeReport(ABC):
    """Handler of an evaluator with values for each volume, which are written at the end and summed up in a line.

    Args:
        output_dir: folder of the file; made if need be.
        filename: name of the CSV file, with a row per volume and method. Not written where there is no value.
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
    def _rows(self) -> list[dict[str, Any]]:
        """Rows of a case table, from this process."""

    @abstractmethod
    def _line(self, rows: list[dict[str, Any]]) -> str:
        """Text for the log about the rows of all processes; perhaps there are none."""

    def _finish(self, engine: Workflow) -> None:
        parts = cast("list[list[dict[str, Any]]]", idist.all_gather(self._rows()))
        if idist.get_rank() > 0:
            return
        rows = sorted((row for part in parts for row in part), key=lambda row: str(row["file"]))
        if rows:
            write_cases(self.path, case_table(rows))
        logger.info("%s", self._line(rows))
