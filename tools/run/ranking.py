"""Table of finished tasks, best first, from the `metrics.csv` of each prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.io.atomic import atomic_path
from common.metrics import PROTOCOLS, summarise
from tools.run.status import duration
from tools.run.task_list import METRICS_FILE, PREDICT, Task

HIGHER_IS_BETTER = {
    "psnr": True,
    "ssim": True,
    **dict.fromkeys(("mse", "nmse", "nrmse", "mae", "perceptual", "piqe"), False),
}
"""Metrics of a table; any of them can rank."""
KEYS = ("protocol", "file", "slice", "method")
RECONSTRUCTION = "reconstruction"
"""Method of a bundle's result in the file; the others are baselines and further images."""


class Ranking:
    """Tables by protocol; in each the baselines stand first, then the tasks from best to worst.

    Args:
        rank_by: metric that ranks.

    Attributes:
        notes: lines about tasks that are not ranked.
    """

    def __init__(self, rank_by: str) -> None:
        self.rank_by = rank_by
        self.notes: list[str] = []
        self._cases = pd.DataFrame(columns=[*KEYS, "task"])
        self._seconds: dict[str, float] = {}

    def add(self, task: Task, seconds: float) -> None:
        """Read what a finished task has measured; a note says so if there is nothing to rank it by."""
        try:
            cases = self._read(task.folder / PREDICT / METRICS_FILE)
        except (OSError, ValueError) as error:
            self.notes.append(f"{task.name}: done, not ranked: {error}")
            return
        self._cases = (
            pd.concat([self._cases, cases.assign(task=task.name)]) if len(self._cases) else cases.assign(task=task.name)
        )
        self._seconds[task.name] = seconds

    def _read(self, path: Path) -> pd.DataFrame:
        """Read the cases of the protocols that have the ranking metric of a reconstruction."""
        if not path.is_file():
            raise FileNotFoundError(f"no {path}; evaluate with evaluate.json")
        cases = pd.read_csv(path, dtype=str, keep_default_na=False)
        metrics = [metric for metric in HIGHER_IS_BETTER if metric in cases]
        if missing := [key for key in (*KEYS, self.rank_by) if key not in cases]:
            raise ValueError(f"{path} has no column {missing[0]}, only {', '.join(cases.columns)}")
        for metric in metrics:
            try:
                cases[metric] = cases[metric].replace("", "nan").astype(float)
            except ValueError as error:
                raise ValueError(f"{path}: {metric}: {error}; evaluate again") from None
        ours = cases[cases["method"] == RECONSTRUCTION]
        if ours.empty:
            raise ValueError(f"{path} has no row {RECONSTRUCTION}")
        return cases.loc[cases["protocol"].isin(ours["protocol"]), [*KEYS, *metrics]]

    def means(self, task: str) -> str:
        """Return the means of a task by its first protocol, as the end of a line; empty if it is not ranked."""
        cases = self._cases[(self._cases["task"] == task) & (self._cases["method"] == RECONSTRUCTION)]
        if cases.empty:
            return ""
        row = self._row(task, cases[cases["protocol"] == cases["protocol"].iloc[0]])
        return "".join(f", {metric} {row[metric]:#.4g}" for metric in HIGHER_IS_BETTER if metric in row)

    def table(self) -> pd.DataFrame:
        """Return a row for each protocol and task or baseline: means, 95 % intervals, extreme cases, seconds."""
        rows = [row for protocol, cases in self._cases.groupby("protocol", sort=False) for row in self._rows(cases)]
        metrics = [metric for metric in HIGHER_IS_BETTER if any(metric in row for row in rows)]
        columns = [f"{metric}{part}" for metric in metrics for part in ("", "_low", "_high")]
        extremes = ["best_case", "best", "worst_case", "worst"]
        table = pd.DataFrame(rows, columns=["protocol", "rank", "task", "n", *columns, *extremes, "seconds"])
        return table.astype({"rank": "Int64"})

    def _rows(self, cases: pd.DataFrame) -> Iterator[dict[str, Any]]:
        """Yield the rows of one protocol."""
        ours = cases["method"] == RECONSTRUCTION
        for method, found in cases[~ours].groupby("method", sort=False):
            tables = {task: table.drop(columns="task") for task, table in found.groupby("task", sort=False)}
            name = str(method).replace("zero_filled", "zero-filled")
            first = next(iter(tables.values()))
            if all(table.reset_index(drop=True).equals(first.reset_index(drop=True)) for table in tables.values()):
                yield self._row(name, first)
            else:  # tasks on other data or measurements
                yield from (self._row(f"{task}: {name}", table) for task, table in tables.items())
        rows = [self._row(str(task), table) for task, table in cases[ours].groupby("task", sort=False)]
        rows.sort(key=lambda row: (math.isnan(row[self.rank_by]), self._signed(row[self.rank_by])))
        yield from ({**row, "rank": i, "seconds": self._seconds[row["task"]]} for i, row in enumerate(rows, start=1))

    def _row(self, label: str, cases: pd.DataFrame) -> dict[str, Any]:
        row = {"protocol": cases["protocol"].iloc[0], "rank": None, "task": label, "n": len(cases)}
        for metric in HIGHER_IS_BETTER:
            if metric in cases and not cases[metric].isna().all():
                found = summarise(cases[metric].to_numpy(np.float64, copy=True))
                row |= {metric: found.mean, f"{metric}_low": found.low, f"{metric}_high": found.high}
        row.setdefault(self.rank_by, math.nan)
        finite = cases[np.isfinite(cases[self.rank_by])]
        order = finite.iloc[self._signed(finite[self.rank_by]).argsort(kind="stable")]
        for name, position in (("best", 0), ("worst", -1)) if len(order) else ():
            case = order.iloc[position]
            text = Path(case["file"]).name + (f", slice {case['slice']}" if case["slice"] else "")
            row |= {f"{name}_case": text, name: case[self.rank_by]}
        return row

    def _signed(self, value: Any) -> Any:
        """Return a value of which smaller is better."""
        return -value if HIGHER_IS_BETTER[self.rank_by] else value

    def markdown(self) -> str:
        """Return all tables and notes."""
        lines: list[str] = []
        for protocol, rows in self.table().groupby("protocol", sort=False):
            known = f": {PROTOCOLS[str(protocol)].description}" if protocol in PROTOCOLS else ""
            lines += [f"Protocol {protocol}{known}. Means; {self.rank_by} ranks, with its 95 % interval.", ""]
            metrics = [metric for metric in HIGHER_IS_BETTER if metric in rows and not rows[metric].isna().all()]
            header = ["task", "rank", "n", *metrics, f"best {self.rank_by}", "worst", "time"]
            lines += [*_aligned([header, *(self._cells(row, metrics) for _, row in rows.iterrows())]), ""]
        lines += [] if lines else ["No task has values to be ranked by.", ""]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines).rstrip() + "\n"

    def _cells(self, row: pd.Series, metrics: list[str]) -> list[str]:
        means = [_number(row[metric]) for metric in metrics]
        if math.isfinite(row[f"{self.rank_by}_low"]):
            interval = f" [{_number(row[f'{self.rank_by}_low'])}, {_number(row[f'{self.rank_by}_high'])}]"
            means[metrics.index(self.rank_by)] += interval
        extremes = [
            f"{_number(row[name])} ({row[f'{name}_case']})" for name in ("best", "worst") if row[name] == row[name]
        ]
        rank = "" if pd.isna(row["rank"]) else str(row["rank"])
        time = "" if pd.isna(row["seconds"]) else duration(row["seconds"])
        return [row["task"], rank, str(row["n"]), *means, *(extremes or ["", ""]), time]

    def write(self, folder: Path) -> None:
        """Write `ranking.csv`, with six digits and all intervals, and `ranking.md`."""
        with atomic_path(folder / "ranking.md") as temporary:
            temporary.write_text(self.markdown(), encoding="utf-8")
        with atomic_path(folder / "ranking.csv") as temporary:
            self.table().to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:#.4g}"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table that is also read on a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
