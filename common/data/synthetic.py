"""Synthetic data sets on disk: what a first run needs when there is no data yet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from PIL import Image
from tqdm import tqdm

from common.data.brain_phantom import brain_phantom

DESCRIPTION_FILE = "dataset.json"
GENERATOR = "common.data.brain_phantom, version 1"


def make_brain_set(
    directory: str | Path,
    *,
    n_train: int = 200,
    n_valid: int = 20,
    n_test: int = 20,
    size: int = 256,
    seed: int = 0,
    workers: int = 0,
) -> bool:
    """Write random synthetic heads as 8-bit PNG magnitude images into `directory`/train, /valid and /test.

    No head is in two of the folders. The same arguments give the same bytes. The folder appears whole or not at all,
    with a `dataset.json` that says that it is synthetic, and how it was made; a set that is there already is kept.

    Args:
        directory: a folder that does not exist yet, is empty, or holds just this set.
        n_train: number of images to train on.
        n_valid: number of images to choose a checkpoint by.
        n_test: number of images to report on.
        size: height and width in pixels, 32 or more.
        seed: another seed, other heads.
        workers: processes that draw; 0 draws in this one.

    Returns:
        Whether the set was made (True) or was there already (False).

    Raises:
        ValueError: for a number out of range.
        FileExistsError: `directory` holds something else; nothing is changed.
    """
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    _check_integers({f"n_{split}": count for split, count in counts.items()}, 0)
    _check_integers({"seed": seed, "workers": workers}, 0)
    _check_integers({"size": size}, 32)
    if not sum(counts.values()):
        raise ValueError("a data set needs at least one image, got n_train, n_valid and n_test of 0")
    description: dict[str, Any] = {
        "name": "brain_mri",
        "synthetic": True,
        "description": "Random synthetic head phantoms, drawn by a program. No measured data; not for diagnosis.",
        "generator": GENERATOR,
        "images": counts,
        "size": size,
        "seed": seed,
    }
    directory = Path(directory)
    if _holds_set(directory, description):
        return False
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    temporary = directory.absolute().parent / f".{directory.name}.{uuid4().hex}"
    try:
        for split in counts:
            (temporary / split).mkdir(parents=True)
        draw = partial(_write_head, temporary, size, seed)
        # disable=None: a bar on a terminal, silence elsewhere
        for _ in tqdm(_run(draw, jobs, workers), total=len(jobs), desc="synthetic heads", unit="image", disable=None):
            pass
        (temporary / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _check_integers(values: dict[str, Any], least: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}")


def _holds_set(directory: Path, description: dict[str, Any]) -> bool:
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
    expected = {(split, _file_name(i)) for split, count in description["images"].items() for i in range(count)}
    missing = sorted(f"{split}/{name}" for split, name in expected if not (directory / split / name).is_file())
    if missing:
        raise FileExistsError(f"{directory} lacks {len(missing)} of its images, first {missing[0]}; {way_out}")
    return True


def _file_name(index: int) -> str:
    return f"{index + 1:05d}.png"


def _run(draw: partial[None], jobs: list[tuple[str, int]], workers: int) -> Iterator[None]:
    if workers == 0:
        yield from map(draw, jobs)
        return
    # spawn: a forked copy of a process that runs PyTorch's threads may hang
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(draw, jobs, chunksize=8)


def _write_head(directory: Path, size: int, seed: int, job: tuple[str, int]) -> None:
    split, index = job
    stream = np.random.SeedSequence((seed, ("train", "valid", "test").index(split), index))
    head = brain_phantom(int(stream.generate_state(1, np.uint64)[0]), size, phase=False).real
    Image.fromarray(np.rint(head * 255).astype(np.uint8)).save(directory / split / _file_name(index))
