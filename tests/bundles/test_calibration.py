"""Rank correlation of uncertainty and error, and the residual in k-space."""

import math

import numpy as np
import pytest
import torch
from scripts.calibration import rank_correlation, tissue_mask

from common.metrics.kspace_residual import kspace_residual
from common.operators import (
    fft2c,
    ifft2c,
    pack_measurement,
    radial_trajectory,
    series_angles,
    simulated_sensitivity_maps,
)
from common.operators.radial_series import RadialGridding
from common.operators.series import batch_to_frames, frames_to_batch, pack_series
from tests.helpers import random_complex, random_mask


def ranks(values):
    """Average ranks of ties, by counting."""
    return np.array([(values < one).sum() + (values <= one).sum() for one in values])


def test_rank_correlation_equals_pearson_of_ranks():
    rng = np.random.default_rng(0)
    std, error = rng.integers(0, 20, (2, 3, 8, 7)).astype(np.float32)
    where = rng.random(std.shape) < 0.6
    expected = np.corrcoef(ranks(std[where]), ranks(error[where]))[0, 1]
    assert rank_correlation(std, error, where) == pytest.approx(expected, abs=1e-12)
    assert rank_correlation(std, np.exp(std)) == pytest.approx(1)
    assert rank_correlation(std, -std + 100) == pytest.approx(-1)


@pytest.mark.parametrize(("spread", "expected"), [(0.5, 0.45), (1.0, 0.69)])
def test_a_right_deviation_of_gaussian_errors_has_the_documented_value(spread, expected):
    rng = np.random.default_rng(1)
    std = np.exp(spread * rng.standard_normal(200_000))
    assert rank_correlation(std, np.abs(std * rng.standard_normal(std.shape))) == pytest.approx(expected, abs=0.01)


def test_undefined_correlations_are_nan_without_a_warning():
    varying = np.arange(4.0)
    assert math.isnan(rank_correlation(np.zeros(4), varying))
    assert math.isnan(rank_correlation(varying, np.ones(4)))
    assert math.isnan(rank_correlation(varying, varying, np.zeros(4, bool)))
    with pytest.raises(ValueError, match=r"maps of one shape, got \[4\] and \[3\]"):
        rank_correlation(varying, varying[:3])


def test_tissue_is_above_a_tenth_of_the_99th_percentile():
    target = np.full((1, 100, 10), 0.09)
    target[0, :50] = 1.0
    target[0, 0, :5] = 1000.0  # spikes do not count
    assert tissue_mask(target).mean() == 0.5
    target[0, 50] = 0.11
    assert tissue_mask(target).mean() == 0.51
    assert not tissue_mask(np.zeros((2, 4, 4))).any()


@pytest.mark.parametrize("n_coils", [1, 3])
def test_residual_is_relative_to_all_that_was_measured(n_coils):
    image, mask = random_complex(2, 1, 8, 9, dtype=torch.complex64), random_mask(8, 9)
    maps = None if n_coils == 1 else random_complex(1, n_coils, 8, 9, seed=1, dtype=torch.complex64)
    kspace = fft2c(image if maps is None else maps * image)
    measurement = pack_measurement(mask * kspace, mask, maps)
    assert kspace_residual(image[:, 0], measurement).max() < 1e-6
    torch.testing.assert_close(kspace_residual(1.5 * image[:, 0], measurement), torch.full((2,), 0.5).double())
    assert kspace_residual(0 * image[:, 0], measurement).tolist() == pytest.approx([1, 1])


def test_residual_of_a_series_is_that_of_all_its_frames():
    series = random_complex(2, 1, 8, 9, 4, dtype=torch.complex64)
    mask = random_mask(8, 9)[..., None].expand(-1, -1, -1, -1, 4)
    kspace = batch_to_frames(fft2c(frames_to_batch(series)), 2)
    measurement = pack_series(mask * kspace, mask)
    assert kspace_residual(series[:, 0], measurement).max() < 1e-6
    torch.testing.assert_close(kspace_residual(0.7 * series[:, 0], measurement), torch.full((2,), 0.3).double())
    assert kspace_residual(series[:, 0].flip(-1), measurement).min() > 0.5


def test_residual_of_a_radial_series_is_that_of_its_gridded_images():
    pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")
    series = random_complex(3, 1, 8, 9, dtype=torch.complex64)
    maps = simulated_sensitivity_maps(2, 8, 9)
    gridding = RadialGridding(radial_trajectory(series_angles("golden", 3, 5), 18).float(), (8, 9))
    measurement = gridding.pack(gridding.sample(maps * series), maps)
    image = series.permute(1, 2, 3, 0)
    assert kspace_residual(image, measurement).item() < 1e-4
    assert kspace_residual(0.7 * image, measurement).item() == pytest.approx(0.3, abs=1e-4)


def test_what_was_not_measured_does_not_count():
    image, mask = random_complex(1, 1, 8, 9, dtype=torch.complex64), random_mask(8, 9)
    other = ifft2c(mask * fft2c(image) + (1 - mask) * random_complex(1, 1, 8, 9, seed=2, dtype=torch.complex64))
    assert kspace_residual(other[:, 0], pack_measurement(mask * fft2c(image), mask)).item() < 1e-6


def test_a_slice_of_zeros_has_residual_zero():
    measurement = pack_measurement(torch.zeros(1, 1, 8, 9, dtype=torch.complex64), random_mask(8, 9))
    for image in (torch.zeros(1, 8, 9), torch.full((1, 8, 9), 1e-9)):
        assert kspace_residual(image.to(torch.complex64), measurement).tolist() == [0]


def test_a_cropped_image_is_refused():
    measurement = pack_measurement(torch.zeros(1, 1, 8, 9, dtype=torch.complex64), random_mask(8, 9))
    with pytest.raises(ValueError, match=r"measurement \[1, 3, 8, 9\] .* got \[1, 6, 9\]; measure before"):
        kspace_residual(torch.zeros(1, 6, 9, dtype=torch.complex64), measurement)
