"""An output appears whole or not at all, and an unfinished one is resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import DataError
from common.io import Geometry, Spec, open_sink, open_source

SHAPE = (3, 20, 30)
VALUES = np.random.default_rng(0).integers(0, 2**16, SHAPE, np.uint16)
SPEC = Spec(("z", "y", "x"), SHAPE, VALUES.dtype, Geometry.unknown("zyx"))
REGIONS = [SPEC.region(z=n, y=rows) for n in range(3) for rows in (slice(0, 8), slice(8, 20))]
IDENTITY = {"input": "a", "weights": "b"}
PATHS = ["out.tif", "out", "out.nii.gz"]


def write(path: Path, regions: list, identity: dict[str, str] | None = IDENTITY, finish: bool = False) -> int:
    """Write what is not held; return how many regions that was."""
    count = 0
    sink = open_sink(path, SPEC)
    sink.begin(identity)
    for region in regions:
        if not sink.holds(region):
            sink.write(region, VALUES[region])
            count += 1
    if finish:
        sink.finish()
    return count


def content(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


@pytest.mark.parametrize("name", PATHS)
def test_a_killed_run_resumes_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    whole, killed = tmp_path / "a" / name, tmp_path / "b" / name
    assert write(whole, REGIONS, finish=True) == 6
    assert write(killed, REGIONS[:4]) == 4
    assert not killed.exists()
    assert write(killed, REGIONS, finish=True) == 2
    assert content(killed) == content(whole)
    assert [entry.name for entry in killed.parent.iterdir()] == [name]
    with open_source(killed) as source:
        np.testing.assert_array_equal(source.read(), VALUES)


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    write(tmp_path / "out.tif", REGIONS[:2])
    with pytest.raises(DataError, match=r"out.tif.partial: .* was begun with weights b \(now c\); resume with those"):
        write(tmp_path / "out.tif", REGIONS, {**IDENTITY, "weights": "c"})


def test_a_part_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    write(tmp_path / "out.tif", REGIONS[:4])
    partial = tmp_path / "out.tif.partial"
    whole = next(partial.glob("*.npy"))
    whole.rename(partial / ".0123.npy")  # as it is called while it is written
    assert write(tmp_path / "out.tif", REGIONS, finish=True) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.tif"]


def test_damaged_parts(tmp_path: Path) -> None:
    write(tmp_path / "out.tif", REGIONS[:4])
    partial = tmp_path / "out.tif.partial"
    part = sorted(partial.glob("*.npy"))[0]
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{part.name}: cannot be read as a part of an unfinished output"):
        write(tmp_path / "out.tif", REGIONS, finish=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.tif.partial"]
    (partial / "identity.json").write_text("hello")
    with pytest.raises(DataError, match=r"out.tif.partial: damaged; remove it"):
        write(tmp_path / "out.tif", REGIONS)


def test_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out.tif: 1200 of 1800 values are written"):
        write(tmp_path / "out.tif", REGIONS[2:], finish=True)


@pytest.mark.parametrize("name", PATHS)
def test_a_run_killed_after_the_name_only_removes_the_parts(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path, REGIONS)
    parts = {file.name: file.read_bytes() for file in path.with_name(f"{name}.partial").iterdir()}
    write(path, REGIONS, finish=True)
    before = content(path)
    path.with_name(f"{name}.partial").mkdir()
    for file, octets in parts.items():
        (path.with_name(f"{name}.partial") / file).write_bytes(octets)
    assert write(path, REGIONS, finish=True) == 0
    assert content(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_without_an_identity_an_output_starts_anew(tmp_path: Path) -> None:
    write(tmp_path / "out.tif", REGIONS[:4])
    assert write(tmp_path / "out.tif", REGIONS, None, finish=True) == 6
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.tif"]


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="out: exists already; remove it, or choose another output"):
        write(tmp_path / "out", REGIONS)
    with pytest.raises(DataError, match="out: exists already; remove it, or choose another output"):
        open_sink(tmp_path / "out", SPEC).write_all(VALUES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_nothing_is_left_of_a_whole_write_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected values \[3, 20, 30\] uint16, got \[3, 20, 30\] float64"):
        open_sink(tmp_path / "out.tif", SPEC).write_all(VALUES.astype(float))
    assert not list(tmp_path.iterdir())


def test_suffixes_that_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"out.gif: .gif is not written; choose --output_suffix .tif"):
        open_sink(tmp_path / "out.gif", SPEC)
    with pytest.raises(DataError, match=r"expected a folder, without a suffix, or a .tif"):
        open_sink(tmp_path / "out.png", SPEC)
