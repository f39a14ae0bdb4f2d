"""What `docs/tables.json` of a bundle says: its data, the runs on them, and the tables and metadata made of those.

    {
        "data": {
            "slices": {"real": "brain_ixi", "what": "50 slices"},
            "hearts": {"make": "cardiac_cine", "options": {"n_train": 0}}
        },
        "runs": {
            "network": {"data": "slices", "config": ["inference.json", "evaluate.json"],
                        "overrides": {"mask_file": "{data}/masks/radial_{percent}.png"}},
            "others": {"data": "slices", "compare": {"entries": ["zero_filled", "tv"], "measure_like": "{bundle}"},
                       "overrides": {"split": "valid"}}
        },
        "tables": {
            "radial": {
                "heading": "image",
                "cell": {"where": {"protocol": "magnitude_slice"}, "style": "mean ± sd"},
                "columns": [{"title": "10 %", "set": {"percent": 10}, "metric": "psnr", "digits": 2}],
                "rows": [{"title": "zero-filled", "run": "network", "where": {"method": "zero_filled"}}]
            }
        },
        "eval_metrics": {"psnr_db": {"run": "network", "set": {"percent": 10}, "metric": "psnr", "digits": 2}}
    }

`real` is a folder of the user's data, `make` a set that `python -m tools data make` draws. A run is an evaluation of
the bundle, or a comparison. A cell is what its table, its column, its row and the row's own `cells` (by title of the
column) say of it, in this order; `where` and `set` are merged, and null takes a condition out of `where`. `for` makes a
row, or a number, of each combination of values, `like` starts a table from an earlier one. `{name}` is a variable, of
`set` or `for`; in a run `{data}` and `{bundle}` are the folders.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.data import DATA_SETS
from tools.tables.template import combinations, fill
from tools.tasks.task_list import METRICS_FILE
from tools.zoo.layout import read_json

FILE = "tables.json"
"""In the folder `docs` of a bundle."""
STYLES = ("mean", "mean ± sd", "mean [interval]", "mean ± sd [interval]", "mean (range)", "largest", "count")
"""How a cell shows its values; `count` is for whole numbers that are the same in all rows, such as parameters."""
PLACES = ("data", "bundle")
"""Variables of a run that are folders: of its data, and of the bundle."""
_TOP_KEYS = ("data", "runs", "tables", "eval_metrics")
_DATA_KEYS = ("real", "make", "options", "what")
_RUN_KEYS = ("data", "config", "overrides", "compare", "what")
_COMPARE_KEYS = ("entries", "measure_like", "perceptual_weights", "protocol")
_CELL_KEYS = (
    "run",
    "set",
    "file",
    "where",
    "metric",
    "style",
    "digits",
    "scale",
    "absolute",
    "undefined",
    "text",
    "timing",
)
_TABLE_KEYS = ("like", "heading", "cell", "columns", "rows")
_ROW_KEYS = ("title", "for", "cells", *_CELL_KEYS)
_COLUMN_KEYS = ("title", *_CELL_KEYS)
_NUMBER_KEYS = ("for", *_CELL_KEYS)


@dataclass(frozen=True)
class DataSet:
    """Data of runs.

    Attributes:
        real: name of a folder of the user's data; empty for a synthetic set.
        make: name of a synthetic set; empty for real data.
        options: of the synthetic set.
        what: in words.
    """

    real: str
    make: str
    options: Mapping[str, Any]
    what: str


@dataclass(frozen=True)
class RunTemplate:
    """An evaluation of the bundle, or a comparison; variables are still in it.

    Attributes:
        data: name of its data.
        config: configuration files, each over the one before; for an evaluation.
        overrides: keys of the configuration to values.
        compare: what `python -m tools compare` is told besides; None for an evaluation.
    """

    data: str
    config: Sequence[str]
    overrides: Mapping[str, Any]
    compare: Mapping[str, Any] | None


@dataclass(frozen=True)
class Cell:
    """One entry of a table: a number of a run, a fixed text, or a timing, which stays as it is printed.

    Attributes:
        run: name; empty for a text or a timing.
        variables: of the run.
        file: CSV file in the folder of its results.
        where: columns to the values that rows must have.
        metric: column of the numbers.
        style: one of `STYLES`.
        digits: after the point.
        scale: factor.
        absolute: whether signs are left out.
        undefined: what is shown where no number is defined.
        text: fixed; None for a number.
        timing: whether the printed text is kept.
    """

    run: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    file: str = METRICS_FILE
    where: Mapping[str, str] = field(default_factory=dict)
    metric: str = ""
    style: str = "mean"
    digits: int = 2
    scale: float = 1.0
    absolute: bool = False
    undefined: str = ""
    text: str | None = None
    timing: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: what stands in its first columns, and its cells."""

    titles: Sequence[str]
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Table:
    """A table: its header, and its rows."""

    header: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Definition:
    """All of the file.

    Attributes:
        path: of the file.
        data: name to data set.
        runs: name to run.
        tables: name to table.
        numbers: key of the metadata's `eval_metrics` to what it is.
    """

    path: Path
    data: Mapping[str, DataSet]
    runs: Mapping[str, RunTemplate]
    tables: Mapping[str, Table]
    numbers: Mapping[str, Cell]


