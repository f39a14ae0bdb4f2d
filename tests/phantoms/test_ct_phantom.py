"""The chest phantom."""

import numpy as np
import pytest

from common.phantoms.ct_phantom import WINDOW, chest_ct_phantom


def hounsfield(chest):
    return chest * (WINDOW[1] - WINDOW[0]) + WINDOW[0]


@pytest.fixture(scope="module")
def chests():
    return [hounsfield(chest_ct_phantom(seed, 256)) for seed in range(6)]


def test_each_tissue_has_its_share(chests):
    for chest in chests:
        shares = {
            "air": (chest < -970).mean(),
            "lung": ((chest > -950) & (chest < -700)).mean(),
            "fat": ((chest > -140) & (chest < -50)).mean(),
            "soft": ((chest > 0) & (chest < 120)).mean(),
            "bone": (chest > 350).mean(),
        }
        least = {"air": 0.25, "lung": 0.06, "fat": 0.03, "soft": 0.03, "bone": 0.01}
        most = {"air": 0.75, "lung": 0.30, "fat": 0.30, "soft": 0.35, "bone": 0.08}
        assert all(least[name] < share < most[name] for name, share in shares.items()), shares
        assert np.concatenate([chest[:4].ravel(), chest[:, :4].ravel()]).mean() < -980


def test_lungs_lie_beside_the_mediastinum_and_hold_vessels(chests):
    chest = np.mean(chests, 0)
    rows = slice(110, 145)
    for columns in (slice(60, 80), slice(176, 196)):  # half-way between the ribs and the middle
        assert chest[rows, columns].mean() < -600
    assert chest[rows, 122:134].mean() > -250
    for one in chests:
        lung = one[rows, 60:90]
        assert 0.02 < (lung > -600).mean() < 0.5  # vessels
        assert np.median(lung) < -700


def test_bone_is_on_both_sides_and_behind(chests):
    for chest in chests:
        bone = chest > 350
        assert bone[:, :90].sum() > 40
        assert bone[:, 166:].sum() > 40
        assert bone[150:, 110:146].sum() > 60  # spine


def test_some_have_contrast_medium(chests):
    levels = [np.quantile(chest[115:150, 130:150], 0.9) for chest in chests]
    assert min(levels) < 90 < 110 < max(levels)
