"""Configuration files of a bundle by name, and the keys that they have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.run.reading import read_mapping


def find_config(name: str, bundle: Path, where: str) -> Path:
    """Find a file in the configs of a bundle, or by its path."""
    for path in (bundle / "configs" / name, Path(name)):
        if path.is_file():
            return path.resolve()
    known = ", ".join(sorted(path.name for path in (bundle / "configs").glob("*.json")))
    raise ValueError(f"{where}: config: no file {name}, {bundle.name} has {known}; correct it or give a path")


def known_keys(configs: Sequence[Path], where: str) -> set[str]:
    """Return the top-level keys of configurations that can run."""
    keys = {top_key(key) for key in _merged(configs, where)}
    if "run" not in keys:
        raise ValueError(
            f"{where}: config: {' and '.join(path.name for path in configs)} cannot run alone, without a key `run`; "
            "put the file that it changes before it: [inference.json, ...]"
        )
    return keys


def top_key(key: str) -> str:
    """Return the first part of a key such as `train#trainer#max_epochs` or `+handlers`."""
    return re.split("#|::", key.removeprefix("+"))[0]


def check_known(values: Mapping[str, Any], known: set[str], configs: Sequence[Path], where: str) -> None:
    """Refuse keys that configurations do not have.

    Below an object's arguments a key may be new; below other mappings, such as `epochs#refin`, it may not.
    """
    files = " and ".join(path.name for path in configs)
    if unknown := [key for key in values if top_key(key) not in known]:
        raise ValueError(
            f"{where}: unknown key {unknown[0]!r}, {files} have "
            f"{', '.join(sorted(key for key in known if key[:1].islower()))}"
        )
    content = _merged(configs, where) if any("#" in key for key in values) else {}
    for key in values:
        *parents, last = key.split("#")
        found: Any = content
        for parent in parents:
            found = found.get(parent) if isinstance(found, dict) else None
        if parents and isinstance(found, dict) and found and "_target_" not in found and last not in found:
            raise ValueError(f"{where}: unknown key {key!r}, {'#'.join(parents)} has {', '.join(found)}")


def _merged(configs: Sequence[Path], where: str) -> dict[str, Any]:
    """Return the content of configurations, each over the one before."""
    content: dict[str, Any] = {}
    for path in configs:
        try:
            content |= read_mapping(path)
        except ValueError as error:
            raise ValueError(f"{where}: config: {error}") from None
    return content
