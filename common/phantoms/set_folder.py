"""A synthetic data set as a folder: it appears whole or not at all, says how it was made, and repeats byte for byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from tqdm import tqdm

DESCRIPTION_FILE = "dataset.json"

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class SetFile:
    """A file of a set."""

    split: str
    folder: str
    """Folder in that of the split; "" for the folder of the split itself."""
    index: int
    suffix: str

    @property
    def name(self) -> str:
        """Path of the file in the folder of the set."""
        return "/".join(part for part in (self.split, self.folder, f"{self.index + 1:05d}{self.suffix}") if part)

    def seed(self, set_seed: int) -> int:
        """Return the seed of this file, drawn from that of the set, the split and the number."""
        stream = np.random.SeedSequence((set_seed, SPLITS.index(self.split), self.index))
        return int(stream.generate_state(1, np.uint64)[0])


Write = Callable[[Path, SetFile, int], None]
"""Draws a file of a set and writes it: path, place in the set, seed."""


def write_set(
    directory: Path, description: dict[str, Any], files: list[SetFile], write: Write, unit: str, workers: int
) -> bool:
    """Write a set, whole or not at all; return False if it is there already.

    Args:
        directory: a folder that does not exist yet, is empty, or holds just this set.
        description: content of `dataset.json`, with the name and the seed of the set.
        files: files of the set; each has its own seed.
        write: draws a file; picklable for `workers`.
        unit: what one file holds.
        workers: processes that draw; 0 draws in this one.

    Raises:
        FileExistsError: `directory` holds something else; nothing is changed.
    """
    if _holds_set(directory, description, [file.name for file in files], unit):
        return False
    temporary = directory.absolute().parent / f".{directory.name}.{uuid4().hex}"
    try:
        for folder in {(temporary / file.name).parent for file in files} | {temporary / split for split in SPLITS}:
            folder.mkdir(parents=True, exist_ok=True)
        # disable=None: a bar on a terminal, silence elsewhere
        done = _run(partial(_write_file, write, temporary, description["seed"]), files, workers)
        for _ in tqdm(done, total=len(files), desc=f"synthetic {description['name']}", unit=unit, disable=None):
            pass
        (temporary / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _holds_set(directory: Path, description: dict[str, Any], files: list[str], unit: str) -> bool:
    """Return True if the set is there in full, False if the folder is free.

    Raises:
        FileExistsError: something else is there.
    """
    if not directory.exists():
        return False
    if not directory.is_dir():
        raise FileExistsError(f"{directory} is a file; name a folder that does not exist yet")
    if not any(directory.iterdir()):
        return False
    hint = "name another folder, or remove this one"
    try:
        found = json.loads((directory / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileExistsError(f"{directory} holds files that are no synthetic data set; {hint}") from None
    except ValueError:  # not JSON, or not text
        raise FileExistsError(f"{directory / DESCRIPTION_FILE} does not describe a data set; {hint}") from None
    if found != description:
        other = found if isinstance(found, dict) else {}
        wrong = [key for key, value in description.items() if other.get(key) != value]
        listed = ", ".join(f"{key} {other.get(key)!r} instead of {description[key]!r}" for key in wrong)
        raise FileExistsError(f"{directory} holds another data set ({listed or 'more entries than expected'}); {hint}")
    missing = sorted(name for name in files if not (directory / name).is_file())
    if missing:
        raise FileExistsError(f"{directory} lacks {len(missing)} of its {unit}s, first {missing[0]}; {hint}")
    return True


def _run(write: partial[None], files: list[SetFile], workers: int) -> Iterator[None]:
    if workers == 0:
        yield from map(write, files)
        return
    # spawn: a forked copy of a process that runs PyTorch's threads may hang
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(write, files, chunksize=8)


def _write_file(write: Write, directory: Path, set_seed: int, file: SetFile) -> None:
    write(directory / file.name, file, file.seed(set_seed))
