"""Regions of arrays in files against NumPy."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.io import FlatArray
from common.io.disk import allocate


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[slice, ...], str]:
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    axes = draw(st.permutations(range(len(shape))))
    ends = [sorted(draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in shape]
    region = tuple(slice(low, max(high, low + 1)) for low, high in ends)
    return tuple(shape), tuple(axes), region, draw(st.sampled_from(["u1", "<u2", ">i2", ">f4", "<f8"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), offset=st.integers(0, 20))
def test_regions_are_read_and_written_in_place(
    tmp_path: Path, case: tuple[tuple[int, ...], tuple[int, ...], tuple[slice, ...], str], offset: int
) -> None:
    shape, axes, region, dtype = case
    stored = np.arange(np.prod(shape)).reshape([shape[axis] for axis in axes]).astype(dtype)
    image = stored.transpose(np.argsort(axes))
    assert image.shape == shape
    array = FlatArray(offset, stored.shape, stored.dtype, axes)
    path = tmp_path / "values"
    path.write_bytes(b"h" * offset + stored.tobytes() + b"end")
    assert array.end == path.stat().st_size - 3
    with FileIO(path, "r+") as file:
        np.testing.assert_array_equal(array.read(file, region), image[region])
        block = 100 + np.arange(image[region].size).reshape(image[region].shape)
        array.write(file, region, block.astype(stored.dtype.newbyteorder("=")))
    image[region] = block
    assert path.read_bytes() == b"h" * offset + stored.tobytes() + b"end"


def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    (tmp_path / "values").write_bytes(bytes(10))
    array = FlatArray(0, (3, 4), np.dtype("u1"), (0, 1))
    with FileIO(tmp_path / "values") as file, pytest.raises(EOFError, match="ends at byte 10"):
        array.read(file, (slice(0, 3), slice(0, 4)))


def test_space_is_taken_from_the_disk(tmp_path: Path) -> None:
    (tmp_path / "values").write_bytes(b"head")
    allocate(tmp_path / "values", 2**20)
    assert (tmp_path / "values").read_bytes()[:4] == b"head"
    assert (tmp_path / "values").stat().st_size == 2**20
    assert (tmp_path / "values").stat().st_blocks * 512 >= 2**20


def test_where_the_system_cannot_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "values").write_bytes(b"head")
    monkeypatch.delattr("os.posix_fallocate")
    allocate(tmp_path / "values", 5000)
    assert (tmp_path / "values").stat().st_size == 5000
