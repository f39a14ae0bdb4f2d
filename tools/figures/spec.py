"""How the figures of a bundle are made: `docs/figures.json`, a figure's file name to what draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tools.data import DATA_SETS
from tools.zoo.layout import read_json

SPEC = "figures.json"
PLACEHOLDER = "{bundle}"
"""In the entries of a comparison: the bundle's folder."""


@dataclass(frozen=True)
class RunFigure:
    """A panel that the bundle's own inference or evaluation draws of synthetic data.

    Attributes:
        make: name of the set, as `python -m tools data make` knows it.
        file: of the set, such as test/00002.png; the only one that is run, so that the scale of errors is its own.
        panel: file in the run's `panels`.
        config: files in `configs`, each over the one before.
        options: of the set.
        overrides: keys of the configuration to values.
    """

    make: str
    file: str
    panel: str
    config: list[str]
    options: dict[str, Any]
    overrides: dict[str, Any]


@dataclass(frozen=True)
class CompareFigure:
    """A panel of a comparison on synthetic data.

    Attributes:
        make: as of `RunFigure`.
        file: as of `RunFigure`.
        panel: file in the comparison's `panels`.
        entries: as `python -m tools compare` takes them; {bundle} in them is the bundle's folder.
        options: of the set.
        overrides: options of the comparison.
    """

    make: str
    file: str
    panel: str
    entries: list[str]
    options: dict[str, Any]
    overrides: dict[str, Any]


@dataclass(frozen=True)
class CurvesFigure:
    """The course of trainings.

    Attributes:
        curves: label to histories, CSV files beside the spec.
        values: columns of the histories.
    """

    curves: dict[str, list[str]]
    values: list[str]


Figure = RunFigure | CompareFigure | CurvesFigure
_OPTIONAL: dict[str, Any] = {"options": {}, "overrides": {}}
_KINDS = {"config": RunFigure, "entries": CompareFigure, "curves": CurvesFigure}
"""The key that tells the kind, which only it has."""
_TYPES = {"make": str, "file": str, "panel": str, "config": list, "entries": list, "values": list}


def read_figures(bundle: Path) -> dict[str, Figure]:
    """The figures of a bundle, by file name in its `docs`.

    Raises:
        ValueError: there is no spec, or it is not what this module describes.
    """
    path = bundle / "docs" / SPEC
    return {name: _figure(entry, name, path) for name, entry in read_json(path).items()}


def _figure(entry: Any, name: str, path: Path) -> Figure:
    where = f"{path}: {name}"
    if Path(name).name != name or Path(name).suffix != ".png":
        raise ValueError(f"{where}: expected the name of a PNG file in docs; correct it")
    kinds = [kind for kind in _KINDS if isinstance(entry, Mapping) and kind in entry]
    if len(kinds) != 1:
        raise ValueError(f"{where}: expected an object with one of the keys {', '.join(_KINDS)}, got {entry!r}")
    kind = _KINDS[kinds[0]]
    known = [field.name for field in fields(kind)]
    if wrong := [key for key in entry if key not in known]:
        raise ValueError(f"{where}: unknown key {wrong[0]!r}; expected {', '.join(known)}")
    if missing := [key for key in known if key not in entry and key not in _OPTIONAL]:
        raise ValueError(f"{where}: no key {missing[0]!r}; add it")
    for key, value in entry.items():
        expected = _TYPES.get(key, dict)
        if not isinstance(value, expected) or not value:
            raise ValueError(f"{where}: {key}: expected a {expected.__name__} that is not empty, got {value!r}")
    if "make" in entry and entry["make"] not in DATA_SETS:
        raise ValueError(f"{where}: make: expected one of {', '.join(DATA_SETS)}, got {entry['make']!r}")
    defaults = {key: value for key, value in _OPTIONAL.items() if key in known}
    return kind(**{**defaults, **entry})
