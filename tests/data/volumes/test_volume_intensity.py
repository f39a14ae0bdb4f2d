"""Stored values to [0, 1] and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data import DataError, open_slices
from common.data.volumes import IntensityScale, VolumeSource, find_range, open_source


def source(tmp_path: Path, values: np.ndarray) -> VolumeSource:
    np.save(tmp_path / "a.npy", values)
    return open_source(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int8", "int16", "<u2", ">u2", ">i2"])
def test_all_values_of_short_types_come_back(dtype: str) -> None:
    limits = np.iinfo(dtype)
    stored = np.arange(limits.min, limits.max + 1).astype(dtype)
    scale = IntensityScale.between(float(limits.min), float(limits.max))
    unit = scale.to_unit(stored)
    assert unit.dtype == np.float32
    assert (unit[0], unit[-1]) == (0, 1)
    np.testing.assert_array_equal(scale.to_stored(unit, stored.dtype), stored)


@given(value=st.integers(-(2**31), 2**31 - 1))
def test_long_integers_keep_24_bits(value: int) -> None:
    scale = IntensityScale.between(-(2.0**31), 2.0**31)
    stored = np.array([value], np.int32)
    back = scale.to_stored(scale.to_unit(stored), stored.dtype)
    assert abs(int(back[0]) - value) <= 2**8


def test_integers_are_rounded_and_clipped_to_the_type() -> None:
    scale = IntensityScale.between(0, 100)
    unit = np.array([-1, 0.004, 0.006, 1.5, 3], np.float32)
    np.testing.assert_array_equal(scale.to_stored(unit, np.dtype("uint8")), [0, 0, 1, 150, 255])
    np.testing.assert_allclose(scale.to_stored(unit, np.dtype("float32")), unit * 100)


def test_a_slope_is_part_of_the_scale() -> None:
    scale = IntensityScale.between(-20, 100, rescale=(0.5, -20))
    np.testing.assert_allclose(scale.to_unit(np.array([0, 240], np.uint8)), [0, 1], atol=1e-7)
    np.testing.assert_array_equal(scale.to_stored(np.array([0.5], np.float32), np.dtype("uint8")), [120])


@pytest.mark.parametrize(("dtype", "largest"), [("uint8", 255), ("uint16", 7), ("int16", 7), ("float32", 7)])
def test_eight_bits_have_a_range_and_others_that_of_the_image(tmp_path: Path, dtype: str, largest: float) -> None:
    image = np.full((3, 4), 3, dtype)
    image[1, 2] = 7
    with source(tmp_path, image) as opened:
        assert find_range(opened, "auto") == (0, largest)
        assert find_range(opened, 4095) == (0, 4095)


def test_auto_is_what_training_reads_slices_with(tmp_path: Path) -> None:
    for number, dtype in enumerate(("uint8", "uint16", "int16", "float32")):
        (tmp_path / str(number)).mkdir()
        image = np.random.default_rng(0).integers(0, 200, (6, 5)).astype(dtype)
        with source(tmp_path / str(number), image) as opened:
            low, high = find_range(opened, "auto")
            unit = IntensityScale.between(low, high).to_unit(image)
            np.testing.assert_allclose(open_slices(opened.path).read(0), unit, rtol=1e-6)
            unit = IntensityScale.between(*find_range(opened, [-50, 250])).to_unit(image)
            np.testing.assert_allclose(open_slices(opened.path, intensity_range=[-50, 250]).read(0), unit, rtol=1e-6)


def test_negative_values_need_a_range(tmp_path: Path) -> None:
    with source(tmp_path, np.array([[-1000, 5], [1500, 7]], np.int16)) as opened:
        with pytest.raises(DataError, match=r"a.npy: has values down to -1000; say which .*\[-1000, 2000\] for CT"):
            find_range(opened, "auto")
        assert find_range(opened, "measured") == (-1000, 1500)
    with source(tmp_path, np.array([[-0.01, 1]], np.float32)) as opened:  # what a resampling leaves
        assert find_range(opened, "auto") == (0, 1)


@pytest.mark.parametrize(("values", "expected"), [([3, 9, 5], (0, 9)), ([-4, 9, 5], (-4, 9)), ([-4, -9, -5], (-9, -4))])
def test_a_measured_range_keeps_zero_unless_values_are_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[int], expected: tuple[float, float]
) -> None:
    monkeypatch.setattr("common.data.volumes.source._BLOCK", 2)  # several blocks
    with source(tmp_path, np.array(values, np.float32)[:, None, None] * np.ones((1, 3, 2), np.float32)) as opened:
        assert find_range(opened, "measured") == expected


def test_ranges_that_are_none(tmp_path: Path) -> None:
    with source(tmp_path, np.zeros((3, 4), np.float32)) as opened:
        with pytest.raises(DataError, match="all values are 0"):
            find_range(opened, "measured")
        for wrong in ([1], [1, 1], [2, 1], [0, float("inf")], [float("nan"), 1], [0, 1, 2]):
            with pytest.raises(ValueError, match=r"two rising numbers \[low, high\]"):
                find_range(opened, wrong)
        with pytest.raises(ValueError, match="must be 'auto', 'measured', a number or two"):
            find_range(opened, "dtype")
        assert find_range(opened, [0, 4095]) == (0.0, 4095.0)
