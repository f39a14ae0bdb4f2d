"""Data sets of a list: measured ones that must be there, synthetic ones that are made where they are missing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any


@dataclass(frozen=True)
class DataSet:
    """Data set of a list.

    Attributes:
        name: name in the list.
        path: folder of the set; a synthetic one may be missing.
        entry: keys of the set in the list.
    """

    name: str
    path: Path
    entry: dict[str, Any]

    @property
    def make(self) -> str:
        """Name of a synthetic set for `python -m tools data make`; empty for a measured set."""
        return self.entry.get("make", "")

    @property
    def source(self) -> str:
        """Description of a measured set and where to get it."""
        return self.entry.get("source", "measured data")

    @property
    def identity(self) -> dict[str, Any]:
        """Keys that make it another set when they are changed."""
        return {key: self.entry[key] for key in ("folder", "make", "options") if key in self.entry}

    @property
    def missing(self) -> str:
        """The first folder that is not there or empty; an empty text for a complete or a synthetic set."""
        folders = [] if self.make else [self.path, *(self.path / split for split in self.entry.get("splits", []))]
        return next((str(folder) for folder in folders if not folder.is_dir() or not any(folder.iterdir())), "")

    def describe(self) -> str:
        """Return a line for the reader."""
        if not self.make:
            return f"data {self.name}: {self.missing and 'MISSING '}{self.path} ({self.source})"
        words = "".join(f" --{key} {value}" for key, value in self.entry.get("options", {}).items())
        made = "synthetic" if self.path.is_dir() else "synthetic, to be made"
        return f"data {self.name}: {self.path} ({made}: python -m tools data make {self.make}{words})"


def read_data_set(name: str, entry: dict[str, Any], data: Path | None, out: Path, where: str) -> DataSet:
    """Read a set from its entry in a list.

    Args:
        name: name of the set.
        entry: keys of the set, see `schema.json`.
        data: folder of data sets, if given; else measured sets are looked for in the current folder.
        out: folder in which synthetic sets are made that `data` does not have.
        where: beginning of an error message.

    Raises:
        ValueError: no synthetic set has that name or those options.
    """
    if "make" not in entry:
        return DataSet(name, ((data or Path()) / entry["folder"]).resolve(), entry)
    from common.phantoms.sets import SETS  # takes PyTorch's seconds, which lists of measured data need not wait for

    if entry["make"] not in SETS:
        raise ValueError(f"{where}: make: expected one of {', '.join(SETS)}, got {entry['make']!r}; correct it")
    known = [*SETS[entry["make"]].defaults, "seed"]
    if unknown := [key for key in entry.get("options", {}) if key not in known]:
        raise ValueError(f"{where}: options: unknown key {unknown[0]!r}; {entry['make']} has {', '.join(known)}")
    there = data is not None and (data / name).is_dir()
    return DataSet(name, ((data if data is not None and there else out / "data") / name).resolve(), entry)


def make_data_set(data_set: DataSet, error: type[BaseException], seconds: float) -> None:
    """Make a synthetic set, or check that the one in its place is the same.

    Args:
        data_set: the set.
        error: exception to raise when the time is over; a set appears whole or not at all.
        seconds: time limit; may be infinite.
    """
    from common.phantoms.sets import make_set

    with _until(seconds, error):
        make_set(data_set.make, data_set.path, **data_set.entry.get("options", {}))


@contextmanager
def _until(seconds: float, error: type[BaseException]) -> Iterator[None]:
    """Raise an error in the block after so many seconds."""

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
