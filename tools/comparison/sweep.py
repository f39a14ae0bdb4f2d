"""One comparison for each of several settings, and one table of all of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from fire.parser import DefaultParseValue

from common.io.atomic import atomic_path
from common.metrics.cases import by_method, format_summary, heading, label, metrics_of, summaries
from tools.comparison.summary import description, table

TABLE = "sweep.csv"
"""All values of all settings, in the folder of a sweep."""

_EXAMPLE = '--sweep "accelerations=4,8 center_fractions=0.08,0.04"'


@dataclass(frozen=True)
class Setting:
    """Values of the swept options.

    Attributes:
        name: the first option and its value, `accelerations=4`.
        overrides: options to values.
    """

    name: str
    overrides: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Name of the folder of the setting's comparison."""
        return re.sub(r"[^\w.-]+", "_", self.name).strip("_")


def read_sweep(text: str, is_list: Callable[[str], bool]) -> list[Setting]:
    """Read the settings of a sweep: the first values of all keys, then the second values, and so on.

    Args:
        text: `KEY=VALUE,VALUE,... KEY=VALUE,VALUE,...`; values are read like those of other options.
        is_list: function that returns True if a key of the configurations holds a list; a single value then becomes a
            list of one.

    Raises:
        ValueError: the text has another form, or the keys have different numbers of values.
    """
    columns: dict[str, list[Any]] = {}
    for part in text.split():
        key, equals, values = part.partition("=")
        if not equals or not key or key in columns:
            raise ValueError(f"a sweep is KEY=VALUE,VALUE,... of each key once, got {text!r}; for example {_EXAMPLE}")
        columns[key] = [_value(word, is_list(key)) for word in _split(values)]
    if not columns or len({len(values) for values in columns.values()}) > 1:
        counts = ", ".join(f"{len(values)} of {key}" for key, values in columns.items())
        raise ValueError(f"a sweep needs as many values of each key, got {counts or 'none'}; for example {_EXAMPLE}")
    first, settings = next(iter(columns)), []
    for row in zip(*columns.values(), strict=True):
        overrides = dict(zip(columns, row, strict=True))
        settings.append(Setting(f"{first}={_plain(overrides[first])}", overrides))
    if len({setting.folder for setting in settings}) < len(settings):
        raise ValueError(f"the values of a sweep's first key name the settings and must differ, got {text!r}")
    return settings


def write_sweep(
    folder: Path, settings: Sequence[Setting], values: Mapping[str, pd.DataFrame], blocks: Sequence[str]
) -> str:
    """Write `sweep.csv` and `summary.md`, and return the text of `summary.md`.

    Args:
        folder: folder of the sweep, which holds the folders of the settings.
        settings: settings in the order of the columns.
        values: case table of each setting, by its name.
        blocks: summary of each setting.
    """
    _join_tables(folder, settings)
    first = next(iter(values.values()))
    lines = [description(first), ""]
    for metric in metrics_of(first):
        lines += [*_table(metric, values), ""]
    for setting, block in zip(settings, blocks, strict=True):
        lines += [f"## {', '.join(f'{key}={_plain(value)}' for key, value in setting.overrides.items())}", "", block]
    text = "\n".join(lines)
    (folder / "summary.md").write_text(text, encoding="utf-8", errors="replace")
    return text


def _split(values: str) -> list[str]:
    """Split a text at the commas outside brackets."""
    return re.split(r",(?![^\[]*\])", values)


def _value(word: str, in_list: bool) -> Any:
    value = DefaultParseValue(word)
    return [value] if in_list and not isinstance(value, list) else value


def _plain(value: Any) -> str:
    return str(value[0]) if isinstance(value, list) and len(value) == 1 else str(value)


def _table(metric: str, settings: Mapping[str, pd.DataFrame]) -> list[str]:
    """A row per method and a column per setting."""
    columns = [dict(by_method(summaries(values))) for values in settings.values()]
    rows = [
        [label(method), *(" ".join(format_summary(column[method].loc[metric], metric)) for column in columns)]
        for method in columns[0]
    ]
    return table([heading(metric), *settings], rows)


def _join_tables(folder: Path, settings: Sequence[Setting]) -> None:
    """The rows of all settings' `metrics.csv`, the swept options in front."""
    keys = list(settings[0].overrides)
    with atomic_path(folder / TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, setting in enumerate(settings):
            with (folder / setting.folder / "metrics.csv").open(newline="", encoding="utf-8") as part:
                header, *rows = csv.reader(part)
            if number == 0:
                writer.writerow([*keys, *header])
            writer.writerows([[*(_plain(value) for value in setting.overrides.values()), *row] for row in rows])
