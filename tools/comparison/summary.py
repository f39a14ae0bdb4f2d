"""The table of a comparison as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.metrics import PROTOCOLS, Summary
from tools.results import Values, differences, format_summary, heading, metrics_of, shown, summaries, unit_of


def markdown(protocol: str, values: Values, reference: str, notes: Sequence[str] = ()) -> str:
    """A row per method, and a row per method's paired difference to the reference.

    Args:
        protocol: name of the protocol of the values.
        values: of all methods.
        reference: one of them.
        notes: lines about further columns and about methods.
    """
    metrics, unit = metrics_of(values), unit_of(protocol)
    lines = [description(protocol, values, notes), "", *_table("method", summaries(values), metrics)]
    if found := differences(values, reference):
        title = f"minus {shown(reference)}, {unit} by {unit}"
        lines += ["", *_table(title, found, metrics, sign="+")]
    return "\n".join(lines) + "\n"


def description(protocol: str, values: Values, notes: Sequence[str] = ()) -> str:
    """What the numbers are: the protocol, how many values, and notes."""
    n = len({case for cases in values.values() for case in cases})
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


def _table(title: str, rows: Mapping[str, Mapping[str, Summary]], metrics: Sequence[str], sign: str = "") -> list[str]:
    cells = [
        [shown(label), *(" ".join(format_summary(row[metric], metric, sign)) for metric in metrics)]
        for label, row in rows.items()
    ]
    return table([title, *map(heading, metrics)], cells)
