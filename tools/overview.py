"""`python -m tools overview`: one table over all bundles, for the README, from what is committed of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.io.atomic import atomic_path
from tools.command import command
from tools.network_speed import SPEC as NETWORKS
from tools.network_speed import read_networks
from tools.tables.readme import marked_tables, render, replace_tables
from tools.zoo.layout import ROOT, find_bundle, read_json

README = ROOT / "README.md"
SPEC = ROOT / "docs" / "overview.json"
SPEED = ROOT / "docs" / "speed.json"
TABLE = "overview"
"""Its name between the marks of the README."""
HEADER = ("bundle", "task", "data", "protocol", "baseline", "ours", "parameters", "ms on CPU")
ROW_KEYS = ("task", "data", "protocol", "baseline", "ours", "network")


@command
def overview(write: bool = False) -> str:
    """Compare the README's table over all bundles with what metadata and docs/speed.json give now.

    docs/overview.json has its words, with the keys of each bundle's `eval_metrics`. Exit status 1 if they differ.

    Args:
        write: put it into the README instead.
    """
    lines = render_overview(SPEC, SPEED)
    text = README.read_text(encoding="utf-8")
    there = marked_tables(text, README).get(TABLE)
    if there is None:
        raise ValueError(f"{README}: expected <!-- table: {TABLE} --> and <!-- /table -->, got no such marks; add them")
    if there == lines:
        return f"{README} is up to date"
    if not write:
        changed = next((line for line in lines if line not in there), "its order, or a row too many")
        raise ValueError(f"{README}: the overview is not up to date, first {changed}; give --write")
    with atomic_path(README) as temporary:
        temporary.write_text(replace_tables(text, {TABLE: lines}), encoding="utf-8")
    return f"wrote the overview to {README}"


def render_overview(spec: Path, speed: Path) -> list[str]:
    """The lines of the table.

    Args:
        spec: `docs/overview.json`: name of a bundle to its rows, objects with `task`, `data`, `protocol`, `baseline`,
            `ours` and `network`, the name in `docs/networks.json`. In texts `{key:.2f}` is a value of the bundle's
            `eval_metrics`. What a row leaves out is as in the one before.
        speed: what `python -m tools benchmark networks --write FILE` wrote.

    Raises:
        ValueError: a row names what is not there.
    """
    timed = read_json(speed).get("networks", {})
    networks = read_networks(NETWORKS)
    rows = []
    for name, entries in read_json(spec).items():
        bundle, where = find_bundle(name), f"{spec}: {name}"
        metrics = read_json(bundle / "configs" / "metadata.json").get("eval_metrics", {})
        cells: dict[str, str] = {}
        for number, entry in enumerate(entries):
            if wrong := [key for key in entry if key not in ROW_KEYS]:
                raise ValueError(f"{where}: unknown key {wrong[0]!r}; expected {', '.join(ROW_KEYS)}")
            if missing := [key for key in ROW_KEYS if key not in entry and key not in cells]:
                raise ValueError(f"{where}: row {number + 1}: no key {missing[0]!r}; add it")
            cells |= {key: _filled(value, metrics, where) for key, value in entry.items()}
            if cells["network"] not in networks or networks[cells["network"]].bundle != name:
                raise ValueError(f"{where}: network: docs/networks.json has no {cells['network']!r} of this bundle")
            link = f"[`{name}`](bundles/{name}/docs/README.md)" if number == 0 else ""
            words = [cells[key] if number == 0 or key in entry else "" for key in ROW_KEYS[:-1]]
            rows.append([link, *words, *_size_and_speed(cells["network"], timed, speed)])
    return render(HEADER, rows)


def _filled(text: str, metrics: Mapping[str, Any], where: str) -> str:
    try:
        return text.format_map(metrics)
    except KeyError as error:
        raise ValueError(f"{where}: the bundle's eval_metrics have no {error}, but {', '.join(metrics)}") from None


def _size_and_speed(network: str, timed: Mapping[str, Any], speed: Path) -> tuple[str, str]:
    if network not in timed:
        raise ValueError(f"{speed}: no network {network}; run `python -m tools benchmark networks --write {speed}`")
    parameters, milliseconds = timed[network]["parameters"], timed[network]["milliseconds"]
    millions = parameters / 1e6
    return f"{millions:.1f} M" if millions >= 1 else f"{millions:.2f} M", f"{milliseconds:,.0f}"
