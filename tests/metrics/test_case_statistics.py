"""Statistics of metric values, and the tables and files they come from."""

import math
import os

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from common.metrics import case_table, cases, paired_difference, read_cases, summarise, write_cases
from common.metrics.cases import (
    case_name,
    differences,
    extremes,
    format_summary,
    gains,
    leading_method,
    metrics_of,
    summaries,
)


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
    monkeypatch.setattr(cases, "_CHUNK", 1234)
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


def test_files_are_resampled_where_their_slices_are_not_independent():
    rng = np.random.default_rng(6)
    of_files = rng.normal(30, 3, 12)
    values, files = np.repeat(of_files, 20) + rng.normal(0, 0.1, 240), np.repeat([f"{i}.h5" for i in range(12)], 20)
    by_file, by_slice, means = summarise(values, files), summarise(values), summarise(of_files)
    assert by_file.mean == by_slice.mean
    assert by_file.high - by_file.low == pytest.approx(means.high - means.low, rel=0.05)
    assert by_file.high - by_file.low > 3 * (by_slice.high - by_slice.low)
    assert summarise(values[:20], files[:20]) == summarise(values[:20])  # slices of one file
    assert summarise(of_files, files[::20]) == means  # one slice a file
    uneven = summarise(np.array([1.0, 1, 1, 5]), ["a", "a", "a", "b"])
    assert (uneven.mean, uneven.low, uneven.high) == (2, 1, 5)


def rows(n=8):
    return [
        {"protocol": "magnitude_slice", "file": f"/d/{i}.h5", "slice": 0, "method": method, "psnr": psnr, "ssim": 0.5}
        for i in range(n)
        for method, psnr in (("zero_filled", 20.0 + i), ("reconstruction", 22 + 2.0 * i))
    ]


def test_table_is_read_as_it_was_written(tmp_path):
    table = case_table(
        [
            *rows(2),
            {"protocol": "fastmri_volume", "file": "v\udcff.h5", "slice": None, "method": "NA", "nmse": 1 / 3},
            {"protocol": "fastmri_volume", "file": "v.h5", "method": "zero_filled", "nmse": math.inf},
        ]
    )
    path = tmp_path / "new" / "metrics.csv"
    write_cases(path, table)
    lines = path.read_text(errors="surrogateescape").splitlines()
    assert lines[0] == "protocol,file,slice,method,psnr,ssim,nmse"
    assert lines[1] == "magnitude_slice,/d/0.h5,0,zero_filled,20,0.5,"
    assert lines[-2:] == ["fastmri_volume,v\udcff.h5,,NA,,,0.333333", "fastmri_volume,v.h5,,zero_filled,,,inf"]
    found = read_cases(path)
    assert found["file"].tolist() == table["file"].tolist()
    assert found["slice"].tolist() == table["slice"].tolist()
    np.testing.assert_allclose(found["nmse"], table["nmse"], rtol=1e-6)
    assert metrics_of(found[found["protocol"] == "magnitude_slice"]) == ["psnr", "ssim", "nmse"]
    assert metrics_of(found[found["protocol"] == "fastmri_volume"]) == ["psnr", "ssim", "nmse"]


def test_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "metrics.csv").write_text("before\n")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_cases(tmp_path / "metrics.csv", case_table(rows()))
    assert (tmp_path / "metrics.csv").read_text() == "before\n"
    assert os.listdir(tmp_path) == ["metrics.csv"]


def test_tables_are_summed_up_by_method_and_compared_case_by_case():
    table = case_table(rows())
    found = summaries(table)
    values = [22 + 2.0 * i for i in range(8)]
    row = found.loc["magnitude_slice", "reconstruction", "psnr"]
    assert row.to_dict() == vars(summarise(np.array(values)))
    assert format_summary(row, "psnr")[0] == "29.00 ± 4.90"
    changed = differences(table.iloc[:-1], "zero_filled")  # one case lacks its reconstruction
    assert list(changed.index) == [("magnitude_slice", "reconstruction", metric) for metric in ("psnr", "ssim")]
    assert changed.iloc[0]["mean"] == pytest.approx(np.mean([2 + i for i in range(7)]))
    assert format_summary(changed.iloc[0], "psnr", "+")[0] == "+5.00 ± 2.16"
    assert gains(table, "reconstruction", "zero_filled") == {(f"/d/{i}.h5", 0): 2 + i for i in range(8)}
    assert leading_method(table, "zero_filled") == "reconstruction"
    assert leading_method(table[table["method"] == "zero_filled"], "zero_filled") == "zero_filled"
    assert (case_name(("/d/1.h5", 3)), case_name(("/d/1.h5", None))) == ("1.h5, slice 3", "1.h5")


def test_extremes_are_in_one_list_each():
    gain = {"a": 1.0, "b": 5.0, "c": 3.0, "d": -2.0, "e": 4.0}
    assert extremes(gain, 2) == (["b", "e"], ["a", "d"])
    assert extremes(gain, 3) == (["b", "e", "c"], ["a", "d"])
    assert extremes({"a": 1.0}, 3) == (["a"], [])
    assert extremes({}, 3) == ([], [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "missing protocol"),
        ("file,psnr\na,1\n", "missing protocol, slice, method"),
        ("protocol,file,slice,method,psnr\n", "holds no case"),
        ("protocol,file,slice,method,psnr\np,a,0,m,good\n", "psnr: .*good"),
        ("protocol,file,slice,method,psnr\np,a,0.5,m,1\n", "slice: "),
    ],
)
def test_wrong_files_are_refused_by_name(tmp_path, content, message):
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=rf"metrics\.csv.*{message}"):
        read_cases(tmp_path / "metrics.csv")


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="no metric value"):
        case_table([])
    with pytest.raises(ValueError, match="at least one value"):
        summarise(torch.empty(0))
    with pytest.raises(ValueError, match="n_bootstrap must be at least 1, got 0"):
        summarise(torch.ones(2), n_bootstrap=0)
    with pytest.raises(ValueError, match=r"shapes \[2\] and \[3\]"):
        paired_difference(torch.ones(2), torch.ones(3))
