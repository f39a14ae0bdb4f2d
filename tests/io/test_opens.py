"""How often a file is opened: for its header, and once for all regions that are read of it."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from common.io import open_source
from tests.io.test_damaged import CASES, SAMPLES, make, path_of

_counted: list[Counter[str]] = []  # a hook stays for the rest of the process: it counts into the last one, if any


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if _counted and event == "open" and isinstance(arguments[0], str | os.PathLike) and arguments[1] in ("r", "rb"):
        _counted[-1][os.fspath(arguments[0])] += 1


@pytest.fixture
def opens() -> Iterator[Counter[str]]:
    """The number of times that each path was opened by Python to read; libraries that open files in C are not seen."""
    if not _counted:
        sys.addaudithook(_count)
    _counted.append(Counter())
    yield _counted[-1]
    _counted.clear()
    _counted.append(Counter())


@pytest.mark.parametrize("label", [label for label in (*CASES, *SAMPLES) if "zarr" not in label])  # chunks are files
def test_a_file_is_not_opened_again_for_each_region(label: str, tmp_path: Path, opens: Counter[str]) -> None:
    path = path_of(label, tmp_path)
    options = make(label, path)
    opens.clear()
    with open_source(path, **options) as source:
        part = tuple(slice(0, 1) for _ in source.spec.shape)
        source.read(part)
        before = {name: n for name, n in opens.items() if str(tmp_path) in name}
        assert max(before.values(), default=0) <= 4  # kind, header, what the header leaves open, values
        for _ in range(3):
            source.read(part)
        assert {name: n for name, n in opens.items() if str(tmp_path) in name} == before


def test_an_hdf5_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Counted(h5py.File):
        def __init__(self, name: Path, *arguments: object, **options: object) -> None:
            opened.append(str(name))
            super().__init__(name, *arguments, **options)

    labels = [label for label in (*CASES, *SAMPLES) if path_of(label, tmp_path).suffix in (".h5", ".mrd")]
    assert len(labels) > 2
    for label in labels:
        path = path_of(label, tmp_path)
        options = make(label, path)
        opened.clear()
        with monkeypatch.context() as patch:
            patch.setattr(h5py, "File", Counted)
            with open_source(path, **options) as source:
                source.read()
        assert opened == [str(path)], label
