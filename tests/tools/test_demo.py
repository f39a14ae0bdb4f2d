"""`python -m tools demo`."""

import csv
from pathlib import Path

import pytest
from helpers import SMALL_CASCADE_OPTIONS
from PIL import Image

from tools import demo as module
from tools.__main__ import commands
from tools.command import run_commands

FEW = {"n_train": 4, "n_valid": 2, "n_test": 3}


def run(out):
    words = ["demo", "--out", str(out)]
    return run_commands(commands(words), "tools", words)


def write_results(folder, cases):
    """What an inference writes."""
    (folder / "panels").mkdir(parents=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["protocol", "file", "slice", "method", "psnr", "ssim", "nmse"])
        for case in cases:
            writer.writerow(["magnitude_slice", case, 0, "zero_filled", 22.5, 0.4, 0.1])
            writer.writerow(["magnitude_slice", case, 0, "reconstruction", 31.25, 0.9, 0.01])


@pytest.fixture
def runs(monkeypatch):
    """The runs of the bundle, in place of them."""
    done = []

    def bundle(config, overrides):
        done.append((config, overrides))
        output_dir = overrides["output_dir"]
        if config == "train.json":
            output_dir.mkdir(parents=True)
            (output_dir / "history.csv").write_text("epoch,phase,psnr\n1,pixel,20\n2,pixel,25\n")
        else:
            write_results(output_dir, sorted((Path(overrides["dataset_dir"]) / "test").glob("*.png")))

    monkeypatch.setattr(module, "_bundle", bundle)
    monkeypatch.setattr(module, "COUNTS", FEW)
    return done


def test_shipped_weights_are_shown_before_anything_is_trained(runs, tmp_path, capsys):
    assert run(tmp_path / "demo") == 0
    configs = [config for config, _ in runs]
    assert configs == ["inference.json", "train.json", "inference.json"]
    shipped, training, inference = (overrides for _, overrides in runs)
    assert {"ckpt_dir", "checkpoint", "network_options#widths"}.isdisjoint(shipped)
    assert shipped["sampling_rate"] == 0.1
    assert training["ckpt_dir"] == inference["ckpt_dir"] == tmp_path / "demo" / "model"
    assert training["network_options#widths"] == inference["network_options#widths"]
    out = capsys.readouterr().out
    before, after = out.split("2/5")
    assert "zero-filled     PSNR 22.50 dB  SSIM 0.400\n" in before
    assert "reconstruction  PSNR 31.25 dB  SSIM 0.900\n" in before
    assert "demo/shipped/results/panels/00001_0.png\n" in before
    assert after.endswith(f"\nOpen {tmp_path / 'demo' / 'report.html'}\n")


def test_what_is_shown_first_is_the_first_of_the_cases_that_are_tested(runs, tmp_path):
    assert run(tmp_path) == 0
    alone, among = tmp_path / "shipped" / "data" / "test", tmp_path / "data" / "test"
    assert [path.name for path in alone.iterdir()] == ["00001.png"]
    assert len(list(among.iterdir())) == FEW["n_test"]
    assert (alone / "00001.png").read_bytes() == (among / "00001.png").read_bytes()
    page = (tmp_path / "report.html").read_text()
    assert "A short training on synthetic brains" in page


@pytest.mark.slow
def test_a_run_that_fails_ends_the_demo_in_its_own_words(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "SHIPPED", {"mask_family": "square", "sampling_rate": 0.1})
    assert run(tmp_path) == 1
    assert "error: unknown mask family" in (error := capsys.readouterr().err)
    assert "square" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "training").exists()


@pytest.mark.slow
def test_from_nothing_to_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "COUNTS", FEW)
    monkeypatch.setattr(module, "NETWORK", {**module.NETWORK, **SMALL_CASCADE_OPTIONS})
    monkeypatch.setattr(module, "TRAINING", {"val_interval": 1, "epochs#small": 1, "epochs#full": 1, "epochs#gan": 1})
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    (zero_filled,) = (line for line in out.splitlines() if line.startswith("zero-filled     PSNR "))
    (shipped,) = (line for line in out.splitlines() if line.startswith("reconstruction  PSNR "))
    assert float(shipped.split()[2]) > float(zero_filled.split()[2]) + 5
    with Image.open(tmp_path / "shipped" / "results" / "panels" / "00001_0.png") as picture:
        assert picture.width > 1000
    assert (tmp_path / "report.html").is_file()
