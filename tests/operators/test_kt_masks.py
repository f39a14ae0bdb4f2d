"""k-t masks: what is sampled in each frame, that frames differ, and that seeds repeat."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.operators.masks.kt import KT_FAMILIES, KtMasks


def masks(family="radial_golden", shape=(96, 96, 16), seed=0, batch=1, **options):
    return KtMasks(family, **options)(shape, seed, batch)


@pytest.mark.parametrize("family", KT_FAMILIES)
def test_zeros_and_ones_with_dc_and_other_samples_in_each_frame(family):
    mask = masks(family, (48, 40, 6), batch=2)
    assert mask.dtype == torch.float32
    assert mask.shape == (2, 1, 48, 40, 6)
    assert set(mask.unique().tolist()) == {0, 1}
    assert mask[:, :, 24, 20].all()
    frames = mask[0, 0].flatten(0, 1).T
    assert len(frames.unique(dim=0)) == 6
    assert not torch.equal(mask[0], mask[1])


@pytest.mark.parametrize(("size", "fraction"), [(96, 0.130), (192, 0.066)])
def test_thirteen_spokes_sample_as_documented(size, fraction):
    assert masks(shape=(size, size, 8)).mean().item() == pytest.approx(fraction, abs=0.0008)


def test_each_spoke_is_a_line_through_dc():
    """One spoke of a 33 x 33 grid: the samples of its longer axis, mirrored at DC, at one angle."""
    mask = masks(shape=(33, 33, 5), n_spokes=1)[0, 0]
    assert torch.equal(mask, mask.flip((0, 1)))
    assert mask.sum(dim=(0, 1)).tolist() == [33] * 5
    angles = []
    for frame in range(5):
        rows, columns = (mask[:, :, frame].nonzero()[-1] - 16).tolist()
        angles.append(math.degrees(math.atan2(rows, columns)) % 180)
    steps = [(after - before) % 180 for before, after in pairwise(angles)]
    assert steps == pytest.approx([111.246] * 4, abs=3)


def test_golden_angle_goes_on_from_frame_to_frame():
    """Two frames of 3 spokes are one frame of 6."""
    two, one = masks(shape=(64, 64, 2), n_spokes=3), masks(shape=(64, 64, 1), n_spokes=6)
    assert torch.equal(two.amax(dim=4), one[..., 0])


@pytest.mark.parametrize("family", ["cartesian_random", "cartesian_golden"])
def test_whole_rows_at_the_acceleration_with_the_centre(family):
    mask = masks(family, (96, 10, 12), accel=8, n_center=4)[0, 0]
    assert torch.equal(mask, mask[:, :1].expand_as(mask))
    assert mask[:, 0].sum(dim=0).tolist() == [12] * 12
    assert mask[46:50].all()
    rows = mask[:, 0].sum(dim=1)
    assert rows[36:60].sum() > rows[:24].sum() + rows[72:].sum()  # denser at the centre


def test_golden_rows_meet_more_of_kspace_than_random_ones():
    met = {
        family: masks(family, (128, 1, 12), batch=20, accel=16).amax(dim=4).mean()
        for family in ("cartesian_random", "cartesian_golden")
    }
    assert met["cartesian_golden"] > 1.03 * met["cartesian_random"]


@given(
    family=st.sampled_from(KT_FAMILIES),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    frames=st.integers(1, 4),
    seed=st.integers(0, 2**40),
)
def test_any_size(family, height, width, frames, seed):
    sampler = KtMasks(family, n_spokes=2, accel=2, n_center=1)
    mask = sampler((height, width, frames), seed, 2)
    assert mask.shape == (2, 1, height, width, frames)
    assert mask[:, :, height // 2, width // 2].all()
    assert torch.equal(mask, sampler((height, width, frames), seed, 2))
    assert torch.equal(mask[:1], sampler((height, width, frames), seed))


def test_a_file_keeps_its_mask_in_any_batch():
    sampler = KtMasks()
    both = sampler((24, 24, 3), ["a.h5", "b.h5"], 2)
    assert torch.equal(both[1:], sampler((24, 24, 3), "b.h5"))
    assert not torch.equal(both[0], both[1])


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"unknown k-t mask family 'vista'; choose one of radial_golden, cart"):
        KtMasks("vista")
    with pytest.raises(ValueError, match="n_spokes and n_center must be at least 1, got 0 and 4"):
        KtMasks(n_spokes=0)
    with pytest.raises(ValueError, match=r"accel must be at least 1, got 0\.5"):
        KtMasks(accel=0.5)
    with pytest.raises(ValueError, match="density must be at least 0, got -1"):
        KtMasks(density=-1)
    with pytest.raises(
        ValueError, match="accel 8 leaves 2 of 16 rows a frame, less than n_center=4; lower one of them"
    ):
        KtMasks("cartesian_random")((16, 16, 2), 0)
    with pytest.raises(ValueError, match="must be at least 1, got height=16, width=16, n_frames=0"):
        KtMasks()((16, 16, 0), 0)
    assert "accel=8" in repr(KtMasks("cartesian_golden"))
    assert repr(KtMasks()) == "KtMasks('radial_golden', n_spokes=13)"
