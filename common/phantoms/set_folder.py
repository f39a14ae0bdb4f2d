"""A synthetic data set as a folder: it appears whole or not at all, says how it was made, and repeats byte for byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
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
    """In the split's; "" is the split's own."""
    index: int
    suffix: str

    @property
    def name(self) -> str:
        """Where the file is in the set's folder."""
        return "/".join(part for part in (self.split, self.folder, f"{self.index + 1:05d}{self.suffix}") if part)

    def seed(self, set_seed: int) -> int:
        """Seed of this file's content, drawn from that of the set, the split and the number."""
        stream = np.random.SeedSequence((set_seed, SPLITS.index(self.split), self.index))
        return int(stream.generate_state(1, np.uint64)[0])


Write = Callable[[Path, SetFile, int], None]
"""Draws a file of a set and writes it: path, which file it is, seed."""


def make_set(
    directory: str | Path,
    description: dict[str, Any],
    seed: int,
    write: Write,
    *,
    what: str,
    workers: int,
    suffix: str,
    folders: Sequence[str] = ("",),
    unit: str = "image",
) -> bool:
    """Write the set that `description` tells of, whole or not at all; False if it is there already.

    Args:
        directory: where; a folder that does not exist yet, is empty, or holds just this set.
        description: content of `dataset.json`, whose "images", or "<unit>s", are the numbers by split; `seed` is added.
        seed: of the set; each file has its own, drawn from this, its split and its number.
        write: draws a file; picklable for `workers`.
        what: the set's content, for the progress bar.
        workers: processes that draw; 0 draws in this one.
        suffix: of the files.
        folders: in each split.
        unit: what one file is.

    Raises:
        ValueError: `seed` or `workers` is no integer of 0 or more.
        FileExistsError: `directory` holds something else; nothing is changed.
    """
    check_integers({"seed": seed, "workers": workers}, 0)
    description = {**description, "seed": seed}
    counts = description[f"{unit}s"]
    directory = Path(directory)
    files = [
        SetFile(split, folder, index, suffix) for split, n in counts.items() for folder in folders for index in range(n)
    ]
    if _holds_set(directory, description, [file.name for file in files], unit):
        return False
    temporary = directory.absolute().parent / f".{directory.name}.{uuid4().hex}"
    try:
        for split in counts:
            for folder in folders:
                (temporary / split / folder).mkdir(parents=True)
        # disable=None: a bar on a terminal, silence elsewhere
        done = _run(partial(_write_file, write, temporary, seed), files, workers)
        for _ in tqdm(done, total=len(files), desc=what, unit=unit, disable=None):
            pass
        (temporary / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def check_counts(n_train: int, n_valid: int, n_test: int, unit: str = "image") -> dict[str, int]:
    """The numbers by split.

    Raises:
        ValueError: one is no integer of 0 or more, or all are 0.
    """
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    check_integers({f"n_{split}": count for split, count in counts.items()}, 0)
    if not sum(counts.values()):
        raise ValueError(f"a data set needs at least one {unit}, got n_train, n_valid and n_test of 0")
    return counts


def check_integers(values: dict[str, Any], least: int) -> None:
    """Refuse what is not an integer, or is below `least`.

    Raises:
        ValueError: by its name.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}")


def _holds_set(directory: Path, description: dict[str, Any], files: list[str], unit: str) -> bool:
    """Whether the set is there in full; False if the folder is free.

    Raises:
        FileExistsError: something else is there.
    """
    if not directory.exists():
        return False
    if not directory.is_dir():
        raise FileExistsError(f"{directory} is a file; name a folder that does not exist yet")
    if not any(directory.iterdir()):
        return False
    way_out = "name another folder, or remove this one"
    try:
        found = json.loads((directory / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileExistsError(f"{directory} holds files that are no synthetic data set; {way_out}") from None
    except ValueError:  # not JSON, or not text
        raise FileExistsError(f"{directory / DESCRIPTION_FILE} does not describe a data set; {way_out}") from None
    if not isinstance(found, dict) or found != description:
        other = found if isinstance(found, dict) else {}
        differences = [
            f"{key} {other.get(key)!r} instead of {value!r}"
            for key, value in description.items()
            if other.get(key) != value
        ]
        listed = ", ".join(differences) or "more entries than expected"
        raise FileExistsError(f"{directory} holds another data set ({listed}); {way_out}")
    missing = sorted(name for name in files if not (directory / name).is_file())
    if missing:
        raise FileExistsError(f"{directory} lacks {len(missing)} of its {unit}s, first {missing[0]}; {way_out}")
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
