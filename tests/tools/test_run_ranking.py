"""The table of finished tasks, from files that evaluations write."""

import csv
import math

import pytest
from quick_bundle import table

from common.metrics import case_table, write_cases
from tools.run.ranking import Ranking


def add(ranking, folder, name, ssim, **others):
    path = folder / name / "predict" / "metrics.csv"
    if ssim is not None:
        table(path, ssim, **others)
    ranking.add(name, path, seconds=61.0)


def rows_of(folder):
    with (folder / "ranking.csv").open() as file:
        return list(csv.DictReader(file))


def test_tasks_come_by_their_mean_after_the_baseline_that_they_share(tmp_path):
    ranking = Ranking("ssim")
    # the same PSNR in all, as of one set of cases, so that the baseline is the same
    for name, ssim in {"b": [0.5, 0.6], "a": [0.9, 0.7], "c": [0.95, 0.05]}.items():
        add(ranking, tmp_path, name, ssim, psnr=[20.0, 22.0])
    ranking.write(tmp_path)
    baseline, *ranked = rows_of(tmp_path)
    assert (baseline["task"], baseline["rank"], baseline["n"], baseline["ssim"]) == ("aliased", "", "2", "0.5")
    assert [(row["task"], row["rank"]) for row in ranked] == [("a", "1"), ("b", "2"), ("c", "3")]
    assert [float(ranked[0][key]) for key in ("ssim", "psnr", "best", "worst", "seconds")] == [0.8, 21, 0.9, 0.7, 61]
    assert (ranked[2]["best_case"], ranked[2]["worst_case"]) == ("heart_0.h5, slice 0", "heart_1.h5, slice 1")
    assert ranking.means("a") == ", psnr 21.00, ssim 0.8000"
    assert ranking.means("none") == ""
    add(ranking, tmp_path, "d", [0.1], psnr=[7.0])
    assert list(ranking.table("cine_series")["task"][:4]) == ["b: aliased", "a: aliased", "c: aliased", "d: aliased"]


@pytest.mark.parametrize(("rank_by", "order"), [("mse", ["b", "a"]), ("ssim", ["a", "b"]), ("psnr", ["a", "b"])])
def test_errors_rank_the_other_way_round(tmp_path, rank_by, order):
    ranking = Ranking(rank_by)
    add(ranking, tmp_path, "a", [0.9, 0.8], mse=[0.2, 0.4])
    add(ranking, tmp_path, "b", [0.5, 0.6], mse=[0.3, 0.1])
    ranked = ranking.table("cine_series").dropna(subset="rank")
    assert list(ranked["task"]) == order
    if rank_by == "mse":
        assert list(zip(ranked["best"], ranked["worst"], strict=True)) == [(0.1, 0.3), (0.2, 0.4)]


def test_undefined_values_rank_last_and_identical_images_first(tmp_path):
    ranking = Ranking("psnr")
    for name, psnr in {"none": [math.nan, math.nan], "some": [math.nan, 20.0], "all": [math.inf, 10.0]}.items():
        add(ranking, tmp_path, name, [0.5, 0.6], psnr=psnr)
    ranking.write(tmp_path)
    ranked = [row for row in rows_of(tmp_path) if row["rank"]]
    assert [(row["task"], row["psnr"], row["best"]) for row in ranked] == [
        ("all", "inf", "10"),
        ("some", "20", "20"),
        ("none", "", ""),
    ]


def test_each_protocol_has_its_own_table(tmp_path):
    ranking = Ranking("ssim")
    for name, protocols in {"a": ["magnitude_slice", "own"], "b": ["own"]}.items():
        value = 0.8 if name == "a" else 0.9
        rows = [
            {"protocol": protocol, "file": "x.h5", "slice": 0, "method": method, "psnr": 30.0, "ssim": ssim}
            for protocol in protocols
            for method, ssim in (("zero_filled", 0.3), ("reconstruction", value))
        ]
        write_cases(tmp_path / name / "predict" / "metrics.csv", case_table(rows))
        add(ranking, tmp_path, name, None)
    ranking.write(tmp_path)
    assert [(row["protocol"], row["rank"], row["task"]) for row in rows_of(tmp_path)] == [
        ("magnitude_slice", "", "zero-filled"),
        ("magnitude_slice", "1", "a"),
        ("own", "", "zero-filled"),
        ("own", "1", "b"),
        ("own", "2", "a"),
    ]
    assert "Protocol own. Means; ssim ranks" in (tmp_path / "ranking.md").read_text()


def test_the_page_has_means_interval_extremes_and_time(tmp_path):
    ranking = Ranking("ssim")
    add(ranking, tmp_path, "a", [0.5, 0.5, 0.5], mse=[0.00157, 0.00157, 0.00157])
    row = next(line for line in ranking.markdown().splitlines() if line.startswith("| a "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:6] == ["a", "1", "3", "20.00", "0.5000 [0.5000, 0.5000]", "0.00157"]
    assert cells[6:] == ["0.5000 (heart_0.h5, slice 0)", "0.5000 (heart_2.h5, slice 2)", "0:01:01"]


def test_what_cannot_be_ranked_is_noted(tmp_path):
    ranking = Ranking("nmse")
    add(ranking, tmp_path, "other", [0.5])
    add(ranking, tmp_path, "none", None)
    (tmp_path / "bad" / "predict").mkdir(parents=True)
    header = "protocol,file,slice,method,nmse\n"
    (tmp_path / "bad" / "predict" / "metrics.csv").write_text(f"{header}p,f,0,reconstruction,x\n")
    add(ranking, tmp_path, "bad", None)
    (tmp_path / "bad" / "predict" / "metrics.csv").write_text(f"{header}p,f,0,zero_filled,1\n")
    add(ranking, tmp_path, "bad", None)
    assert ranking.markdown().startswith("No task has values to be ranked by.\n")
    for note, words in zip(
        ranking.notes, ("missing nmse", "no such file", "nmse: ", "no nmse of a reconstruction"), strict=True
    ):
        assert words in note
        assert "metrics.csv" in note
