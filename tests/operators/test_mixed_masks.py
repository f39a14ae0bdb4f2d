"""Masks of several families and rates: each drawn about equally, the same as those of the family and rate alone."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.operators.masks import FixedMask, MaskSampler, MixedMasks, mask_source, sampling_mask

FAMILIES, RATES = ("radial", "cartesian", "gaussian"), (0.125, 0.25, 0.5)
NAMES = [f"slice{index}.png" for index in range(10)]
SHAPE = (32, 32)


@pytest.fixture(scope="module")
def masks():
    return MixedMasks(FAMILIES, RATES)


def test_each_mask_is_that_of_one_family_and_rate_alone(masks):
    alone = {(family, rate): sampling_mask(family, SHAPE, rate, seed=NAMES) for family in FAMILIES for rate in RATES}
    drawn = masks(SHAPE, seed=NAMES)
    assert drawn.shape == (10, 1, 32, 32)
    for place, mask in enumerate(drawn):
        assert mask[0, 16, 16] == 1
        assert sum(torch.equal(mask, made[place]) for made in alone.values()) == 1


def test_rates_and_families_are_drawn_about_equally(masks):
    """Within four standard deviations of a fair draw."""
    n = 900
    drawn = masks(SHAPE, seed=3, batch=n)
    counts = np.bincount(drawn.sum(dim=(1, 2, 3)).long(), minlength=513)
    assert counts.sum() == n
    tolerance = 4 * (n * 2 / 9) ** 0.5
    for rate in RATES:
        assert abs(counts[round(rate * 1024)] - n / 3) < tolerance
    columns = (drawn == drawn[:, :, :1]).all(dim=(1, 2, 3)).sum()
    assert abs(int(columns) - n / 3) < tolerance


def test_a_family_given_twice_is_drawn_twice_as_often():
    drawn = MixedMasks(["cartesian", "cartesian", "radial"], [0.25])(SHAPE, seed=0, batch=900)
    columns = int((drawn == drawn[:, :, :1]).all(dim=(1, 2, 3)).sum())
    assert abs(columns - 600) < 4 * (900 * 2 / 9) ** 0.5


@given(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=5))
def test_a_file_keeps_its_mask_in_any_batch(masks, names):
    for name, mask in zip(names, masks(SHAPE, seed=names), strict=True):
        assert torch.equal(mask[None], masks(SHAPE, seed=name))


def test_options_go_to_their_family():
    fixed = MixedMasks(["radial", "cartesian"], [0.25], {"radial": {"angle_deg": 0.0}})(SHAPE, seed=0, batch=40)
    spokes = fixed[(fixed != fixed[:, :, :1]).flatten(1).any(dim=1)]
    assert len(spokes) > 5
    assert all(torch.equal(mask, spokes[0]) for mask in spokes)


def test_a_configuration_gets_what_it_asks_for(tmp_path):
    assert isinstance(mask_source("radial", 0.1, {"angle_deg": 0.0}), MaskSampler)
    expected = MixedMasks(["radial"], [0.1, 0.2])(SHAPE, seed=1, batch=4)
    assert torch.equal(mask_source("radial", [0.1, 0.2])(SHAPE, seed=1, batch=4), expected)
    expected = MixedMasks(["radial", "spiral"], [0.3])(SHAPE, seed=1, batch=4)
    assert torch.equal(mask_source(["radial", "spiral"], 0.3)(SHAPE, seed=1, batch=4), expected)
    np.save(tmp_path / "mask.npy", np.ones(SHAPE, dtype=bool))
    assert isinstance(mask_source(["radial"], [0.1], file=tmp_path / "mask.npy"), FixedMask)


def test_through_pickle(masks):
    copy = pickle.loads(pickle.dumps(masks))
    assert torch.equal(copy(SHAPE, "a.png"), masks(SHAPE, "a.png"))
    assert repr(copy).startswith("MixedMasks([MaskSampler('radial', rate=0.125)")


@pytest.mark.parametrize(
    ("families", "rates", "options", "message"),
    [
        ([], [0.1], None, r"at least one mask family and one rate, got \[\] and \[0.1\]"),
        (["radial"], [], None, "at least one mask family and one rate"),
        (["zigzag"], [0.1], None, "unknown mask family 'zigzag'"),
        (["radial"], [0.1, 1.5], None, r"rate, the sampled fraction, must be in \(0, 1\], got 1.5"),
        (["radial"], [0.1], {"spiral": {}}, "mask options by family, of radial, got those of spiral"),
        (["radial"], [0.1], {"angle_deg": 0.0}, "mask options by family, of radial, got those of angle_deg"),
        (["radial"], [0.1], {"radial": {"width": 1}}, "unknown option 'width' of mask family 'radial'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(families, rates, options, message):
    with pytest.raises(ValueError, match=message):
        MixedMasks(families, rates, options)
