"""MetricTable: values, order, volumes, text, and the same file from one process and from two."""

import csv
import datetime
import math
import os

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing as mp

from common.metrics import CaseRow, MetricTable, get_protocol, report, write_csv

FILES = ("b.h5", "a.h5", "c.h5")
SLICES = 3


def case_images(file, index):
    generator = torch.Generator().manual_seed(100 * FILES.index(file) + index)
    target = torch.rand(16, 18, generator=generator)
    noise = torch.randn(16, 18, dtype=torch.complex64, generator=generator)
    return {"zero_filled": target + 0.2 * noise, "reconstruction": target + 0.05 * noise}, target


def fill(table, cases):
    for file, index in cases:
        images, target = case_images(file, index)
        for row, image in images.items():
            table.add(file, index, row, image, target)
    table.gather()
    return table


ALL = [(file, index) for file in FILES for index in range(SLICES)]


def test_rows_are_ordered_and_hold_the_protocols_values():
    rows = fill(MetricTable("magnitude_slice"), reversed(ALL)).rows()
    keys = [(row.path, row.slice_index, row.method) for row in rows]
    methods = ("zero_filled", "reconstruction")
    assert keys == [(file, i, method) for file in sorted(FILES) for i in range(SLICES) for method in methods]
    images, target = case_images("a.h5", 0)
    expected = get_protocol("magnitude_slice").evaluate(images["zero_filled"][None], target[None])
    assert rows[0].values == {metric: value.item() for metric, value in expected.items()}


def test_a_batch_equals_its_slices():
    one_by_one, batched = (MetricTable("refinegan_shifted", metrics=["psnr"]) for _ in range(2))
    fill(one_by_one, [("a.h5", 0), ("a.h5", 1)])
    cases = [case_images("a.h5", i) for i in (0, 1)]
    for row in ("zero_filled", "reconstruction"):
        prediction = torch.stack([images[row] for images, _ in cases])
        batched.add_batch(["a.h5", "a.h5"], [0, 1], row, prediction, torch.stack([target for _, target in cases]))
    batched.gather()
    for left, right in zip(one_by_one.rows(), batched.rows(), strict=True):
        assert left[:4] == right[:4]
        assert left.values == pytest.approx(right.values, rel=1e-12)


def test_volumes_are_completed_file_by_file():
    table = fill(MetricTable("fastmri_volume"), ALL)
    cases = [case_images("c.h5", i) for i in range(SLICES)]
    prediction = torch.stack([images["reconstruction"] for images, _ in cases])
    expected = get_protocol("fastmri_volume").evaluate(prediction, torch.stack([target for _, target in cases]))
    last = table.rows()[-1]
    assert last[:4] == ("fastmri_volume", "c.h5", None, "reconstruction")
    assert last.values == pytest.approx({metric: value.item() for metric, value in expected.items()})
    assert len(table.rows()) == 2 * len(FILES)
    with pytest.raises(ValueError, match=r"slice 9 of a.h5 came after the volume was closed"):
        table.add("a.h5", 9, "reconstruction", *[torch.ones(16, 18)] * 2)


def test_summary_and_differences_pair_the_cases():
    table = fill(MetricTable("magnitude_slice"), ALL)
    summary, differences = table.summary(), table.differences()
    assert list(summary) == ["zero_filled", "reconstruction"]
    assert list(differences) == ["reconstruction"]
    gain = summary["reconstruction"]["psnr"].mean - summary["zero_filled"]["psnr"].mean
    assert differences["reconstruction"]["psnr"].mean == pytest.approx(gain)
    assert differences["reconstruction"]["psnr"].low > 0
    assert differences["reconstruction"]["nmse"].high < 0
    assert differences["reconstruction"]["psnr"].std < summary["zero_filled"]["psnr"].std + 1


def test_another_row_than_the_first_may_be_the_baseline():
    first = fill(MetricTable("magnitude_slice"), ALL)
    second = fill(MetricTable("magnitude_slice", baseline="reconstruction"), ALL)
    assert list(second.differences()) == ["zero_filled"]
    found, expected = second.differences()["zero_filled"]["psnr"], first.differences()["reconstruction"]["psnr"]
    assert (found.mean, found.n) == (pytest.approx(-expected.mean), expected.n)
    assert "zero_filled - reconstruction" in second.format()


