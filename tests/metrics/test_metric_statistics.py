import math

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from common.metrics import paired_difference, statistics, summarise


def test_mean_and_std_are_those_of_numpy():
    values = np.random.default_rng(0).normal(30, 2, 77)
    summary = summarise(values)
    assert (summary.mean, summary.std) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert (summary.n, summary.n_undefined) == (77, 0)


def test_interval_of_a_normal_sample_is_the_known_one():
    values = torch.from_numpy(np.random.default_rng(1).normal(10, 3, 400))
    summary = summarise(values, n_bootstrap=4000)
    half_width = 1.96 * summary.std / math.sqrt(400)
    assert summary.low == pytest.approx(summary.mean - half_width, abs=0.05 * half_width)
    assert summary.high == pytest.approx(summary.mean + half_width, abs=0.05 * half_width)


def test_interval_of_a_skewed_sample_is_that_of_scipy():
    values = np.random.default_rng(2).exponential(1, 60)
    expected = bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=0).confidence_interval
    summary = summarise(values, n_bootstrap=9999)
    assert (summary.low, summary.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_interval_covers_the_mean_about_as_often_as_it_says():
    samples = np.random.default_rng(3).normal(0, 1, (200, 50))
    summaries = [summarise(sample, seed=i, n_bootstrap=300) for i, sample in enumerate(samples)]
    assert 0.88 <= np.mean([summary.low <= 0 <= summary.high for summary in summaries]) <= 0.99


def test_seed_decides_and_chunks_do_not_shift_the_interval(monkeypatch):
    values = torch.randn(100, generator=torch.Generator().manual_seed(4))
    whole = summarise(values, seed=1)
    assert whole == summarise(values, seed=1)
    assert whole.low != summarise(values, seed=2).low
    monkeypatch.setattr(statistics, "_CHUNK", 1234)
    chunked = summarise(values, seed=1)
    assert (chunked.low, chunked.high) == pytest.approx((whole.low, whole.high), abs=0.02)


def test_special_values_are_reported_and_not_hidden():
    one = summarise(torch.tensor([3.0]))
    assert (one.mean, one.low, one.high, one.n) == (3, 3, 3, 1)
    assert math.isnan(one.std)
    infinite = summarise(torch.tensor([30.0, math.inf]))
    assert (infinite.mean, infinite.n) == (math.inf, 2)
    assert all(map(math.isnan, (infinite.std, infinite.low, infinite.high)))
    partly = summarise(torch.tensor([1.0, math.nan, 3.0]))
    assert (partly.mean, partly.n, partly.n_undefined) == (2, 2, 1)
    nothing = summarise(torch.tensor([math.nan]))
    assert math.isnan(nothing.mean)
    assert (nothing.n, nothing.n_undefined) == (0, 1)


def test_paired_difference_removes_what_cases_share():
    rng = np.random.default_rng(5)
    case, gain = rng.normal(30, 5, 40), rng.normal(0.5, 0.1, 40)
    summary = paired_difference(case + gain, case)
    assert summary == summarise(case + gain - case)
    assert 0.4 < summary.low < summary.mean < summary.high < 0.6


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        summarise(torch.empty(0))
    with pytest.raises(ValueError, match="n_bootstrap must be at least 1, got 0"):
        summarise(torch.ones(2), n_bootstrap=0)
    with pytest.raises(ValueError, match=r"shapes \[2\] and \[3\]"):
        paired_difference(torch.ones(2), torch.ones(3))
