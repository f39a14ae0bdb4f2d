"""Data of runs: folders that the user has, and synthetic sets that are drawn where they are missing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

from tools.data import DATA_SETS
from tools.tables.definition import DataSet
from tools.tasks.running import say, shown


class DataFolders:
    """The folder of each data set.

    Args:
        sets: name to data set.
        real: folder of the real ones; None if the user named none.
        drawn: folder for the synthetic ones.
    """

    def __init__(self, sets: Mapping[str, DataSet], real: Path | None, drawn: Path) -> None:
        self.sets = sets
        self.real = real
        self.drawn = drawn

    def check(self, names: set[str]) -> None:
        """See that the real ones among these are there.

        Raises:
            ValueError: one is not.
        """
        for name in sorted(names):
            wanted = self.sets[name]
            if not wanted.real:
                continue
            what = f" ({wanted.what})" if wanted.what else ""
            if self.real is None:
                raise ValueError(f"needs the data {wanted.real}{what}; give --data the folder that holds {wanted.real}")
            if not (self.real / wanted.real).is_dir():
                raise ValueError(
                    f"{self.real}: expected a folder {wanted.real}{what}, got none; give --data another folder, or "
                    "--only tables that do without it"
                )

    def folder(self, name: str) -> Path:
        """Where a set is; a synthetic one is drawn if need be.

        Raises:
            ValueError: an option of a synthetic set is out of range.
            OSError: its folder holds something else.
        """
        wanted = self.sets[name]
        if wanted.real:
            assert self.real is not None  # checked before
            return (self.real / wanted.real).resolve()
        folder = self.drawn / name
        if not folder.exists():
            say(f"{name}: drawing the synthetic set into {shown(folder)}")
        inspect.unwrap(DATA_SETS[wanted.make])(str(folder), **wanted.options)
        return folder.resolve()