def test_format_names_the_protocol_and_aligns_the_columns():
    table = fill(MetricTable("magnitude_slice"), ALL)
    table.add("blank.h5", 0, "zero_filled", torch.ones(16, 18), torch.zeros(16, 18))
    lines = table.format().splitlines()
    assert lines[0].startswith("protocol magnitude_slice: ")
    assert [line.split("  ")[0] for line in lines[1:5]] == [
        "method",
        "zero_filled",
        "reconstruction",
        "reconstruction - zero_filled",
    ]
    assert lines[2].split()[1] == "10"
    psnr = table.summary()["reconstruction"]["psnr"]
    assert f"{psnr.mean:#.4g} ± {psnr.std:#.4g} [{psnr.low:#.4g}, {psnr.high:#.4g}]" in lines[3]
    assert "+" in lines[4]
    for metric in ("psnr", "ssim", "nmse"):
        start = lines[1].index(metric)
        assert all(line[start - 1] == " " and line[start] != " " for line in lines[2:5])
    assert "zero_filled: nmse is undefined for 1 and left out of its mean" in lines


def test_csv_has_the_documented_columns(tmp_path):
    path = tmp_path / "new" / "metrics.csv"
    table = fill(MetricTable("magnitude_slice"), ALL[:1])
    table.add("b.h5", 1, "zero_filled", torch.ones(16, 18), torch.ones(16, 18))
    table.write_csv(path)
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["protocol", "file", "slice", "method", "psnr", "ssim", "nmse"]
    assert rows[1][:4] == ["magnitude_slice", "b.h5", "0", "zero_filled"]
    assert [float(cell) for cell in rows[1][4:]] == pytest.approx(list(table.rows()[0].values.values()), rel=1e-5)
    assert rows[3][4:] == ["inf", "1", "0"]


def test_csv_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    path.write_text("before\n")
    row = CaseRow("magnitude_slice", "a.png", 0, "zero_filled", {"psnr": 20.0})

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(report.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_csv(path, [row])
    monkeypatch.undo()
    assert path.read_text() == "before\n"
    assert os.listdir(tmp_path) == ["metrics.csv"]
    write_csv(path, [row])
    assert path.read_text() == "protocol,file,slice,method,psnr\nmagnitude_slice,a.png,0,zero_filled,20\n"


def test_protocols_of_different_metrics_share_a_file(tmp_path):
    rows = [
        CaseRow("magnitude_slice", "a.h5", 0, "zero_filled", {"psnr": 20.0}),
        CaseRow("fastmri_volume", "a.h5", None, "zero_filled", {"ssim": math.nan}),
    ]
    write_csv(tmp_path / "metrics.csv", rows)
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1:] == [
        "magnitude_slice,a.h5,0,zero_filled,20,",
        "fastmri_volume,a.h5,,zero_filled,,nan",
    ]


def write_tables(folder, cases):
    for protocol in ("magnitude_slice", "fastmri_volume"):
        table = fill(MetricTable(protocol), cases)
        if not dist.is_initialized() or dist.get_rank() == 0:
            table.write_csv(folder / f"{protocol}.csv")
            (folder / f"{protocol}.txt").write_text(table.format())


def run_rank(rank, folder):
    timeout = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2, timeout=timeout)
    try:
        write_tables(
            folder / "two", [*ALL, ALL[0]][rank::2]
        )  # nine cases: rank 1 sees the first again, as samplers pad
    finally:
        dist.destroy_process_group()


def test_two_processes_write_the_same_files_as_one(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    write_tables(tmp_path / "one", ALL)
    other = mp.get_context("spawn").Process(target=run_rank, args=(1, tmp_path))
    other.start()
    run_rank(0, tmp_path)
    other.join()
    assert other.exitcode == 0
    names = sorted(os.listdir(tmp_path / "one"))
    assert len(names) == 4
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_bad_input_is_refused(tmp_path):
    image = torch.ones(16, 16)
    for protocol in ("magnitude_slice", "fastmri_volume"):
        table = MetricTable(protocol)
        table.add("a.h5", 0, "zero_filled", image, image)
        with pytest.raises(ValueError, match=r"slice 0 of a.h5 was added to row 'zero_filled' before"):
            table.add("a.h5", 0, "zero_filled", image, image)
    with pytest.raises(RuntimeError, match=r"call gather\(\) first"):
        table.rows()
    table.add("a.h5", 1, "zero_filled", image[:12], image[:12])
    with pytest.raises(ValueError, match=r"slices of one size, got \[\(12, 16\), \(16, 16\)\] in a.h5"):
        table.gather()
    with pytest.raises(ValueError, match="unknown protocol"):
        MetricTable("ssim")
    with pytest.raises(ValueError, match="has the metrics"):
        MetricTable("magnitude_slice", metrics=["mae"])
    with pytest.raises(ValueError, match="got 1 paths and 1 indices"):
        MetricTable("magnitude_slice").add_batch(["a"], [0], "zero_filled", image.expand(2, 16, 16), image)
    with pytest.raises(ValueError, match="no metric value to write"):
        MetricTable("magnitude_slice").write_csv(tmp_path / "metrics.csv")
