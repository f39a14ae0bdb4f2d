"""Damaged files of every format: one line, soon, and in bounded memory."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.io import Geometry, Spec, open_sink
from common.io.masks import open_mask
from tests.io.format_case import FormatCase, all_cases
from tests.io.fuzzing import defect_of, fuzz, read_everything
from tests.io.test_formats import case_native, random_values

FOLDER = Path(__file__).parent / "format_cases"
CASES = {case.label + case.dtypes[0]: case for case in all_cases()}
# of formats, or kinds of them, that are read and not written: {label: make(path) -> options}
SAMPLES = {
    label: make
    for name in sorted(path.stem for path in FOLDER.glob("*.py"))
    for label, make in getattr(importlib.import_module(f"tests.io.format_cases.{name}"), "SAMPLES", {}).items()
}
SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "cases" / "damaged"


def written(case: FormatCase, path: Path) -> dict[str, Any]:
    """A small valid file of a format; the options to open it with."""
    axes = max(case.axes, key=len)
    shape = tuple({"x": 17, "y": 13}.get(axis, 3) for axis in axes)
    dtype = np.dtype(case.dtypes[-1])
    spec = Spec(axes, shape, dtype, Geometry.unknown(axes))
    if case.native is not None:
        spec = case_native(case, path.parent / "input", spec)
    sink = open_sink(path, spec)
    sink.write_all(random_values(np.random.default_rng(0), shape, dtype).astype(sink.spec.dtype))
    return dict(case.options(sink.spec))


def path_of(label: str, tmp_path: Path) -> Path:
    return tmp_path / f"file{CASES[label].suffix if label in CASES else Path(label).suffix}"


@pytest.mark.parametrize("label", [*CASES, *SAMPLES])
def test_few_mutations(label: str, tmp_path: Path) -> None:
    assert fuzz(lambda path: make(label, path), path_of(label, tmp_path), 10, 20) == []


@pytest.mark.slow
@pytest.mark.parametrize("label", [*CASES, *SAMPLES])
def test_many_mutations(label: str, tmp_path: Path) -> None:
    assert fuzz(lambda path: make(label, path), path_of(label, tmp_path), 2000, SECONDS, seed=1) == []


def make(label: str, path: Path) -> dict[str, Any]:
    return written(CASES[label], path) if label in CASES else SAMPLES[label](path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder of damaged files is not there")
def test_files_that_once_escaped(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    names = sorted(path.name for path in SHARED.glob("*") if path.name != "README.md")
    child = context.Process(target=read_damaged, args=(sender, names, tmp_path), daemon=True)
    child.start()
    sender.close()
    for name in names:  # a process that ends or hangs has done so at this one
        assert receiver.poll(100), name
        assert receiver.recv() == (name, "")


def read_damaged(sender: Connection, names: list[str], folder: Path) -> None:
    """Read copies of damaged files as images, or as masks of k-space where their names say so."""
    kspace = Spec(("z", "y", "x"), (3, 8, 6), np.dtype(np.complex64), Geometry.unknown(("z", "y", "x")), "kspace")

    def read(path: Path) -> None:
        if path.name.startswith("maskfile"):
            open_mask(path, kspace, "k-space").read()
        else:
            read_everything(path, {})

    for name in names:
        path = folder / name
        shutil.copytree(SHARED / name, path) if (SHARED / name).is_dir() else shutil.copy(SHARED / name, path)
        sender.send((name, defect_of(partial(read, path), 2**20)))