def read_definition(bundle: Path) -> Definition:
    """Read what a bundle's tables are made of.

    Raises:
        ValueError: for anything in it that means nothing, with the place and a way out.
    """
    path = bundle / "docs" / FILE
    if not path.is_file():
        raise ValueError(f"{path}: no such file, so {bundle.name} has no tables that can be measured again; write it")
    content = read_json(path)
    _check_keys(content, _TOP_KEYS, str(path))
    data = {name: _data_set(spec, f"{path}: data {name}") for name, spec in _section(content, "data", path)}
    runs = {name: _run(spec, data, f"{path}: run {name}") for name, spec in _section(content, "runs", path)}
    specs: dict[str, dict[str, Any]] = {}
    tables = {}
    for name, spec in _section(content, "tables", path):
        where = f"{path}: table {name}"
        specs[name] = _like(spec, specs, where)
        tables[name] = _table(specs[name], runs, where)
    numbers: dict[str, Cell] = {}
    for name, spec in _section(content, "eval_metrics", path):
        where = f"{path}: eval_metrics {name}"
        _check_keys(spec, _NUMBER_KEYS, where)
        for variables in _variables(spec, where):
            cell = _cell([{**_without(spec, "for"), "set": {**spec.get("set", {}), **variables}}], runs, where)
            if not cell.run:
                raise ValueError(f"{where}: expected a number of a run, got a text; name the run")
            numbers[fill(name, cell.variables, where)] = cell
    return Definition(path, data, runs, tables, numbers)


def _section(content: Mapping[str, Any], key: str, path: Path) -> list[tuple[str, Any]]:
    section = content.get(key, {})
    _check_object(section, f"{path}: {key}")
    return list(section.items())


def _check_object(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object, {{...}}, got {value!r}; correct it")


def _check_keys(value: Any, known: Sequence[str], where: str) -> None:
    _check_object(value, where)
    if unknown := [key for key in value if key not in known]:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}, expected {', '.join(known)}; correct it")


def _check_list(value: Any, where: str) -> None:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where}: expected a list with something in it, got {value!r}; correct it")


def _data_set(spec: Any, where: str) -> DataSet:
    _check_keys(spec, _DATA_KEYS, where)
    found = DataSet(spec.get("real", ""), spec.get("make", ""), spec.get("options", {}), spec.get("what", ""))
    if bool(found.real) == bool(found.make):
        raise ValueError(f"{where}: expected either `real` (a folder's name) or `make` (a synthetic set); give one")
    if found.make and found.make not in DATA_SETS:
        raise ValueError(f"{where}: no synthetic set {found.make!r}, expected {', '.join(DATA_SETS)}; correct the name")
    if found.make:
        try:
            inspect.signature(DATA_SETS[found.make]).bind("", **found.options)
        except TypeError as error:
            raise ValueError(f"{where}: options of {found.make}: {error}; correct them") from None
    return found


def _run(spec: Any, data: Mapping[str, DataSet], where: str) -> RunTemplate:
    _check_keys(spec, _RUN_KEYS, where)
    if spec.get("data") not in data:
        raise ValueError(f"{where}: data: expected one of {', '.join(data)}, got {spec.get('data')!r}; correct it")
    compare = spec.get("compare")
    if compare is not None:
        _check_keys(compare, _COMPARE_KEYS, f"{where}: compare")
        _check_list(compare.get("entries"), f"{where}: compare: entries")
        if "config" in spec:
            raise ValueError(f"{where}: a comparison has no `config`, its entries have; remove it")
    config = spec.get("config", ["inference.json", "evaluate.json"])
    _check_list(config, f"{where}: config")
    overrides = spec.get("overrides", {})
    _check_object(overrides, f"{where}: overrides")
    return RunTemplate(spec["data"], config, overrides, compare)


def _like(spec: Any, earlier: Mapping[str, dict[str, Any]], where: str) -> dict[str, Any]:
    """A table's own keys over those of the one that it is like; cells are merged."""
    _check_keys(spec, _TABLE_KEYS, where)
    if "like" not in spec:
        return dict(spec)
    if spec["like"] not in earlier:
        raise ValueError(f"{where}: like: no earlier table {spec['like']!r}; expected one of {', '.join(earlier)}")
    base = earlier[spec["like"]]
    return {**base, **spec, "cell": _merge([base.get("cell", {}), spec.get("cell", {})])}


