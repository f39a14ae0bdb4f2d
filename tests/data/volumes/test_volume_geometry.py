"""Outer edges stay where they are; units and spellings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.volumes import Geometry, enlargement_matrix
from common.data.volumes.geometry import MILLIMETERS, unit_name

LENGTHS = st.floats(1e-3, 1e3)


@given(
    spacing=st.tuples(LENGTHS, LENGTHS, LENGTHS),
    origin=st.tuples(*[st.floats(-1e3, 1e3)] * 3),
    size=st.tuples(*[st.integers(1, 99)] * 3),
    scale=st.tuples(*[st.integers(1, 8)] * 3),
)
def test_outer_edges_stay(
    spacing: tuple[float, ...], origin: tuple[float, ...], size: tuple[int, ...], scale: tuple[int, ...]
) -> None:
    def edges(geometry: Geometry, sizes: tuple[int, ...]) -> np.ndarray:
        step, first = np.array(geometry.spacing), np.array(geometry.origin)
        return np.stack([first - step / 2, first + (np.array(sizes) - 0.5) * step])

    before = Geometry(spacing, origin, "millimeter")
    after = before.enlarged(scale)
    enlarged = tuple(n * factor for n, factor in zip(size, scale, strict=True))
    np.testing.assert_allclose(edges(after, enlarged), edges(before, size), rtol=1e-9, atol=1e-6)


def test_a_worked_number() -> None:
    after = Geometry((1.0, 2.0, None), (0.0, 10.0, 0.0), "micrometer").enlarged((4, 2, 2))
    assert after == Geometry((0.25, 1.0, None), (-0.375, 9.5, 0.0), "micrometer")


@given(scale=st.tuples(*[st.integers(1, 8)] * 3), n_axes=st.integers(2, 4))
def test_the_matrix_maps_the_corners_of_each_pixel(scale: tuple[int, ...], n_axes: int) -> None:
    matrix = enlargement_matrix(scale[:n_axes], n_axes)
    index = np.array([*range(3, 3 + n_axes), 1.0])
    for axis, factor in enumerate(scale[:n_axes]):
        children = [np.where(np.arange(n_axes + 1) == axis, factor * index + n, index) for n in range(factor)]
        inside = [(matrix @ child)[axis] for child in children]
        assert np.mean(inside) == pytest.approx(index[axis])  # the children of a pixel lie about its centre
        assert inside[0] - 0.5 / factor == pytest.approx(index[axis] - 0.5)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("µm", "micrometer"),
        ("\u03bcm", "micrometer"),
        ("\\u00B5m", "micrometer"),
        ("micron", "micrometer"),
        ("MM", "millimeter"),
        ("inch", "inch"),
        ("pixel", None),
        ("", None),
        (None, None),
    ],
)
def test_units_by_any_spelling(text: str | None, name: str | None) -> None:
    assert unit_name(text) == name


@pytest.mark.parametrize("unit", MILLIMETERS)
def test_units_convert_and_come_back(unit: str) -> None:
    before = Geometry((1.5, None), (3.0, 0.0), unit)
    there = before.in_unit("millimeter")
    assert there.spacing[0] == pytest.approx(1.5 * MILLIMETERS[unit])
    back = there.in_unit(unit)
    assert (back.unit, back.spacing[1]) == (unit, None)
    assert back.spacing[0] == pytest.approx(1.5)
    assert back.origin[0] == pytest.approx(3.0)
    unknown = Geometry.unknown(2)
    assert unknown.in_unit("meter") is unknown
