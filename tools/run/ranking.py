"""Table of finished tasks, best first, from the `metrics.csv` of each prediction."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from common.io.atomic import atomic_path
from common.metrics import PROTOCOLS
from common.metrics.case import RECONSTRUCTION
from common.metrics.cases import DECIMALS, case_keys, case_name, label, methods_of, metrics_of, read_cases, summarise
from tools.run.status import duration
from tools.tables import markdown_table

HIGHER_IS_BETTER = ("psnr", "ssim")
EXTREMES = ("best_case", "best", "worst_case", "worst")


class Ranking:
    """Tables by protocol; in each the baselines stand first, then the tasks from best to worst.

    Args:
        rank_by: metric that ranks.

    Attributes:
        notes: lines about tasks that are not ranked.
    """

    def __init__(self, rank_by: str) -> None:
        self.rank_by = rank_by
        self.sign = -1 if rank_by in HIGHER_IS_BETTER else 1
        self.notes: list[str] = []
        self._cases: dict[str, dict[str, pd.DataFrame]] = {}  # protocol, task
        self._seconds: dict[str, float] = {}

    def add(self, task: str, path: Path, seconds: float) -> None:
        """Read the case table of a finished task; a note says so if there is nothing to rank it by."""
        self._seconds[task] = seconds
        try:
            found = dict(list(read_cases(path, [self.rank_by]).groupby("protocol", sort=False)))
        except (OSError, ValueError) as error:
            self.notes.append(f"{task}: done, not ranked: {error}")
            return
        ranked = False
        for protocol, cases in found.items():
            if RECONSTRUCTION in methods_of(cases) and self.rank_by in metrics_of(cases):
                self._cases.setdefault(str(protocol), {})[task] = cases
                ranked = True
        if not ranked:
            self.notes.append(f"{task}: done, not ranked: {path} has no {self.rank_by} of a {RECONSTRUCTION}")

    def means(self, task: str) -> str:
        """Return the means of a task by its first protocol, as the end of a line; empty if it is not ranked."""
        cases = next((tasks[task] for tasks in self._cases.values() if task in tasks), None)
        if cases is None:
            return ""
        ours = cases[cases["method"] == RECONSTRUCTION]
        return "".join(f", {metric} {_number(ours[metric].mean(), metric)}" for metric in metrics_of(cases))

    def table(self, protocol: str) -> pd.DataFrame:
        """Return a row for each baseline and task: means, 95 % intervals, extreme cases, seconds."""
        tasks = self._cases[protocol]
        rows = []
        # other methods have one row for all tasks, or one for each on other data or measurements
        for method in dict.fromkeys(method for cases in tasks.values() for method in methods_of(cases)):
            found = {task: cases[cases["method"] == method].reset_index(drop=True) for task, cases in tasks.items()}
            found = {task: cases for task, cases in found.items() if len(cases) and method != RECONSTRUCTION}
            shared = all(cases.equals(next(iter(found.values()))) for cases in found.values())
            for task, cases in list(found.items())[: 1 if shared else None]:
                rows.append(self._row(label(method) if shared else f"{task}: {label(method)}", cases))
        ours = [self._row(task, cases[cases["method"] == RECONSTRUCTION]) for task, cases in tasks.items()]
        ours.sort(key=lambda row: (math.isnan(row[self.rank_by]), self.sign * row[self.rank_by]))
        rows += [{**row, "rank": n, "seconds": self._seconds[row["task"]]} for n, row in enumerate(ours, start=1)]
        metrics = dict.fromkeys(metric for cases in tasks.values() for metric in metrics_of(cases))
        columns = [f"{metric}{part}" for metric in metrics for part in ("", "_low", "_high")]
        table = pd.DataFrame(rows, columns=["rank", "task", "n", *columns, *EXTREMES, "seconds"])
        return table.astype({"rank": "Int64"})

    def _row(self, name: str, cases: pd.DataFrame) -> dict[str, Any]:
        row = {"task": name, "n": len(cases), self.rank_by: math.nan}
        for metric in metrics_of(cases):
            found = summarise(cases[metric], cases["file"])
            row |= {metric: found.mean, f"{metric}_low": found.low, f"{metric}_high": found.high}
        values = zip(map(case_name, case_keys(cases)), cases[self.rank_by], strict=True)
        if finite := sorted((pair for pair in values if math.isfinite(pair[1])), key=lambda pair: self.sign * pair[1]):
            row |= dict(zip(EXTREMES, (*finite[0], *finite[-1]), strict=True))
        return row

    def markdown(self) -> str:
        """Return all tables and notes."""
        lines: list[str] = []
        for protocol in self._cases:
            table = self.table(protocol)
            metrics = [name.removesuffix("_low") for name in table if name.endswith("_low")]
            known = f": {PROTOCOLS[protocol].description}" if protocol in PROTOCOLS else ""
            lines += [f"Protocol {protocol}{known}. Means; {self.rank_by} ranks, with its 95 % interval.", ""]
            header = ["task", "rank", "n", *metrics, f"best {self.rank_by}", "worst", "time"]
            lines += [*markdown_table([header, *(self._cells(row, metrics) for row in table.to_dict("records"))]), ""]
        lines += [] if lines else ["No task has values to be ranked by.", ""]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines).rstrip() + "\n"

    def _cells(self, row: dict[Any, Any], metrics: list[str]) -> list[str]:
        means = [_number(row[metric], metric) for metric in metrics]
        low, high = (_number(row[f"{self.rank_by}_{end}"], self.rank_by) for end in ("low", "high"))
        if low:
            means[metrics.index(self.rank_by)] += f" [{low}, {high}]"
        ends = [(_number(row[end], self.rank_by), row[f"{end}_case"]) for end in ("best", "worst")]
        extremes = [f"{value} ({case})" if value else "" for value, case in ends]
        ranked = not pd.isna(row["rank"])
        rank, time = (str(row["rank"]), duration(row["seconds"])) if ranked else ("", "")
        return [row["task"], rank, str(row["n"]), *means, *extremes, time]

    def write(self, folder: Path) -> None:
        """Write `ranking.csv`, with six digits and all intervals, and `ranking.md`."""
        tables = [self.table(protocol).assign(protocol=protocol) for protocol in self._cases]
        whole = pd.concat(tables) if tables else pd.DataFrame(columns=["rank", "task", "protocol"])
        with atomic_path(folder / "ranking.md") as text, atomic_path(folder / "ranking.csv") as table:
            text.write_text(self.markdown(), encoding="utf-8")
            whole.set_index("protocol").to_csv(table, float_format="%.6g", lineterminator="\n")


def _number(value: float, metric: str) -> str:
    return "" if math.isnan(value) else f"{value:.{DECIMALS.get(metric, 4)}f}"