def _table(spec: Mapping[str, Any], runs: Mapping[str, RunTemplate], where: str) -> Table:
    columns, rows = spec.get("columns"), spec.get("rows")
    _check_list(columns, f"{where}: columns")
    _check_list(rows, f"{where}: rows")
    assert isinstance(columns, list)  # for the type checker
    assert isinstance(rows, list)
    shared = spec.get("cell", {})
    _check_keys(shared, _CELL_KEYS, f"{where}: cell")
    for column in columns:
        _check_keys(column, _COLUMN_KEYS, f"{where}: column {column.get('title') if isinstance(column, dict) else ''}")
    first = _titles(spec.get("heading", ""))
    titles = [str(column.get("title", "")) for column in columns]
    if repeated := sorted({title for title in titles if titles.count(title) > 1}):
        raise ValueError(f"{where}: two columns are called {repeated[0]!r}; give them titles of their own")
    found: list[Row] = []
    for row in rows:
        place = f"{where}: row {row.get('title') if isinstance(row, dict) else row}"
        _check_keys(row, _ROW_KEYS, place)
        found += _rows(row, columns, shared, runs, place)
    for line in found:
        if len(line.titles) != len(first):
            raise ValueError(f"{where}: expected {len(first)} titles of a row, got {list(line.titles)}; see `heading`")
    names = [tuple(line.titles) for line in found]
    if len(set(names)) < len(names):
        raise ValueError(f"{where}: two rows have the same titles; give them titles of their own")
    return Table([*first, *titles], found)


def _rows(
    row: Mapping[str, Any],
    columns: Sequence[Mapping[str, Any]],
    shared: Mapping[str, Any],
    runs: Mapping[str, RunTemplate],
    where: str,
) -> list[Row]:
    """The rows that one of the file makes."""
    own = row.get("cells", {})
    _check_keys(own, [str(column.get("title", "")) for column in columns], f"{where}: cells")
    found = []
    for variables in _variables(row, where):
        cells = []
        for column in columns:
            title = column.get("title", "")
            last = own.get(title, {})
            last = {"text": last} if isinstance(last, str) else last
            _check_keys(last, _CELL_KEYS, f"{where}: cells: {title}")
            layers = [shared, _without(column, "title"), _without(row, "title", "for", "cells"), last]
            cells.append(_cell([*layers, {"set": variables}], runs, f"{where}, column {title}"))
        titles = [fill(title, {**row.get("set", {}), **variables}, where) for title in _titles(row.get("title", ""))]
        found.append(Row(list(map(str, titles)), cells))
    return found


def _variables(spec: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    ranges = spec.get("for", {})
    _check_object(ranges, f"{where}: for")
    for name, values in ranges.items():
        _check_list(values, f"{where}: for {name}")
    return combinations(ranges)


def _titles(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _without(spec: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in keys}


def _merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Later layers over earlier ones, key by key, within `where` and `set` too."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {
            key: {**merged.get(key, {}), **value} if key in ("where", "set") else value for key, value in layer.items()
        }
    return merged


def _cell(layers: Sequence[Mapping[str, Any]], runs: Mapping[str, RunTemplate], where: str) -> Cell:
    for layer in layers:
        for key in ("where", "set"):
            _check_object(layer.get(key, {}), f"{where}: {key}")
    merged = _merge(layers)
    variables = merged.pop("set", {})
    spec = fill(merged, variables, where)
    if spec.get("text") is not None:
        return Cell(text=str(spec["text"]))
    if spec.get("timing"):
        return Cell(timing=True)
    if spec.get("run") not in runs:
        raise ValueError(f"{where}: run: expected one of {', '.join(runs)}, got {spec.get('run')!r}; correct it")
    if spec.get("style", "mean") not in STYLES:
        raise ValueError(f"{where}: style: expected one of {', '.join(STYLES)}, got {spec['style']!r}; correct it")
    digits = spec.get("digits", 0 if spec.get("style") == "count" else None)
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= 12:
        raise ValueError(f"{where}: digits: expected how many after the point, 0 to 12, got {digits!r}; give them")
    if not isinstance(spec.get("metric"), str):
        raise ValueError(f"{where}: metric: expected a column of the run's file, got {spec.get('metric')!r}; give it")
    conditions = {column: str(value) for column, value in spec.get("where", {}).items() if value is not None}
    return Cell(**{**spec, "variables": variables, "digits": digits, "where": conditions})
