"""Tables of results, as texts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from common.metrics.cases import by_method, differences, format_summary, heading, label, metrics_of, summaries


def summary_rows(cases: pd.DataFrame, reference: str, title: str = "") -> list[list[tuple[str, ...]]]:
    """Return a header, a row per method, and a row per method's paired difference to the reference.

    Args:
        cases: case table of one protocol.
        reference: one of its methods.
        title: header of the first column.

    Returns:
        Rows of cells; a cell is a text, or mean ± standard deviation and the interval of the mean.
    """
    metrics = metrics_of(cases)
    rows: list[list[tuple[str, ...]]] = [[(title,), *((heading(metric),) for metric in metrics)]]
    for found, sign in ((summaries(cases), ""), (differences(cases, reference), "+")):
        for method, values in by_method(found) if len(found) else ():
            name = f"difference ({label(method)} - {label(reference)})" if sign else label(method)
            rows.append([(name,), *(format_summary(values.loc[metric], metric, sign) for metric in metrics)])
    return rows


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown, header first, that is also read on a terminal."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
