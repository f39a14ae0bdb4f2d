"""Data sets of a recipe: real ones that must be there, synthetic ones that are made where they are missing."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

REAL_KEYS = ("folder", "splits", "source", "optional")
SYNTHETIC_KEYS = ("make", "options")
OWN_OPTIONS = ("directory", "workers")
"""Of the command that makes a set, not for a recipe."""


@dataclass(frozen=True)
class DataSet:
    """Data of a recipe.

    Attributes:
        name: in the recipe.
        path: folder where it lies, or is to be made.
        splits: folders that it must have.
        source: of a real set: what it is, and where to get it.
        make: of a synthetic set: name that `python -m tools data make` knows; else empty.
        options: of the command that makes it.
        optional: whether evaluations on it are left out where it is missing.
        entry: as the recipe has it.
    """

    name: str
    path: Path
    splits: tuple[str, ...]
    source: str
    make: str
    options: dict[str, Any]
    optional: bool
    entry: dict[str, Any]

    @property
    def missing(self) -> str:
        """What of it is not there; empty if all is, or can be made."""
        if self.make:
            return ""
        folders = [self.path, *(self.path / split for split in self.splits)]
        return next((str(folder) for folder in folders if not folder.is_dir() or not any(folder.iterdir())), "")

    def describe(self) -> str:
        """A line for the reader."""
        if not self.make:
            return f"data {self.name}: {self.missing and 'MISSING '}{self.path} ({self.source})"
        words = " ".join(f"--{key} {value}" for key, value in self.options.items())
        made = "synthetic" if self.path.is_dir() else "synthetic, to be made"
        return f"data {self.name}: {self.path} ({made}: python -m tools data make {self.make} {words}".rstrip() + ")"


def read_data_set(name: str, entry: Any, data: Path | None, out: Path, where: str) -> DataSet:
    """A set from its entry in a recipe.

    Args:
        name: in the recipe.
        entry: `folder`, `splits`, `source`, `optional` of a real set, `make`, `options` of a synthetic one.
        data: folder of sets by name, if given.
        out: folder of the training, in which synthetic sets are made that `data` has not.
        where: begins an error.

    Raises:
        ValueError: for an entry that is neither.
    """
    expected = f"{', '.join(REAL_KEYS)} of a real set, or {', '.join(SYNTHETIC_KEYS)} of a synthetic one"
    if not isinstance(entry, dict) or ("make" in entry) == ("folder" in entry):
        raise ValueError(f"{where}: expected {expected}, got {entry!r}")
    known = SYNTHETIC_KEYS if "make" in entry else REAL_KEYS
    if unknown := [key for key in entry if key not in (*known, "_comment")]:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; expected {expected}")
    if "make" in entry:
        options = entry.get("options", {})
        _check_options(entry["make"], options, where)
        there = data is not None and (data / name).is_dir()
        path = data / name if data is not None and there else out / "data" / name
        return DataSet(name, path.resolve(), (), "", entry["make"], options, False, entry)
    if data is None and not entry.get("optional", False):
        raise ValueError(f"{where}: needs {entry['folder']} ({entry.get('source', 'real data')}); give --data FOLDER")
    path = (data or out / "data") / entry["folder"]
    splits, optional = tuple(entry.get("splits", ())), bool(entry.get("optional", False))
    return DataSet(name, path.resolve(), splits, entry.get("source", "real data"), "", {}, optional, entry)


def _check_options(make: str, options: Any, where: str) -> None:
    from tools.data import DATA_SETS  # takes PyTorch's seconds, which recipes of real data need not wait for

    if make not in DATA_SETS:
        raise ValueError(f"{where}: make: expected one of {', '.join(DATA_SETS)}, got {make!r}; correct it")
    known = [key for key in inspect.signature(DATA_SETS[make]).parameters if key not in OWN_OPTIONS]
    if not isinstance(options, Mapping):
        raise ValueError(f"{where}: options: expected {', '.join(known)} and values, got {options!r}")
    if unknown := [key for key in options if key not in known]:
        raise ValueError(f"{where}: options: unknown key {unknown[0]!r}; {make} has {', '.join(known)}")


def make_data_set(data_set: DataSet, error: type[BaseException], seconds: float) -> str:
    """Make a synthetic set as its command does, or see that it is this one.

    Args:
        data_set: which.
        error: raised when the time is over; a set appears whole or not at all.
        seconds: until then.

    Returns:
        what the command says.
    """
    from tools.data import DATA_SETS

    with _until(seconds, error):
        return inspect.unwrap(DATA_SETS[data_set.make])(str(data_set.path), **data_set.options)


@contextmanager
def _until(seconds: float, error: type[BaseException]) -> Iterator[None]:
    """Raise an error in the block once so much time is over."""

    def over(number: int, frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, over)
    # a timer takes no infinity, and 0 would stop it
    signal.setitimer(signal.ITIMER_REAL, min(max(seconds, 1e-3), 1e8))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
