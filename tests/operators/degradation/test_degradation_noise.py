"""Noise: means, variances and distributions as the formulas have them."""

import math

import pytest
import torch
from scipy import stats

from common.operators.degradation import GaussianNoise, PoissonNoise, RicianNoise

SHAPE = (1, 1, 400, 400)
ERROR = (
    5 / 400
)  # five standard errors of a mean, in standard deviations; relative error of a variance is 1.4 times that


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moments(step, intensity):
    noisy = step(torch.full(SHAPE, intensity, dtype=torch.float64), generator())
    return float(noisy.mean()), float(noisy.var())


@pytest.mark.parametrize("intensity", [0.0, 0.5])
def test_gaussian(intensity):
    mean, variance = moments(GaussianNoise(0.1), intensity)
    assert mean == pytest.approx(intensity, abs=0.1 * ERROR)
    assert variance == pytest.approx(0.01, rel=1.5 * ERROR)


@pytest.mark.parametrize("intensity", [0.1, 1.0])
@pytest.mark.parametrize("photons", [20, 1000])
def test_poisson_variance_is_the_mean_by_photons(intensity, photons):
    mean, variance = moments(PoissonNoise(photons), intensity)
    assert mean == pytest.approx(intensity, abs=ERROR * math.sqrt(intensity / photons))
    assert variance == pytest.approx(intensity / photons, rel=2 * ERROR)
    counts = photons * PoissonNoise(photons)(torch.full(SHAPE, intensity, dtype=torch.float64), generator())
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-9)


def test_poisson_counts_negative_intensities_as_none():
    noisy = PoissonNoise(100)(torch.tensor([-0.1, 0.0, -1e-8]).reshape(1, 1, 1, 3), generator())
    assert not noisy.any()


@pytest.mark.parametrize("intensity", [0.0, 0.05, 0.2, 1.0])
def test_rician_mean_and_variance(intensity):
    std = 0.1
    truth = stats.rice(intensity / std, scale=std)
    mean, variance = moments(RicianNoise(std), intensity)
    assert mean == pytest.approx(truth.mean(), abs=std * ERROR)
    assert variance == pytest.approx(truth.var(), rel=2 * ERROR)
    assert mean**2 + variance == pytest.approx(intensity**2 + 2 * std**2, rel=2 * ERROR)


def test_rician_distribution():
    noisy = RicianNoise(0.1)(torch.full((1, 1, 100, 100), 0.08, dtype=torch.float64), generator())
    assert stats.kstest(noisy.flatten().numpy(), stats.rice(0.8, scale=0.1).cdf).pvalue > 0.01


@pytest.mark.parametrize("noise", [GaussianNoise, RicianNoise])
def test_no_noise_changes_nothing(noise):
    image = torch.rand(2, 1, 8, 8, 4)
    assert torch.equal(noise(0.0)(image, generator()), image)


@pytest.mark.parametrize("noise", [GaussianNoise, RicianNoise])
def test_strength_is_drawn_per_sample(noise):
    bright = torch.full((200, 1, 40, 40), 10.0)
    spreads = noise([0.1, 0.3])(bright, generator()).std(dim=(1, 2, 3))
    assert 0.09 < float(spreads.min()) < 0.11
    assert 0.29 < float(spreads.max()) < 0.33
    assert float(spreads.mean()) == pytest.approx(0.2, abs=0.02)


def test_logarithm_of_photons_is_drawn_evenly():
    noisy = PoissonNoise([100, 10000])(torch.ones(300, 1, 40, 40), generator())
    drawn = -noisy.var(dim=(1, 2, 3)).log10()
    assert 1.9 < float(drawn.min()) < 2.1
    assert 3.9 < float(drawn.max()) < 4.1
    assert float(drawn.mean()) == pytest.approx(3, abs=0.15)


def test_bad_strengths_are_refused():
    with pytest.raises(ValueError, match=r"photons must be .* finite and above 0, got 0"):
        PoissonNoise(0)
    with pytest.raises(ValueError, match=r"std must be .* at least 0, got -0\.1"):
        RicianNoise(-0.1)
    with pytest.raises(ValueError, match=r"std must be .* got \[0\.0, inf\]"):
        GaussianNoise([0.0, float("inf")])
    with pytest.raises(ValueError, match=r"std must be .* got nan"):
        GaussianNoise(float("nan"))
