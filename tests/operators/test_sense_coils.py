"""Coils: combination by root sum of squares, and simulated maps against sigpy's."""

import numpy as np
import pytest
import torch
from helpers import random_complex

from common.operators import root_sum_of_squares, simulated_sensitivity_maps


def test_root_sum_of_squares_is_the_length_across_coils():
    values = torch.tensor([3.0, 4.0j]).reshape(1, 2, 1, 1)
    assert root_sum_of_squares(values).tolist() == [[[[5.0]]]]
    coils = random_complex(2, 4, 5, 6)
    combined = root_sum_of_squares(coils)
    np.testing.assert_allclose(combined[:, 0].numpy(), np.sqrt((np.abs(coils.numpy()) ** 2).sum(1)), rtol=1e-12)


@pytest.mark.parametrize(("n_coils", "height", "width"), [(8, 64, 50), (3, 7, 9), (1, 8, 8)])
def test_simulated_maps_are_those_of_sigpy(n_coils, height, width):
    mri = pytest.importorskip("sigpy.mri")
    maps = simulated_sensitivity_maps(n_coils, height, width)
    assert maps.shape == (1, n_coils, height, width)
    assert maps.dtype == torch.complex64
    np.testing.assert_allclose(maps[0].numpy(), mri.birdcage_maps((n_coils, height, width)), rtol=0, atol=1e-5)


def test_simulated_maps_are_normalised_smooth_and_one_per_coil():
    maps = simulated_sensitivity_maps(6, 48, 60, radius=1.6, angle_deg=20)[0]
    torch.testing.assert_close(root_sum_of_squares(maps[None]), torch.ones(1, 1, 48, 60), rtol=0, atol=1e-6)
    assert max(float(maps.diff(dim=axis).abs().max()) for axis in (1, 2)) < 0.2
    brightest = [divmod(int(coil.abs().argmax()), 60) for coil in maps]
    angles = sorted(np.degrees(np.arctan2(row - 24, (column - 30) * 48 / 60)) % 360 for row, column in brightest)
    np.testing.assert_allclose(angles, np.arange(6) * 60 + 20, atol=15)


def test_a_turn_by_one_coil_renames_the_coils():
    maps, turned = (simulated_sensitivity_maps(4, 16, 16, angle_deg=angle) for angle in (0, 90))
    torch.testing.assert_close(turned.abs(), maps.roll(-1, dims=1).abs(), rtol=1e-5, atol=1e-6)


def test_impossible_coils_are_refused():
    with pytest.raises(ValueError, match="n_coils must be at least 1, got 0"):
        simulated_sensitivity_maps(0, 8, 8)
    with pytest.raises(ValueError, match=r"radius must be more than sqrt\(2\), .*, got 1\.2"):
        simulated_sensitivity_maps(4, 8, 8, radius=1.2)
