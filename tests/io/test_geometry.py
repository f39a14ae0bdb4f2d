"""Places of pixels: units, crops, enlargement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.io import Geometry

AFFINE = np.array([[0, -0.5, 0.1, 10], [0.7, 0, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1]], float)
ZYX = ("z", "y", "x")


def test_spacing_of_an_affine() -> None:
    geometry = Geometry.of_affine(ZYX, AFFINE)
    assert geometry.spacing_mm == pytest.approx((np.hypot(0.1, 2), 0.5, 0.7))
    assert Geometry.of_affine(("y", "x"), AFFINE).spacing_mm == pytest.approx((0.5, 0.7))
    for bad in (np.zeros((4, 4)), AFFINE * np.nan, np.diag([1.0, 1, 0, 1])):
        with pytest.raises(ValueError, match="expected an invertible affine matrix"):
            Geometry.of_affine(ZYX, bad)


@given(factors=st.tuples(*[st.integers(1, 5)] * 3), index=st.tuples(*[st.integers(0, 9)] * 3))
def test_enlarged_pixels_fill_their_pixel(factors: tuple[int, int, int], index: tuple[int, int, int]) -> None:
    """The mean place of the pixels that one became is its own place: edges and centre stay."""
    scale = dict(zip("xyz", factors, strict=True))
    before, after = Geometry.of_affine(ZYX, AFFINE), Geometry.of_affine(ZYX, AFFINE).enlarged(scale)
    first = np.array(index) * factors
    middle = first + (np.array(factors) - 1) / 2
    assert before.affine is not None
    assert after.affine is not None
    np.testing.assert_allclose(after.affine @ [*middle, 1], before.affine @ [*index, 1], atol=1e-9)
    plain = Geometry.of_spacing(ZYX, {"x": 1.0, "y": 2.0, "z": None}, "um", {"x": 5.0}).enlarged(scale)
    assert plain.spacing == (None, 2.0 / factors[1], 1.0 / factors[0])
    assert plain.origin[2] + plain.spacing[2] * (factors[0] - 1) / 2 == pytest.approx(5.0)  # type: ignore[operator]


def test_a_crop_keeps_its_places() -> None:
    part = Geometry.of_affine(ZYX, AFFINE).cropped({"x": 3, "z": 2})
    assert part.affine is not None
    np.testing.assert_allclose(part.affine @ [1, 1, 1, 1], AFFINE @ [4, 1, 3, 1])
    one = part.without("z")
    assert one.axes == ("y", "x")
    assert one.affine is not None
    np.testing.assert_allclose(one.affine[:3, 3], AFFINE[:3] @ [3, 0, 2, 1])


def test_what_is_unknown_stays_unknown() -> None:
    assert Geometry.unknown(("t", "z", "y", "x")).spacing == (None, None, None)
    for unit in (None, "pixel", ""):
        geometry = Geometry.of_spacing(ZYX, {"x": 1.0, "y": 1.0}, unit)
        assert geometry.spacing_mm == (None, None, None)
        assert str(geometry) == "1 x 1 x ? of unknown unit (x, y, z)"
    assert Geometry.of_spacing(ZYX, {"x": 0.0, "y": float("nan"), "z": -1.0}, "mm").spacing == (None, None, None)
    assert str(Geometry.unknown("yx")) == "pixel size unknown"


def test_units() -> None:
    geometry = Geometry.of_spacing(("y", "x"), {"y": 0.65, "x": 0.65}, "\u00b5m")
    assert geometry.spacing_mm == pytest.approx((0.00065, 0.00065))
    assert geometry.in_unit("millimeter").in_unit("micrometer").spacing == (0.65, 0.65)
    assert geometry.agrees(geometry.in_unit("centimeter"))
    assert not geometry.agrees(Geometry.of_spacing(("y", "x"), {"y": 0.65, "x": 0.6501}, "um"))
    assert not geometry.agrees(Geometry.unknown("yx"))
