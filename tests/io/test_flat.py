"""Regions of arrays in files against NumPy."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.io.flat import FlatArray


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[slice, ...], str]:
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    ends = [sorted(draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in shape]
    region = tuple(slice(low, max(high, low + 1)) for low, high in ends)
    return tuple(shape), region, draw(st.sampled_from(["u1", "<u2", ">i2", ">f4", "<f8"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), offset=st.integers(0, 20))
def test_regions_are_read(tmp_path: Path, case: tuple[tuple[int, ...], tuple[slice, ...], str], offset: int) -> None:
    shape, region, dtype = case
    stored = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    array = FlatArray(offset, stored.shape, stored.dtype)
    path = tmp_path / "values"
    path.write_bytes(b"h" * offset + stored.tobytes() + b"end")
    assert array.end == path.stat().st_size - 3
    with FileIO(path) as file:
        np.testing.assert_array_equal(array.read(file, region), stored[region])


def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    (tmp_path / "values").write_bytes(bytes(10))
    array = FlatArray(0, (3, 4), np.dtype("u1"))
    with FileIO(tmp_path / "values") as file, pytest.raises(EOFError, match="ends at byte 10"):
        array.read(file, (slice(0, 3), slice(0, 4)))
