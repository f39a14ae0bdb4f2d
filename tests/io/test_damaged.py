"""Damaged files of every format: one line, soon, and in bounded memory."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import DataError
from common.io import Geometry, Spec, open_sink, open_source
from tests.io.format_case import FormatCase, all_cases
from tests.io.fuzzing import fuzz
from tests.io.test_formats import case_native, random_values

FOLDER = Path(__file__).parent / "format_cases"
CASES = {case.label + case.dtypes[0]: case for case in all_cases()}
# of formats, or kinds of them, that are read and not written: {label: make(path) -> options}
SAMPLES = {
    label: make
    for name in sorted(path.stem for path in FOLDER.glob("*.py"))
    for label, make in getattr(importlib.import_module(f"tests.io.format_cases.{name}"), "SAMPLES", {}).items()
}
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
    assert fuzz(lambda path: make(label, path), path_of(label, tmp_path), 60, 20) == []


@pytest.mark.slow
@pytest.mark.parametrize("label", [*CASES, *SAMPLES])
def test_many_mutations(label: str, tmp_path: Path) -> None:
    assert fuzz(lambda path: make(label, path), path_of(label, tmp_path), 2000, 300, seed=1) == []


def make(label: str, path: Path) -> dict[str, Any]:
    return written(CASES[label], path) if label in CASES else SAMPLES[label](path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder of damaged files is not there")
@pytest.mark.parametrize("name", sorted(p.name for p in SHARED.glob("*") if p.name != "README.md"))
def test_files_that_once_escaped(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shutil.copytree(SHARED / name, path) if (SHARED / name).is_dir() else shutil.copy(SHARED / name, path)
    try:
        with open_source(path) as source:
            source.read()
    except (DataError, OSError) as error:
        assert "\n" not in str(error)  # noqa: PT017
