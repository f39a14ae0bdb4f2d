"""CaseCollector: values, order, volumes, text, and the same file from one process and from two."""

import datetime
import os

import pytest
import torch
import torch.distributed as dist

from common.metrics import Case, CaseCollector, get_protocol
from common.metrics.cases import summaries

FILES = ("b.h5", "a.h5", "c.h5")
SLICES = 3


def case_of(file, index):
    generator = torch.Generator().manual_seed(100 * FILES.index(file) + index)
    target = torch.rand(16, 18, generator=generator)
    noise = torch.randn(16, 18, dtype=torch.complex64, generator=generator)
    return Case(file, index, {"zero_filled": target + 0.2 * noise, "reconstruction": target + 0.05 * noise}, target)


def fill(collector, places):
    for file, index in places:
        collector.add(case_of(file, index))
    collector.gather()
    return collector


ALL = [(file, index) for file in FILES for index in range(SLICES)]


def test_rows_are_ordered_and_hold_the_protocols_values():
    table = fill(CaseCollector(["magnitude_slice"]), reversed(ALL)).table
    keys = list(zip(table["file"], table["slice"], table["method"], strict=True))
    methods = ("zero_filled", "reconstruction")
    assert keys == [(file, i, method) for file in sorted(FILES) for i in range(SLICES) for method in methods]
    case = case_of("a.h5", 0)
    expected = get_protocol("magnitude_slice").evaluate(case.methods["zero_filled"][None], case.target[None])
    assert table.loc[0, ["psnr", "ssim", "nmse"]].to_dict() == {name: value.item() for name, value in expected.items()}


def test_each_metric_of_a_case_is_computed_once():
    calls = []

    def counted(name, measure):
        return lambda *images: (calls.append(name), measure(*images))[1]

    protocol = get_protocol("magnitude_slice")
    counting = protocol.with_measures(**{name: counted(name, one) for name, one in protocol.measures.items()})
    case = case_of("a.h5", 0)
    values = case.values(counting, "reconstruction")
    assert case.on_cpu().values(counting, "reconstruction") == values
    case.gain(counting)
    extended = counting.with_measures(further=counted("further", protocol.measures["nmse"]))
    assert case.values(extended, "zero_filled")["further"] == case.values(counting, "zero_filled")["nmse"]
    assert sorted(calls) == sorted([*("psnr", "ssim", "nmse") * 2, "further"])


def test_volumes_are_completed_file_by_file():
    collector = fill(CaseCollector(["magnitude_slice", "fastmri_volume"]), ALL)
    cases = [case_of("c.h5", i) for i in range(SLICES)]
    images = [torch.stack([c.methods["reconstruction"] for c in cases]), torch.stack([c.target for c in cases])]
    expected = get_protocol("fastmri_volume").evaluate(*images)
    table = collector.table
    volumes = table[table["protocol"] == "fastmri_volume"]
    assert volumes["slice"].isna().all()
    assert volumes["method"].tolist() == ["zero_filled", "reconstruction"] * 3
    for metric, value in expected.items():
        assert volumes.iloc[-1][metric] == pytest.approx(value.item())
    with pytest.raises(ValueError, match=r"slice 9 of a.h5 came after the volume was closed"):
        collector.add(Case("a.h5", 9, {"reconstruction": torch.ones(16, 18)}, torch.ones(16, 18)))


def test_text_names_the_protocol_and_aligns_the_columns():
    collector = fill(CaseCollector(["magnitude_slice"]), ALL)
    collector.add(Case("blank.h5", 0, {"zero_filled": torch.ones(16, 18)}, torch.zeros(16, 18)))
    (text,) = collector.format()
    lines = text.splitlines()
    assert lines[0].startswith("protocol magnitude_slice: magnitudes, ")
    assert [line.split("  ")[0] for line in lines[1:5]] == [
        "method",
        "zero_filled",
        "reconstruction",
        "reconstruction - zero_filled",
    ]
    assert lines[2].split()[1] == "10"
    row = summaries(collector.table).loc["magnitude_slice", "reconstruction", "psnr"]
    assert f"{row['mean']:#.4g} ± {row['std']:#.4g} [{row['low']:#.4g}, {row['high']:#.4g}]" in lines[3]
    assert "+" in lines[4]
    for metric in ("psnr", "ssim", "nmse"):
        start = lines[1].index(metric)
        assert all(line[start - 1] == " " and line[start] != " " for line in lines[2:5])
    assert "zero_filled: nmse is undefined for 1 and left out of its mean" in lines
    other = fill(CaseCollector(["magnitude_slice"], baseline="reconstruction"), ALL)
    assert "zero_filled - reconstruction" in other.format()[0]


def write_tables(folder, places):
    collector = fill(CaseCollector(["magnitude_slice", "fastmri_volume"]), places)
    if not dist.is_initialized() or dist.get_rank() == 0:
        collector.write(folder / "metrics.csv")
        (folder / "metrics.txt").write_text("\n".join(collector.format()))


def run_rank(rank, folder):
    timeout = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2, timeout=timeout)
    try:
        write_tables(
            folder / "two", [*ALL, ALL[0]][rank::2]
        )  # nine cases: rank 1 sees the first again, as samplers pad
    finally:
        dist.destroy_process_group()


def test_two_processes_write_the_same_files_as_one(tmp_path, processes):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    write_tables(tmp_path / "one", ALL)
    other = processes.Process(target=run_rank, args=(1, tmp_path))
    other.start()
    run_rank(0, tmp_path)
    other.join()
    assert other.exitcode == 0
    names = sorted(os.listdir(tmp_path / "one"))
    assert names == ["metrics.csv", "metrics.txt"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_bad_input_is_refused():
    for protocol in ("magnitude_slice", "fastmri_volume"):
        collector = CaseCollector([protocol])
        collector.add(case_of("a.h5", 0))
        with pytest.raises(ValueError, match=r"slice 0 of a.h5 was added to 'zero_filled' before"):
            collector.add(case_of("a.h5", 0))
    with pytest.raises(RuntimeError, match=r"call gather\(\) first"):
        len(collector.table)
    collector.add(Case("a.h5", 1, {"zero_filled": torch.ones(12, 16)}, torch.ones(12, 16)))
    with pytest.raises(ValueError, match=r"slices of one size, got \[\(12, 16\), \(16, 18\)\] in a.h5"):
        collector.gather()
    with pytest.raises(ValueError, match="unknown protocol"):
        CaseCollector(["ssim"])
    with pytest.raises(ValueError, match="no metric value"):
        len(CaseCollector(["magnitude_slice"]).table)
    with pytest.raises(ValueError, match="with its target, got none"):
        Case("a.h5", 0, {}).values(get_protocol("magnitude_slice"), "zero_filled")
