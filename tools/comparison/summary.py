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
        notes: lines about further columns.
    """
    metrics = metrics_of(values)
    n = len({case for cases in values.values() for case in cases})
    unit = unit_of(protocol)
    lines = [
        " ".join([f"Protocol {protocol}: {PROTOCOLS[protocol].description}.", *notes]),
        "",
        f"{n} {unit}{'s' if n > 1 else ''}; mean ± standard deviation [95 % bootstrap interval of the mean].",
        "",
        *_table("method", summaries(values), metrics),
    ]
    if found := differences(values, reference):
        title = f"minus {shown(reference)}, {unit} by {unit}"
        lines += ["", *_table(title, found, metrics, sign="+")]
    return "\n".join(lines) + "\n"


def _table(title: str, rows: Mapping[str, Mapping[str, Summary]], metrics: Sequence[str], sign: str = "") -> list[str]:
    header = [title, *(heading(metric) for metric in metrics)]
    lines = [header, ["---"] + ["---:"] * len(metrics)]
    for label, row in rows.items():
        cells = [" ".join(format_summary(row[metric], metric, sign)) for metric in metrics]
        lines.append([shown(label).replace("|", "\\|"), *cells])
    return [f"| {' | '.join(cells)} |" for cells in lines]
