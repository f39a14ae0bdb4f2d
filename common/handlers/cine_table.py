"""Ignite handler: the metrics of each evaluated cine series and of each of its frames, in CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import ignite.distributed as idist
from common.handlers.case_table import CaseTableHandler
from common.metrics import CaseRow, Protocol, get_protocol, series_without_network, write_csv
from common.metrics.protocols import series_frames
from ignite.engine import Engine
from torch import Tensor

_Place = tuple[str, int, str]  # path, slice, method


class CineTable(CaseTableHandler):
    """Write the metrics of every series, rows ``aliased`` and ``reconstruction``, and log their table.

    Of measured k-space there is a row ``view_shared`` too, what can be had without a network, see
    :func:`~common.operators.series.view_shared`.

    Besides ``metrics.csv``, with a line per series and method, ``metrics_per_frame.csv`` has one per frame, by the
    protocol ``cine_frame``. The table that is logged has means with 95 % bootstrap intervals over series, and the gain
    over the aliased series.

    For an evaluator that decollates (MONAI's default). Per item, ``engine.state.output`` has "image" (what the network
    got: aliased magnitudes, or a measurement, see :func:`common.metrics.aliased_series`), "pred" and "label",
    ``(1 or 2, height, width, frames)``, and ``engine.state.batch`` has "path" and "slice". Items whose label is None
    are left out.

    Args:
        output_dir: where the files go; made if need be.
        protocols: protocols that give a value per series, or their names.
    """

    baseline = "aliased"

    def __init__(self, output_dir: str | Path, protocols: Sequence[str | Protocol] = ("cine_series",)) -> None:
        super().__init__(output_dir, protocols)
        self.frames_path = self.path.with_name("metrics_per_frame.csv")
        self.frame_protocol = get_protocol("cine_frame")
        self._frames: dict[_Place, dict[str, list[float]]] = {}

    def _start(self, engine: Engine) -> None:
        super()._start(engine)
        self._frames = {}

    def _baselines(self, measured: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {name: series[:, 0] for name, series in series_without_network(measured).items()}

    def _add_rows(self, paths: list[str], slices: list[int], rows: dict[str, Tensor], target: Tensor) -> None:
        super()._add_rows(paths, slices, rows, target)
        for method, series in rows.items():
            values = self.frame_protocol.evaluate(series_frames(series), series_frames(target))
            columns = {metric: value.unflatten(0, (len(paths), -1)).tolist() for metric, value in values.items()}
            for position, (path, index) in enumerate(zip(paths, slices, strict=True)):
                self._frames[path, index, method] = {metric: column[position] for metric, column in columns.items()}

    def _finish(self, engine: Engine) -> None:
        super()._finish(engine)
        parts = cast("list[dict[_Place, dict[str, list[float]]]]", idist.all_gather(self._frames))
        frames = {place: values for part in reversed(parts) for place, values in part.items()}
        if frames and idist.get_rank() == 0:
            write_csv(self.frames_path, self._frame_rows(frames))

    def _frame_rows(self, frames: dict[_Place, dict[str, list[float]]]) -> list[CaseRow]:
        """Ordered by file, slice and frame, the baseline first."""
        rows = [
            CaseRow(self.frame_protocol.name, path, index, method, dict(zip(series, values, strict=True)), frame)
            for (path, index, method), series in frames.items()
            for frame, values in enumerate(zip(*series.values(), strict=True))
        ]
        return sorted(rows, key=lambda row: (row.path, row.slice_index, row.frame, row.method != self.baseline))
