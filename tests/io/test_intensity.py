"""From stored values to [0, 1] and back: one rule for training, inference and reports."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from common.errors import DataError
from common.io import ClippedShare, Intensity, IntensityScale, Source, find_range, given_range, open_source, to_dtype


def saved(folder: Path, values: np.ndarray, intensity: Intensity | None = None) -> Source:
    from dataclasses import replace

    tifffile.imwrite(folder / "image.tif", values, photometric="minisblack", metadata=None)
    source = open_source(folder / "image.tif")
    source.spec = replace(source.spec, intensity=intensity or Intensity())
    return source


def test_auto(tmp_path: Path) -> None:
    ramp = np.arange(200).reshape(10, 20)
    assert find_range(saved(tmp_path, ramp.astype("u1")), "auto") == (0, 255)
    assert find_range(saved(tmp_path, ramp.astype("u2")), "auto") == (0, 199)
    assert find_range(saved(tmp_path, ramp.astype("u2"), Intensity(declared_max=5.0)), "auto") == (0, 5)
    assert find_range(saved(tmp_path, ramp.astype("u1"), Intensity(slope=2.0, intercept=10.0)), "auto") == (10, 520)
    assert find_range(saved(tmp_path, ramp.astype("u1"), Intensity(slope=-1.0, intercept=255.0)), "auto") == (0, 255)
    assert find_range(saved(tmp_path, ramp.astype("u2"), Intensity(slope=0.5, intercept=1.0)), "auto") == (0, 100.5)
    assert find_range(saved(tmp_path, (ramp - 2).astype("f4")), "auto") == (0, 197)
    assert find_range(saved(tmp_path, np.zeros((4, 4), "u2")), "auto") == (0, 1)
    assert find_range(saved(tmp_path, (3j * ramp).astype("c8")), "auto") == (0, 597)


def test_negative_values_need_a_range(tmp_path: Path) -> None:
    values = np.full((4, 4), -1000, "i2")
    values[0, 0] = np.iinfo("i2").min
    with pytest.raises(DataError, match=r'image.tif: has values down to -32768; .*--intensity_range "\[-1000, 2000\]"'):
        find_range(saved(tmp_path, values), "auto")
    assert find_range(saved(tmp_path, values), "measured") == (-32768, -1000)
    assert find_range(saved(tmp_path, values), [-1000, 2000]) == (-1000, 2000)


def test_one_hot_pixel_is_reported_and_can_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = np.full((32, 32), 900, "u2")
    values[3, 4] = 1000
    with caplog.at_level(logging.WARNING):
        assert find_range(saved(tmp_path, values), "auto") == (0, 1000)
    assert not caplog.messages
    values[0, 0] = 65535
    with caplog.at_level(logging.WARNING):
        assert find_range(saved(tmp_path, values), "auto") == (0, 65535)
    assert "its maximum 65535 is far above the value 1000 that 0.01 % of the pixels exceed" in caplog.messages[0]
    assert find_range(saved(tmp_path, values), "robust") == (0, 1000)
    large = np.random.default_rng(0).integers(0, 5000, (300, 400)).astype("u2")
    robust = find_range(saved(tmp_path, large), "robust")[1]
    assert robust == np.sort(large.ravel())[-13]  # 12 of 120000 exceed it


@pytest.mark.parametrize("value", ["most", [1], [2, 1], [0, float("nan")], True, -3.0, ["a", 1], [0, float("inf")]])
def test_ranges_that_are_none(value: object) -> None:
    with pytest.raises(ValueError, match="intensity_range must be 'auto', 'robust', 'measured', a positive number"):
        given_range(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_to_unit_and_back(dtype: str) -> None:
    values = np.array([0, 1, 5, 100, 127], dtype)
    scale = IntensityScale.between(10.0, 60.0, Intensity(slope=0.5, intercept=1.0))
    unit = scale.to_unit(values)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, (values * 0.5 + 1 - 10) / 50, rtol=1e-6)
    np.testing.assert_allclose(scale.to_stored(unit, np.dtype(dtype)), values, rtol=1e-6, atol=1e-4)


def test_integers_are_rounded_and_clipped() -> None:
    np.testing.assert_array_equal(to_dtype(np.array([-3.0, 1.6, 300]), np.dtype("u1")), np.array([0, 2, 255], "u1"))
    np.testing.assert_array_equal(to_dtype(np.array([2e19, -2e19]), np.dtype("i8")), [2**63 - 1, -(2**63)])


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.nan, "u1"),
        (np.inf, "i2"),
        (511, "u1"),
        (-256, "u1"),
        (1e30, "i8"),
        (np.nan, "f4"),
        (1e39, "f4"),
        (7e4, "f2"),
    ],
)
def test_values_that_a_type_cannot_hold_are_refused(value, dtype):
    with pytest.raises(DataError, match="got 1 NaN or infinite" if not np.isfinite(value) else "got values up to"):
        to_dtype(np.array([0.0, value, 1.0]), np.dtype(dtype))
    with pytest.raises(DataError):
        Intensity(slope=0.5, limits=(0, 100)).stored(np.array([value / 2]), np.dtype(dtype))
    rule = Intensity(slope=2.0, intercept=-1000.0, limits=(0, 4095))
    np.testing.assert_array_equal(rule.stored(np.array([-1200.0, 0, 9000]), np.dtype("u2")), [0, 500, 4095])


def test_values_beyond_float32_are_refused(tmp_path: Path) -> None:
    source = saved(tmp_path, np.array([[1.0, 1e300]]))
    with pytest.raises(DataError, match=r"image.tif: expected values below 3.4e\+38 \(float32\), got 1e\+300"):
        source.read_unit(None, 0.0, 1.0)
    np.testing.assert_allclose(source.read_unit(None, 0.0, 1e300), [[0, 1]], atol=1e-7)


def test_what_lies_beyond_the_range_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    share = ClippedShare()
    share.add(np.array([-0.5, 0, 0.3, 1]))
    share.add(np.array([1.2, 2, 1 + 1e-8, 0]))
    with caplog.at_level(logging.WARNING):
        share.warn("scan", -1000, 2000)
    assert caplog.messages[0].startswith("scan: 12.5 % of the values lie below -1000 and 25 % of the values lie above")
