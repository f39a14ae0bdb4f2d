"""A Markdown document whose numbers come from `results.csv`: tables between two marks, and single numbers.

    <!-- table:                      a description as `pivot` reads it, in YAML; `bundle` where the document is no
    where: {...}                     bundle's own
    rows: {...}
    columns: {...}
    -->
    | ... |
    <!-- /table -->

    the cascade reaches 33.21<!-- {method: model, mask: radial, rate: 0.1, metric: psnr} --> dB

A single number keeps its digits and its sign. `minus: {method: zero_filled}` makes it a difference of two means.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tools.docs.pivot import find_row, table_lines

TABLE = re.compile(
    r"^<!-- table:(?P<spec>.*?)-->\n(?P<lines>(?:\|[^\n]*\n)*)<!-- /table -->$", re.MULTILINE | re.DOTALL
)
NUMBER = re.compile(r"(?P<number>[-+]?\d[\d,]*(?:\.\d+)?)<!-- (?P<spec>\{.*?\}) -->")
_MARK = re.compile(r"^<!-- (?:table:|/table -->)", re.MULTILINE)
Results = Callable[[str], pd.DataFrame]
"""Returns the rows of a bundle by its name; of the document's own bundle for an empty name."""


def rendered(text: str, path: Path, results: Results) -> str:
    """Return the document with each table and each marked number as `results.csv` has it.

    Args:
        text: the document.
        path: its file, for errors.
        results: gives the rows of a bundle.

    Raises:
        ValueError: a mark has no partner, or a description asks for what is not there.
    """
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
    """Read the description in a mark.

    Raises:
        ValueError: it is not a mapping in YAML.
    """
    try:
        spec = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())}; mend the YAML") from None
    if not isinstance(spec, dict):
        raise ValueError(f"{where}: expected a mapping in YAML, got {spec!r}; correct it")
    return spec
