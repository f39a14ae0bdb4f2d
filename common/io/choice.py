"""Choice of one thing of several in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from common.errors import DataError, source_option

Entry = TypeVar("Entry")


def listed(values: Iterable[Any]) -> str:
    """Return at most four values as text for a message."""
    texts = [str(value) for value in values]
    return (", ".join(texts[:4]) + (f" and {len(texts) - 4} more" if len(texts) > 4 else "")) or "none"


def chosen(
    found: Mapping[Entry, Any] | Iterable[Entry], wanted: Entry | None, name: str, what: str, path: Any
) -> Entry:
    """Return the entry that is wanted, or the only one.

    Args:
        found: the entries; a mapping gives a description of each for the message.
        wanted: the entry that the user asks for; ``None``: the only one.
        name: name of the option by which one asks.
        what: name of one entry, such as "channel".
        path: the file, for errors.

    Raises:
        DataError: for several entries of which none is chosen, or for one that is not there.
    """
    entries = dict(found) if isinstance(found, Mapping) else dict.fromkeys(found, "")
    if wanted is None and len(entries) == 1:
        return next(iter(entries))
    if wanted is not None and wanted in entries:
        return wanted
    texts = [f"{key} {text}".rstrip() for key, text in entries.items()]
    hint = f"; choose one: {source_option(name, next(iter(entries)))}" if entries else ""
    if wanted is not None:
        raise DataError(f"{path}: no {what} {wanted!r}, it has {listed(texts)}{hint}")
    got = f"{len(texts)}: {listed(texts)}" if texts else "none"
    raise DataError(f"{path}: expected one {what}, got {got}{hint}")
