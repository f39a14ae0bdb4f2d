"""Ignite handler: the metrics of each evaluated cine series and of each of its frames, in CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
from common.handlers.case_table import CaseTableHandler
from common.metrics.case import Case
from common.metrics.cases import case_table, write_cases
from common.metrics.protocols import Protocol, get_protocol, series_frames
from ignite.engine import Engine

_Place = tuple[str, int, str]  # path, slice, method


class CineTable(CaseTableHandler):
    """Write the metrics of every series, rows ``aliased`` and ``reconstruction``, and log their table.

    Of measured k-space there is a row ``view_shared`` too, which needs no network, see
    :func:`~common.operators.series.view_shared`.

    Besides ``metrics.csv``, with a line per series and method, ``metrics_per_frame.csv`` has one per frame, by the
    protocol ``cine_frame``. The table that is logged has means with 95 % bootstrap intervals over series, and the gain
    over the aliased series. Items without a label are left out, see :mod:`common.handlers.cases`.

    Args:
        output_dir: folder of the files; made if need be.
        protocols: protocols that give a value per series, or their names.
    """

    def __init__(self, output_dir: str | Path, protocols: Sequence[str | Protocol] = ("cine_series",)) -> None:
        super().__init__(output_dir, protocols, baseline="aliased")
        self.frames_path = self.path.with_name("metrics_per_frame.csv")
        self.frame_protocol = get_protocol("cine_frame")
        self._frames: dict[_Place, dict[str, list[float]]] = {}

    def _start(self, engine: Engine) -> None:
        super()._start(engine)
        self._frames = {}

    def _add(self, case: Case) -> None:
        super()._add(case)
        assert case.target is not None  # for the type checker
        target = series_frames(case.target[None])
        for method, series in case.methods.items():
            values = self.frame_protocol.evaluate(series_frames(series[None]), target)
            place = case.path, case.slice_index, method
            self._frames[place] = {metric: value.tolist() for metric, value in values.items()}

    def _finish(self, engine: Engine) -> None:
        super()._finish(engine)
        parts = cast("list[dict[_Place, dict[str, list[float]]]]", idist.all_gather(self._frames))
        frames = {place: values for part in reversed(parts) for place, values in part.items()}
        if frames and idist.get_rank() == 0:
            write_cases(self.frames_path, case_table(self._rows(frames)))

    def _rows(self, frames: dict[_Place, dict[str, list[float]]]) -> list[dict[str, Any]]:
        """Ordered by file, slice and frame, the baseline first."""
        rows = [
            {"protocol": self.frame_protocol.name, "file": path, "slice": index, "frame": frame, "method": method}
            | dict(zip(series, values, strict=True))
            for (path, index, method), series in frames.items()
            for frame, values in enumerate(zip(*series.values(), strict=True))
        ]
        return sorted(rows, key=lambda row: (row["file"], row["slice"], row["frame"], row["method"] != self.baseline))
