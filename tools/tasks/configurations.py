"""Configurations of a bundle that are to run: their files by name, and the keys that they know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.tasks.strict_yaml import read_yaml
from tools.zoo.layout import read_json


def find_config(name: str, bundle: Path, where: str) -> Path:
    """A file of the bundle's configs, or of another path."""
    for path in (bundle / "configs" / name, Path(name)):
        if path.is_file():
            return path.resolve()
    known = ", ".join(sorted(path.name for path in (bundle / "configs").glob("*.json")))
    raise ValueError(f"{where}: config: no file {name}, {bundle.name} has {known}; correct it or give a path")


def known_keys(configs: Sequence[Path], where: str) -> set[str]:
    """Top-level keys of configurations that can run."""
    keys: set[str] = set()
    for path in configs:
        try:
            content = read_json(path) if path.suffix == ".json" else read_yaml(path)
        except ValueError as error:
            raise ValueError(f"{where}: config: {error}") from None
        keys |= {top_key(key) for key in content}
    if "run" not in keys:
        raise ValueError(
            f"{where}: config: {' and '.join(path.name for path in configs)} cannot run alone, without a key `run`; "
            "put the file that it changes before it: [inference.json, ...]"
        )
    return keys


def top_key(key: str) -> str:
    """The first part of `train#trainer#max_epochs` or `+handlers`."""
    return re.split("#|::", key.removeprefix("+"))[0]


def check_known(values: Mapping[str, Any], known: set[str], configs: Sequence[Path], where: str) -> None:
    """Refuse keys that are not in configurations."""
    if unknown := [key for key in values if top_key(key) not in known]:
        raise ValueError(
            f"{where}: unknown key {unknown[0]!r}, {' and '.join(path.name for path in configs)} have "
            f"{', '.join(sorted(key for key in known if key[:1].islower()))}"
        )


def check_nested(values: Mapping[str, Any], configs: Sequence[Path], where: str) -> None:
    """Refuse keys such as `epochs#refin` where `epochs` has others; what is an object's argument may be new."""
    content: dict[str, Any] = {}
    for path in configs:
        content |= read_json(path)
    for key in values:
        *parents, last = key.split("#")
        found: Any = content
        for parent in parents:
            found = found.get(parent) if isinstance(found, dict) else None
        if parents and isinstance(found, dict) and found and "_target_" not in found and last not in found:
            raise ValueError(f"{where}: unknown key {key!r}, {'#'.join(parents)} has {', '.join(found)}")
