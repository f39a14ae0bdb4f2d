"""`python -m tools demo_train`."""

from pathlib import Path

import pytest
from helpers import SMALL_CASCADE_OPTIONS

from common.metrics import case_table, write_cases
from tools import demo_train as module
from tools.__main__ import commands
from tools.command import run_commands

FEW = {"n_train": 4, "n_valid": 2, "n_test": 3}


def run(out):
    words = ["demo_train", "--out", str(out)]
    return run_commands(commands(words), "tools", words)


def test_trained_network_reconstructs_the_test_cases(tmp_path, monkeypatch, capsys):
    runs = []

    def bundle(config, overrides):
        runs.append((config, overrides))
        overrides["output_dir"].mkdir(parents=True)
        if config == "train.json":
            (overrides["output_dir"] / "history.csv").write_text("epoch,phase,psnr\n1,pixel,20\n2,pixel,25\n")
            return
        cases = sorted((Path(overrides["dataset_dir"]) / "test").glob("*.png"))
        values = {"zero_filled": 22.5, "reconstruction": 31.25}
        rows = [
            {"protocol": "magnitude_slice", "file": str(case), "slice": 0, "method": method, "psnr": psnr}
            for case in cases
            for method, psnr in values.items()
        ]
        write_cases(overrides["output_dir"] / "metrics.csv", case_table(rows))

    monkeypatch.setattr(module, "_bundle", bundle)
    monkeypatch.setattr(module, "COUNTS", FEW)
    assert run(tmp_path) == 0
    (train, training), (infer, inference) = runs
    assert (train, infer) == ("train.json", "inference.json")
    assert training["ckpt_dir"] == inference["ckpt_dir"] == tmp_path / "model"
    assert training["network_options#widths"] == inference["network_options#widths"]
    assert capsys.readouterr().out.endswith(f"\nOpen {tmp_path / 'report.html'}\n")
    page = (tmp_path / "report.html").read_text()
    assert "A short training on synthetic brains" in page
    assert "3 files" in page


@pytest.mark.slow
def test_failed_run_ends_with_the_error_of_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "COUNTS", FEW)
    monkeypatch.setattr(module, "NETWORK", {"mask_family": "square", "sampling_rate": 0.1})
    assert run(tmp_path) == 1
    assert "error: unknown mask family" in (error := capsys.readouterr().err)
    assert "square" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_from_nothing_to_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "COUNTS", FEW)
    monkeypatch.setattr(module, "NETWORK", {**module.NETWORK, **SMALL_CASCADE_OPTIONS})
    monkeypatch.setattr(module, "TRAINING", {"val_interval": 1, "epochs#small": 1, "epochs#full": 1, "epochs#gan": 1})
    assert run(tmp_path) == 0
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "training" / "history.csv").read_text().count("\n") == 4
