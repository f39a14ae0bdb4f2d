"""Markdown documents and metadata whose numbers come from `results.csv`: tables between two marks, and single numbers.

    <!-- table:                      a description as `pivot` reads it, in YAML; `bundle` where the document is no
    where: {...}                     bundle's own
    rows: {...}
    columns: {...}
    -->
    | ... |
    <!-- /table -->

    the cascade reaches 33.21<!-- {method: model, mask: radial, rate: 0.1, metric: psnr} --> dB

A single number keeps its digits and its sign. `minus: {method: zero_filled}` makes it a difference of two means. A key
under `eval_metrics` of a bundle's metadata names a row, too, whose mean it gets.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tools.docs.pivot import find_row, table_lines
from tools.docs.results import IDENTITY

TABLE = re.compile(
    r"^<!-- table:(?P<spec>.*?)-->\n(?P<lines>(?:\|[^\n]*\n)*)<!-- /table -->$", re.MULTILINE | re.DOTALL
)
NUMBER = re.compile(r"(?P<number>[-+]?\d[\d,]*(?:\.\d+)?)<!-- (?P<spec>\{.*?\}) -->")
_METRICS = re.compile(r'(?P<before>^ *"eval_metrics": )\{[^{}]*\}', re.MULTILINE)
_MARK = re.compile(r"^<!-- (?:table:|/table -->)", re.MULTILINE)
Results = Callable[[str], pd.DataFrame]
"""Returns the rows of a bundle by its name; of the document's own bundle for an empty name."""


def rendered(text: str, path: Path, results: Results) -> str:
    """Return the document with each table and each marked number as `results.csv` has it."""
    if len(_MARK.findall(text)) != 2 * len(TABLE.findall(text)):
        raise ValueError(
            f"{path}: expected each table between <!-- table: ... --> and <!-- /table -->, with nothing but its lines "
            "between; mend the marks"
        )

    def table(found: re.Match[str]) -> str:
        where = f"{path}:{text.count(chr(10), 0, found.start()) + 1}"
        spec = read_spec(found["spec"], where)
        frame = results(spec.pop("bundle", ""))
        lines = table_lines(spec, frame, where)
        return f"<!-- table:{found['spec']}-->\n" + "".join(f"{line}\n" for line in lines) + "<!-- /table -->"

    def number(found: re.Match[str]) -> str:
        spec = read_spec(found["spec"], where := f"{path}: the number {found[0]}")
        frame = results(spec.pop("bundle", ""))
        minus = spec.pop("minus", None)
        value = find_row(spec, frame, where)["mean"]
        if minus is not None:
            value -= find_row({**spec, **minus}, frame, where)["mean"]
        sign, digits = "+" if found["number"].startswith("+") else "", len(found["number"].partition(".")[2])
        return f"{value:{sign},.{digits}f}<!-- {found['spec']} -->"

    return NUMBER.sub(number, TABLE.sub(table, text))


def read_spec(text: str, where: str) -> dict[str, Any]:
    """Read the description in a mark."""
    try:
        spec = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())}; mend the YAML") from None
    if not isinstance(spec, dict):
        raise ValueError(f"{where}: expected a mapping in YAML, got {spec!r}; correct it")
    return spec


def keys_of(frame: pd.DataFrame) -> pd.Series:
    """Return the key of each row: data, protocol, method, mask, rate and metric, without empty ones, joined by /."""
    return frame[list(IDENTITY)].apply(lambda row: "/".join(filter(None, row)), axis=1)


def with_metrics(text: str, path: Path, frame: pd.DataFrame) -> str:
    """Return the metadata with the mean of its row for each key under `eval_metrics`; all else stays as it is."""
    found = _METRICS.search(text)
    if found is None:
        raise ValueError(f'{path}: expected a key "eval_metrics" on a line of its own, got none; add it')
    keys = json.loads(text)["eval_metrics"]
    means = dict(zip(keys_of(frame), frame["mean"], strict=True))
    for key in keys:
        if key not in means or not math.isfinite(means[key]):
            raise ValueError(
                f"{path}: eval_metrics: {key}: results.csv has no such row with a finite mean; a key is "
                f"{'/'.join(IDENTITY)} of a row, for example {next(iter(means), '')}"
            )
    indent = len(found["before"]) - len(found["before"].lstrip(" "))
    lines = json.dumps({key: means[key] for key in keys}, indent=4)
    return text[: found.start()] + found["before"] + lines.replace("\n", "\n" + " " * indent) + text[found.end() :]
