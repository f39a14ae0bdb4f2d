"""Masks of several accelerations: exact counts, one draw for each seed, all accelerations alike."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from common.operators.masks import AccelerationMasks, sampling_mask

ACCELERATIONS, FRACTIONS = (4, 8, 16, 32), (0.08, 0.04, 0.02, 0.01)
NAMES = [f"file{index}.h5" for index in range(12)]


@pytest.fixture(scope="module")
def masks():
    return AccelerationMasks(ACCELERATIONS, FRACTIONS)


def accelerations_of(mask):
    """The acceleration that each mask's number of columns belongs to."""
    columns, width = mask[:, 0, 0].sum(dim=1).tolist(), mask.shape[-1]
    numbers = {round(width / accel): accel for accel in ACCELERATIONS}
    return [numbers[int(n)] for n in columns]


@pytest.mark.parametrize("family", ["cartesian", "equispaced"])
@pytest.mark.parametrize(("height", "width"), [(8, 320), (5, 368), (3, 201)])
def test_counts_of_every_pair_are_exact(family, height, width):
    masks = AccelerationMasks(ACCELERATIONS, FRACTIONS, family)((height, width), seed=3, batch=64)
    assert masks.shape == (64, 1, height, width)
    assert masks.dtype == torch.float32
    assert torch.equal(masks, masks[:, :, :1].expand_as(masks))  # whole columns
    found = accelerations_of(masks)
    assert set(found) == set(ACCELERATIONS)
    for mask, accel in zip(masks[:, 0, 0], found, strict=True):
        n_center = round(FRACTIONS[ACCELERATIONS.index(accel)] * width)
        first = width // 2 - n_center // 2
        assert mask[first : first + n_center].all()
        assert int(mask.sum()) == round(width / accel)


def test_a_mask_is_the_one_of_its_acceleration_alone(masks):
    drawn = masks((4, 320), seed=NAMES)
    for name, mask, accel in zip(NAMES, drawn, accelerations_of(drawn), strict=True):
        fraction = FRACTIONS[ACCELERATIONS.index(accel)]
        alone = sampling_mask("cartesian", (4, 320), accel=accel, center_fraction=fraction, seed=name)
        assert torch.equal(mask[None], alone)


@given(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=6))
def test_a_file_keeps_its_mask_in_any_batch(masks, names):
    drawn = masks((2, 160), seed=names)
    for name, mask in zip(names, drawn, strict=True):
        assert torch.equal(mask[None], masks((2, 160), seed=name))
        assert torch.equal(mask[None], masks((2, 160), seed=[name]))


@given(seed=st.integers(), batch=st.integers(1, 6))
def test_a_mask_of_a_training_batch_does_not_depend_on_the_others(masks, seed, batch):
    assert torch.equal(masks((2, 96), seed, batch=8)[:batch], masks((2, 96), seed, batch=batch))


def test_all_accelerations_are_drawn_about_equally(masks):
    """Within four standard deviations of a fair draw; by one seed of a batch, by many seeds, by file names."""
    n = 1000
    tolerance = 4 * (n * 0.25 * 0.75) ** 0.5
    one_seed = masks((1, 128), seed=5, batch=n)
    many_seeds = torch.cat([masks((1, 128), seed=seed) for seed in range(n)])
    names = masks((1, 128), seed=[f"file{index:07d}.h5" for index in range(n)])
    for drawn in (one_seed, many_seeds, names):
        counts = np.bincount(accelerations_of(drawn), minlength=33)[list(ACCELERATIONS)]
        assert np.abs(counts - n / 4).max() < tolerance


def test_the_acceleration_says_nothing_about_the_lines(masks):
    """Outside the centre every line is as likely as any other: the draw takes numbers of its own stream."""
    drawn = masks((1, 64), seed=1, batch=6000)
    found = torch.tensor(accelerations_of(drawn))
    outer = drawn[found == 4, 0, 0]
    outer = torch.cat((outer[:, :28], outer[:, 36:]), dim=1)
    expected = (16 - 5) / (64 - 5)
    deviation = (expected * (1 - expected) / len(outer)) ** 0.5
    assert (outer.mean(0) - expected).abs().max() < 4.5 * deviation


def test_seeds_may_be_numbers_of_numpy(masks):
    assert torch.equal(masks((2, 64), np.int64(7), batch=3), masks((2, 64), 7, batch=3))


def test_from_a_config_and_through_pickle(masks):
    config = {
        "_target_": "common.operators.masks.AccelerationMasks",
        "accelerations": list(ACCELERATIONS),
        "center_fractions": None,  # 0.32 / acceleration
    }
    built = ConfigParser({"mask": config}).get_parsed_content("mask")
    expected = masks((3, 96), seed="a.h5")
    assert torch.equal(built((3, 96), "a.h5"), expected)
    assert torch.equal(pickle.loads(pickle.dumps(built))((3, 96), "a.h5"), expected)
    assert "rate=0.03125, center_fraction=0.01" in repr(built)


@pytest.mark.parametrize(
    ("accelerations", "fractions", "message"),
    [
        ([4, 8], [0.08], r"a center_fraction for each acceleration, got accelerations=\[4, 8\] and .*=\[0.08\]"),
        ([4], [0.08, 0.04], "a center_fraction for each acceleration"),
        ([], [], "a center_fraction for each acceleration"),
        ([4, 8], [0.08, 0.2], r"must be in \(0, 0.125\] for acceleration 8, got 0.2; lower one of them"),
        ([4], [0], r"must be in \(0, 0.25\] for acceleration 4, got 0"),
        ([0], [0.08], "accel must be at least 1, got 0"),
        ([-4], [-0.08], "accel must be at least 1, got -4"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(accelerations, fractions, message):
    with pytest.raises(ValueError, match=message):
        AccelerationMasks(accelerations, fractions)


def test_other_families_and_seeds_are_refused(masks):
    with pytest.raises(ValueError, match=r"family must be cartesian or equispaced, .*got 'radial'"):
        AccelerationMasks([4], [0.08], "radial")
    with pytest.raises(ValueError, match="2 seeds for batch=3"):
        masks((8, 64), seed=["a", "b"], batch=3)
    with pytest.raises(TypeError, match=r"seed must be an integer, a file name .*, got 0.5"):
        masks((8, 64), seed=0.5)
