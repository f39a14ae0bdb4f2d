"""The record of a comparison, and its table as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.io.atomic import atomic_path
from common.metrics import PROTOCOLS
from common.metrics.cases import (
    by_method,
    differences,
    format_summary,
    heading,
    label,
    metrics_of,
    n_cases,
    summaries,
    unit_of,
)


@dataclass(frozen=True)
class Comparison:
    """Record of a comparison, in `comparison.json` of its folder.

    Attributes:
        dataset_dir: folder of the data.
        reference: method that the others are compared with.
        options: changed keys of the bundles' configurations, and their values.
        methods: label to a description: "seconds", of a bundle also "bundle", "version", and "variant" and
            "checkpoint" if given.
        seconds: duration of the whole comparison.
    """

    dataset_dir: str
    reference: str
    options: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    seconds: float

    FILE = "comparison.json"

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        with atomic_path(folder / self.FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2, default=str) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Comparison | None:
        """Read it from a folder; None if that is not one of a comparison.

        Raises:
            ValueError: the file is not what `write` writes.
        """
        path = folder / cls.FILE
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: expected the description of a comparison, got {error}; compare again") from None


def markdown(cases: pd.DataFrame, reference: str, notes: Sequence[str] = ()) -> str:
    """A row per method, and a row per method's paired difference to the reference.

    Args:
        cases: case table of one protocol.
        reference: one of its methods.
        notes: lines about further columns and about methods.
    """
    unit = unit_of(cases["protocol"].iloc[0])
    lines = [description(cases, notes), "", *_table("method", summaries(cases), metrics_of(cases))]
    found = differences(cases, reference)
    if len(found):
        title = f"minus {label(reference)}, {unit} by {unit}"
        lines += ["", *_table(title, found, metrics_of(cases), sign="+")]
    return "\n".join(lines) + "\n"


def description(cases: pd.DataFrame, notes: Sequence[str] = ()) -> str:
    """Protocol of the numbers, how many values they are of, and notes."""
    protocol, n = str(cases["protocol"].iloc[0]), n_cases(cases)
    return "\n\n".join(
        [
            " ".join([f"Protocol {protocol}: {PROTOCOLS[protocol].description}.", *notes]),
            f"{n} {unit_of(protocol, n)}; mean ± standard deviation [95 % bootstrap interval of the mean].",
        ]
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: its first column left, the others right."""
    lines = [
        header,
        ["---"] + ["---:"] * (len(header) - 1),
        *([cell.replace("|", "\\|") for cell in row] for row in rows),
    ]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _table(title: str, found: pd.DataFrame, metrics: Sequence[str], sign: str = "") -> list[str]:
    cells = [
        [label(method), *(" ".join(format_summary(rows.loc[metric], metric, sign)) for metric in metrics)]
        for method, rows in by_method(found)
    ]
    return table([title, *map(heading, metrics)], cells)
