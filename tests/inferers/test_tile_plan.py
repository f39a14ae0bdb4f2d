"""Tiles cover the output once, see enough, and read regions of one shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.inferers import TilePlan


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    n_axes = draw(st.integers(1, 3))
    size, tile, halo, scale = (
        draw(st.tuples(*[numbers] * n_axes))
        for numbers in (st.integers(1, 23), st.integers(1, 16), st.integers(0, 4), st.integers(1, 3))
    )
    assume(all(n <= t or t > 2 * h for n, t, h in zip(size, tile, halo, strict=True)))
    return TilePlan(size, tile, halo, scale)


@given(plan=plans())
def test_every_output_pixel_is_written_once(plan: TilePlan) -> None:
    times = np.zeros(plan.output_size, int)
    for tile in plan:
        times[tile.written] += 1
    np.testing.assert_array_equal(times, 1)


@given(plan=plans())
def test_what_is_kept_is_what_is_written_and_lies_deep_enough(plan: TilePlan) -> None:
    for tile in plan:
        for size, scale, halo, read, kept, written in zip(
            plan.size, plan.upscale, plan.halo, tile.read, tile.kept, tile.written, strict=True
        ):
            assert (kept.start + read.start * scale, kept.stop + read.start * scale) == (written.start, written.stop)
            assert written.start % scale == written.stop % scale == 0
            assert 0 <= read.start <= max(written.start // scale - halo, 0)
            assert min(written.stop // scale + halo, size) <= read.stop <= size


@given(plan=plans())
def test_all_tiles_read_one_shape_no_larger_than_asked(plan: TilePlan) -> None:
    shapes = {tuple(part.stop - part.start for part in tile.read) for tile in plan}
    assert shapes == {plan.tile_shape}


@given(size=st.integers(1, 60), tile=st.integers(1, 30), halo=st.integers(0, 6))
def test_tiles_are_no_larger_than_asked_and_blocks_lie_on_a_grid(size: int, tile: int, halo: int) -> None:
    assume(size <= tile or tile > 2 * halo)
    plan = TilePlan([size], tile, halo, 2)
    assert plan.tile_shape[0] <= tile
    assert [one.written[0].start for one in plan] == [k * plan.block[0] for k in range(len(plan))]
    assert all(one.written[0].stop == one.written[0].start + plan.block[0] for one in list(plan)[:-1])


def test_tiles_are_balanced_and_end_tiles_have_one_halo() -> None:
    plan = TilePlan([260], 256, 6, 4)
    assert plan.tile_shape == (136,)
    assert [one.read[0] for one in plan] == [slice(0, 136), slice(124, 260)]
    assert [one.kept[0] for one in plan] == [slice(0, 520), slice(24, 544)]


def test_an_image_no_larger_than_a_tile_is_read_whole() -> None:
    (tile,) = TilePlan([9, 7], 9, 40, 2)
    assert tile.read == (slice(0, 9), slice(0, 7))
    assert tile.kept == tile.written == (slice(0, 18), slice(0, 14))


def test_slices_of_a_volume_come_one_after_the_other() -> None:
    plan = TilePlan([4, 4, 3], [2, 2, 1], 0, [2, 2, 1])
    corners = [tuple(part.start for part in tile.read) for tile in plan]
    assert corners == [(h, w, d) for d in range(3) for h in (0, 2) for w in (0, 2)]
    assert plan[-1] == plan[len(plan) - 1]
    with pytest.raises(IndexError):
        plan[len(plan)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([20], 12, 6, 2), "tile_size must be more than twice the halo, 12, to enlarge 20 pixels, got 12"),
        (([20, 20], [8], 1, 2), r"tile_size must be .* one for each of 2 axes, got \[8\]"),
        (([20], 0, 1, 2), "tile_size must be a whole number of at least 1"),
        (([20], 8, -1, 2), "halo must be a whole number of at least 0"),
        (([20], 8, 1, 1.5), "upscale must be a whole number of at least 1"),
        (([20, 0], 8, 1, 2), r"at least one pixel along each axis, got \[20, 0\]"),
    ],
)
def test_bad_plans_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TilePlan(*arguments)
