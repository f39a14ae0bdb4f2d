"""The table of finished tasks, best first, from the `metrics.csv` that each evaluation has written."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from common.io.atomic import atomic_path
from common.metrics import PROTOCOLS, Summary
from tools.comparison.summary import table
from tools.results import DECIMALS, Case, Values, heading, metrics_of, read_metrics, shown, summaries
from tools.tasks.task_list import HIGHER_IS_BETTER, METRICS_FILE, PREDICT, Task

RECONSTRUCTION = "reconstruction"
"""Row of a bundle's result in its file; the others are baselines and further images."""


@dataclass(frozen=True)
class Row:
    """What a task, or a baseline, has reached by one protocol.

    Attributes:
        label: of the row.
        rank: 1 for the best task; None for a baseline.
        summaries: metric to mean and interval.
        best: the case with the best value of the metric that ranks, and the value; None if no value is finite.
        worst: the case with the worst.
        seconds: of the task; None for a baseline.
    """

    label: str
    rank: int | None
    summaries: dict[str, Summary]
    best: tuple[Case, float] | None
    worst: tuple[Case, float] | None
    seconds: float | None

    @property
    def n(self) -> int:
        """Number of cases."""
        return max(summary.n + summary.n_undefined for summary in self.summaries.values())


class Ranking:
    """Tables by protocol; within each, baselines first, then tasks from best to worst.

    Args:
        rank_by: metric.
    """

    def __init__(self, rank_by: str) -> None:
        self.rank_by = rank_by
        self.notes: list[str] = []
        self._values: dict[str, dict[str, Values]] = {}  # protocol, task
        self._seconds: dict[str, float] = {}

    def add(self, task: Task, seconds: float) -> None:
        """Read what a finished task has measured; a note says so if that is nothing to rank it by."""
        path = task.folder / PREDICT / METRICS_FILE
        if PREDICT not in [run.kind for run in task.runs]:
            self.notes.append(f"{task.name}: done, not ranked: trained only")
            return
        try:
            found = read_metrics(path)
        except (OSError, ValueError) as error:
            self.notes.append(f"{task.name}: done, not ranked: {error}")
            return
        ranked = {
            protocol: values
            for protocol, values in found.items()
            if RECONSTRUCTION in values and self.rank_by in metrics_of(values)
        }
        if not ranked:
            self.notes.append(
                f"{task.name}: done, not ranked: {path} has no {self.rank_by} of a row {RECONSTRUCTION}, only "
                f"{', '.join(dict.fromkeys(metric for values in found.values() for metric in metrics_of(values)))}"
            )
        self._seconds[task.name] = seconds
        for protocol, values in ranked.items():
            self._values.setdefault(protocol, {})[task.name] = values

    def means(self, task: str) -> str:
        """A task's means, as the end of a line, by the first protocol that ranks it; empty if none does."""
        values = next((tasks[task] for tasks in self._values.values() if task in tasks), None)
        if values is None:
            return ""
        found = summaries({RECONSTRUCTION: values[RECONSTRUCTION]})[RECONSTRUCTION]
        return "".join(f", {metric} {_number(summary.mean, metric)}" for metric, summary in found.items())

    def rows(self, protocol: str) -> list[Row]:
        """The rows of a protocol's table."""
        tasks = self._values[protocol]
        ordered = sorted(
            (self._row(name, values[RECONSTRUCTION], self._seconds[name]) for name, values in tasks.items()),
            key=self._order,
        )
        ranked = [replace(row, rank=rank) for rank, row in enumerate(ordered, start=1)]
        return [*self._baselines(tasks), *ranked]

    def _baselines(self, tasks: dict[str, Values]) -> Iterable[Row]:
        """The other rows of the files: one of each name, or one of each task where tasks differ in it."""
        for method in dict.fromkeys(method for values in tasks.values() for method in values):
            found = {name: values[method] for name, values in tasks.items() if method in values}
            if method == RECONSTRUCTION:
                continue
            if all(cases == next(iter(found.values())) for cases in found.values()):
                yield self._row(shown(method), next(iter(found.values())))
            else:
                yield from (self._row(f"{name}: {shown(method)}", cases) for name, cases in found.items())

    def _row(self, label: str, cases: dict[Case, dict[str, float]], seconds: float | None = None) -> Row:
        finite = {case: row[self.rank_by] for case, row in cases.items() if math.isfinite(row[self.rank_by])}
        order = sorted(finite.items(), key=lambda pair: self._signed(pair[1]))
        best, worst = (order[0], order[-1]) if order else (None, None)
        return Row(label, None, summaries({label: cases})[label], best, worst, seconds)

    def _order(self, row: Row) -> tuple[bool, float]:
        mean = row.summaries[self.rank_by].mean
        return math.isnan(mean), self._signed(mean)

    def _signed(self, value: float) -> float:
        """Smaller is better."""
        return -value if HIGHER_IS_BETTER[self.rank_by] else value

    def markdown(self) -> str:
        """All tables and notes."""
        lines: list[str] = []
        for protocol in self._values:
            rows = self.rows(protocol)
            metrics = list(dict.fromkeys(metric for row in rows for metric in row.summaries))
            header = ["task", "rank", "n", *map(heading, metrics), f"best {self.rank_by}", "worst", "time"]
            known = f": {PROTOCOLS[protocol].description}" if protocol in PROTOCOLS else ""
            lines += [f"Protocol {protocol}{known}. Means; {self.rank_by} ranks, with its 95 % interval.", ""]
            lines += [*_aligned(header, [self._cells(row, metrics) for row in rows]), ""]
        lines += [] if self._values else ["No task has values to be ranked by.", ""]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines).rstrip() + "\n"

    def _cells(self, row: Row, metrics: Sequence[str]) -> list[str]:
        means = []
        for metric in metrics:
            summary = row.summaries.get(metric)
            means.append("" if summary is None else _number(summary.mean, metric))
            if summary is not None and metric == self.rank_by and math.isfinite(summary.low):
                means[-1] += f" [{_number(summary.low, metric)}, {_number(summary.high, metric)}]"
        extremes = [f"{_number(one[1], self.rank_by)} ({one[0]})" if one else "" for one in (row.best, row.worst)]
        return [row.label, str(row.rank or ""), str(row.n), *means, *extremes, _time(row.seconds)]

    def write(self, folder: Path) -> None:
        """Write `ranking.csv`, with the numbers in full, and `ranking.md`."""
        with atomic_path(folder / "ranking.md") as temporary:
            temporary.write_text(self.markdown(), encoding="utf-8")
        tables = {protocol: self.rows(protocol) for protocol in self._values}
        metrics = list(dict.fromkeys(metric for rows in tables.values() for row in rows for metric in row.summaries))
        columns = [f"{metric}{part}" for metric in metrics for part in ("", "_low", "_high")]
        extremes = ["best_case", "best", "worst_case", "worst"]
        with (
            atomic_path(folder / "ranking.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["protocol", "rank", "task", "n", *columns, *extremes, "seconds"])
            for protocol, rows in tables.items():
                for row in rows:
                    writer.writerow([protocol, row.rank or "", row.label, row.n, *_numbers(row, metrics)])


def _numbers(row: Row, metrics: Sequence[str]) -> list[str]:
    found: list[str] = []
    for metric in metrics:
        summary = row.summaries.get(metric)
        found += ["", "", ""] if summary is None else [f"{x:.6g}" for x in (summary.mean, summary.low, summary.high)]
    for extreme in (row.best, row.worst):
        found += ["", ""] if extreme is None else [str(extreme[0]), f"{extreme[1]:.6g}"]
    return [*found, "" if row.seconds is None else f"{row.seconds:.1f}"]


def _number(value: float, metric: str) -> str:
    return f"{value:.{DECIMALS[metric]}f}" if metric in DECIMALS else f"{value:.4g}"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table that is also read on a terminal."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (header, *rows)]
    return table(padded[0], padded[1:])
