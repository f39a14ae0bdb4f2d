"""The table of finished tasks, from files that evaluations write."""

import csv
import math
from pathlib import Path

import pytest
from quick_bundle import table

from common.metrics import CaseRow, write_csv
from tools.tasks.ranking import Ranking
from tools.tasks.task_list import Run, Task


def finished(folder, name, kinds=("train", "predict")):
    runs = tuple(Run(kind, (), {}, {}) for kind in kinds)
    return Task(name, Path("bundle"), runs, folder / name, False)


def add(ranking, folder, name, ssim, **others):
    task = finished(folder, name)
    table(task.folder / "predict" / "metrics.csv", ssim, **others)
    ranking.add(task, seconds=61.0)


def rows_of(folder):
    with (folder / "ranking.csv").open() as file:
        return list(csv.DictReader(file))


def test_tasks_come_by_their_mean_after_the_baseline_that_they_share(tmp_path):
    ranking = Ranking("ssim")
    # the same PSNR in all, as of one set of cases, so that the baseline is the same
    for name, ssim in {"b": [0.5, 0.6], "a": [0.9, 0.7], "c": [0.95, 0.05]}.items():
        add(ranking, tmp_path, name, ssim, psnr=[20.0, 22.0])
    baseline, *ranked = ranking.rows("cine_series")
    assert (baseline.label, baseline.rank, baseline.n) == ("aliased", None, 2)
    assert [(row.label, row.rank) for row in ranked] == [("a", 1), ("b", 2), ("c", 3)]
    assert ranked[0].summaries["ssim"].mean == pytest.approx(0.8)
    assert ranked[0].summaries["psnr"].mean == pytest.approx(21)
    assert [str(case) for case, _ in (ranked[2].best, ranked[2].worst)] == [
        "heart_0.h5, slice 0",
        "heart_1.h5, slice 1",
    ]
    assert ranking.means("a") == ", psnr 21.00, ssim 0.8000"


@pytest.mark.parametrize(("rank_by", "order"), [("mse", ["b", "a"]), ("ssim", ["a", "b"]), ("psnr", ["a", "b"])])
def test_errors_rank_the_other_way_round(tmp_path, rank_by, order):
    ranking = Ranking(rank_by)
    add(ranking, tmp_path, "a", [0.9, 0.8], mse=[0.2, 0.4])
    add(ranking, tmp_path, "b", [0.5, 0.6], mse=[0.3, 0.1])
    ranked = [row for row in ranking.rows("cine_series") if row.rank]
    assert [row.label for row in ranked] == order
    if rank_by == "mse":
        assert [(row.best[1], row.worst[1]) for row in ranked] == [(0.1, 0.3), (0.2, 0.4)]


def test_undefined_values_rank_last_and_identical_images_first(tmp_path):
    ranking = Ranking("psnr")
    for name, psnr in {"none": [math.nan, math.nan], "some": [math.nan, 20.0], "all": [math.inf, 10.0]}.items():
        add(ranking, tmp_path, name, [0.5, 0.6], psnr=psnr)
    ranked = [row for row in ranking.rows("cine_series") if row.rank]
    assert [row.label for row in ranked] == ["all", "some", "none"]
    assert [row.best and row.best[1] for row in ranked] == [10.0, 20.0, None]
    ranking.write(tmp_path)
    assert [row["psnr"] for row in rows_of(tmp_path) if row["rank"]] == ["inf", "20", "nan"]


def test_each_protocol_has_its_own_table(tmp_path):
    ranking = Ranking("ssim")
    for name, protocols in {"a": ["magnitude_slice", "own"], "b": ["own"]}.items():
        task = finished(tmp_path, name)
        cases = [
            CaseRow(protocol, "x.h5", 0, method, {"psnr": 30.0, "ssim": value})
            for protocol in protocols
            for method, value in (("zero_filled", 0.3), ("reconstruction", 0.8 if name == "a" else 0.9))
        ]
        write_csv(task.folder / "predict" / "metrics.csv", cases)
        ranking.add(task, 3.0)
    ranking.write(tmp_path)
    found = [(row["protocol"], row["rank"], row["task"]) for row in rows_of(tmp_path)]
    assert found == [
        ("magnitude_slice", "", "zero-filled"),
        ("magnitude_slice", "1", "a"),
        ("own", "", "zero-filled"),
        ("own", "1", "b"),
        ("own", "2", "a"),
    ]
    text = (tmp_path / "ranking.md").read_text()
    assert text.count("| 1    |") == 2
    assert "Protocol own. Means; ssim ranks" in text
    assert "Protocol magnitude_slice: " in text


def test_the_page_has_means_interval_extremes_and_time(tmp_path):
    ranking = Ranking("ssim")
    add(ranking, tmp_path, "a", [0.5, 0.5, 0.5], mse=[0.00157, 0.00157, 0.00157])
    ranking.write(tmp_path)
    text = (tmp_path / "ranking.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| a "))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "a",
        "1",
        "3",
        "20.00",
        "0.5000 [0.5000, 0.5000]",
        "0.00157",
        "0.5000 (heart_0.h5, slice 0)",
        "0.5000 (heart_2.h5, slice 2)",
        "0:01:01",
    ]
    (found,) = [row for row in rows_of(tmp_path) if row["rank"]]
    assert (found["mse"], found["ssim_low"], found["seconds"]) == ("0.00157", "0.5", "61.0")


def test_what_cannot_be_ranked_is_noted(tmp_path):
    ranking = Ranking("nmse")
    add(ranking, tmp_path, "other", [0.5])
    ranking.add(finished(tmp_path, "trained", ("train",)), 1.0)
    ranking.add(finished(tmp_path, "none"), 1.0)
    bad = finished(tmp_path, "bad")
    (bad.folder / "predict").mkdir(parents=True)
    (bad.folder / "predict" / "metrics.csv").write_text("protocol,file,slice,method,psnr\np,f,0,reconstruction,x\n")
    ranking.add(bad, 1.0)
    assert ranking.markdown().splitlines() == [
        "No task has values to be ranked by.",
        "",
        f"- other: done, not ranked: {tmp_path}/other/predict/metrics.csv has no nmse of a row reconstruction, only "
        "psnr, ssim",
        "- trained: done, not ranked: trained only",
        f"- none: done, not ranked: {tmp_path}/none/predict/metrics.csv: no such file; evaluate first, or name the "
        "folder an evaluation wrote",
        f"- bad: done, not ranked: {tmp_path}/bad/predict/metrics.csv, line 2: could not convert string to float: "
        "'x'; evaluate again",
    ]
    assert ranking.means("none") == ""
