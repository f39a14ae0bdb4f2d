"""Options of the command line that change keys of the bundles' configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def options_of(label: str, labels: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Select the options of one entry: those for all entries, replaced by its own, `LABEL.KEY`.

    Args:
        label: label of the entry.
        labels: labels of all entries that can have options.
        options: keys and values; Fire has made each `-` of a key to `_`.
    """
    prefixes = {name: f"{name.replace('-', '_')}." for name in labels}
    own = prefixes[label]
    for_all = {key: value for key, value in options.items() if not key.startswith(tuple(prefixes.values()))}
    return for_all | {key.removeprefix(own): value for key, value in options.items() if key.startswith(own)}


def key_of(option: str) -> str:
    """Return the key of the configuration that an option `KEY`, `LABEL.KEY` or `KEY#PART` changes."""
    return option.rpartition(".")[2].partition("#")[0]
