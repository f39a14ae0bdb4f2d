"""`python -m tools tables`: measures the tables of a bundle's README again, and tells which digits differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from common.io.atomic import atomic_path
from tools.command import command
from tools.tables.definition import Definition, read_definition
from tools.tables.difference import number_differences, table_differences
from tools.tables.measured import NUMBERS, Measured, cells_of, names_of
from tools.tables.metadata import read_numbers, replace_numbers
from tools.tables.readme import marked_tables, render, replace_tables
from tools.tables.run import TableRun, runs_of
from tools.tables.runner import TableRunner
from tools.tables.sets import DataFolders
from tools.tasks.records import locked
from tools.tasks.running import interruptible, say, shown
from tools.zoo.layout import find_bundle


@command
def tables(
    name: str,
    data: str = "",
    out: str = "",
    write: bool = False,
    only: str | Sequence[str] = "",
    fresh: bool = False,
    device: str = "cpu",
    check: bool = False,
) -> str:
    """Measure the tables of bundle NAME's README again, and compare each printed digit; exit status 1 if one differs.

    docs/tables.json of the bundle says what they are made of: evaluations by its own configurations, and comparisons.
    The tables stand in docs/README.md between <!-- table: TABLE --> and <!-- /table -->; the numbers under eval_metrics
    of configs/metadata.json are compared too. Timings are left as they are printed.

    OUT gets tables.md, a folder for each run with its log, and the synthetic sets. A run that is there already is not
    done again unless its definition, weights, data or sources have changed.

    Args:
        name: of a bundle in this repository, or its folder.
        data: folder that holds the real data sets by their names, such as DATA/brain_ixi.
        out: folder of the results; out/tables/NAME if empty.
        write: put the tables into the README and the numbers into the metadata instead of failing where they differ.
        only: names of tables, separated by commas, eval_metrics for the numbers of the metadata; all if empty.
        fresh: do all runs again.
        device: that networks run on; the printed numbers are those of a CPU, others may differ in the last digit.
        check: only read the files, and say what would be run.
    """
    bundle = find_bundle(str(name))
    definition = read_definition(bundle)
    chosen = names_of(definition, only if isinstance(only, str) else ",".join(map(str, only)))
    runs = runs_of(definition, [cell for one in chosen for cell in cells_of(definition, one)])
    readme = bundle / "docs" / "README.md"
    _printed(definition, readme)  # a place that is missing is better known now
    folder = Path(str(out) or f"out/tables/{bundle.name}").absolute()
    sets = DataFolders(definition.data, Path(str(data)) if data else None, folder / "data")
    if check:
        return "\n".join(_described(run) for run in runs)
    with locked(folder) as lock, interruptible():
        folders = TableRunner(bundle, sets, folder / "runs", str(device), lock, fresh).run_all(runs)
    measured, printed = Measured(definition, folders), _printed(definition, readme)
    rows = {one: measured.table(one, printed[one]) for one in chosen if one != NUMBERS}
    numbers = measured.numbers() if NUMBERS in chosen else None
    return _told(bundle, definition, printed, rows, numbers, folder, write)


def _printed(definition: Definition, readme: Path) -> dict[str, list[str]]:
    """The lines of each table as they stand.

    Raises:
        ValueError: a table has no place in the README, or one there has no definition.
    """
    found = marked_tables(_read(readme), readme)
    if missing := [name for name in definition.tables if name not in found]:
        raise ValueError(
            f"{readme}: expected a place for the table {missing[0]}, got none; write the two lines "
            f"<!-- table: {missing[0]} --> and <!-- /table --> where it belongs"
        )
    if unknown := [name for name in found if name not in definition.tables]:
        raise ValueError(f"{readme}: the table {unknown[0]} is not defined in {definition.path}; define it there")
    return found


def _told(
    bundle: Path,
    definition: Definition,
    printed: Mapping[str, Sequence[str]],
    rows: Mapping[str, Sequence[Sequence[str]]],
    numbers: Mapping[str, float] | None,
    out: Path,
    write: bool,
) -> str:
    """Say what differs, and write what was asked for.

    Raises:
        ValueError: something differs, and is not to be replaced.
    """
    readme, metadata = bundle / "docs" / "README.md", bundle / "configs" / "metadata.json"
    lines = {one: render(definition.tables[one].header, cells) for one, cells in rows.items()}
    text = "\n".join(line for one, table in lines.items() for line in (f"{one}:", "", *table, ""))
    with atomic_path(out / "tables.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    found = [line for one in rows for line in table_differences(one, definition.tables[one], rows[one], printed[one])]
    if numbers is not None:
        found += number_differences(numbers, read_numbers(metadata))
    say("\n".join(["", text, *found]))
    n = sum(len(cells_of(definition, one)) for one in (*rows, *([] if numbers is None else [NUMBERS])))
    if not found:
        return f"all {n} cells are as {bundle.name} prints them"
    differences = f"{len(found)} difference{'s' if len(found) > 1 else ''} in {n} cells"
    if not write:
        raise ValueError(f"{bundle.name}: {differences}, listed above; --write prints what was measured")
    _replace(readme, lambda old: replace_tables(old, lines))
    if numbers is not None:
        _replace(metadata, lambda old: replace_numbers(old, numbers, metadata))
    return f"wrote what was measured, {differences}, into {shown(readme)} and {metadata.name}"


def _replace(path: Path, change: Callable[[str], str]) -> None:
    """Read, change and write a file, which may have been changed while the runs ran."""
    old = _read(path)
    if (new := change(old)) != old:
        with atomic_path(path) as temporary:
            temporary.write_text(new, encoding="utf-8")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _described(run: TableRun) -> str:
    how = " + ".join(run.config) if run.compare is None else f"compare {', '.join(run.compare['entries'])}"
    return f"{run.label}: {how}, on {run.data}"
