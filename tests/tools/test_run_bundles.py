"""Lists with MONAI's own program: a small bundle, and one of this repository."""

import json
import os
import signal

import pytest
import torch
import yaml
from helpers import SMALL_CASCADE_OPTIONS, same_state
from quick_bundle import write_list

from tools.__main__ import commands
from tools.command import run_commands
from tools.run import process
from tools.run.status import Status, TimeLimitError

SCRIPT = '''"""A training that writes its gain, and an evaluation that measures it."""

from pathlib import Path

import torch
from ignite.engine import Engine

from common.handlers import CaseTableHandler
from common.operators import fft2c, pack_measurement


def train(ckpt_dir, gain):
    if gain <= 0:
        raise ValueError(f"expected a gain above 0, got {gain}; raise it")
    Path(ckpt_dir).mkdir(exist_ok=True)
    torch.save({"gain": torch.tensor(gain)}, Path(ckpt_dir) / "model.pt")


def evaluate(checkpoint, output_dir):
    gain = torch.load(checkpoint, weights_only=True)["gain"]
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)).to(torch.complex64)
    measured = pack_measurement(0.5 * fft2c(images), torch.ones(3, 1, 16, 16))
    labels = torch.cat([images.real, images.imag], 1)

    def step(engine, batch):
        return [
            {"image": image, "pred": gain * label, "label": label}
            for image, label in zip(measured, labels, strict=True)
        ]

    engine = Engine(step)
    CaseTableHandler(output_dir).attach(engine)
    engine.run([[{"path": "set.h5", "slice": i} for i in range(3)]])
'''
START = {"imports": ["$import sys"], "bundle_root": ".", "output_dir": "eval", "ckpt_dir": "models"}
INITIALIZE = [
    "$sys.path.insert(1, @bundle_root)",
    {"_target_": "common.start.start_run", "bundle_root": "@bundle_root"},
]
TRAIN = {"_target_": "scripts.gain.train", "ckpt_dir": "@ckpt_dir", "gain": "@gain"}
EVALUATE = {"_target_": "scripts.gain.evaluate", "checkpoint": "@checkpoint", "output_dir": "@output_dir"}
CONFIGS = {
    "metadata": {},
    "train": {**START, "gain": 0.5, "initialize": INITIALIZE, "run": [TRAIN]},
    "inference": {**START, "checkpoint": "$@ckpt_dir + '/model.pt'", "initialize": INITIALIZE, "run": [EVALUATE]},
}


@pytest.fixture
def small_bundle(tmp_path):
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "__init__.py").write_text('"""Peculiar."""\n')
    (bundle / "scripts" / "gain.py").write_text(SCRIPT)
    for name, content in CONFIGS.items():
        (bundle / "configs" / f"{name}.json").write_text(json.dumps(content))
    return bundle


@pytest.mark.slow
def test_a_list_of_four_with_one_that_fails(small_bundle, tmp_path, monkeypatch, capsys):
    gains = {"half": 0.5, "negative": -1.0, "most": 0.9, "little": 0.1}
    (tmp_path / "scripts").mkdir()  # of the current folder, which runs must not take for the bundle's
    (tmp_path / "scripts" / "__init__.py").write_text("raise RuntimeError('the wrong scripts')\n")
    path = write_list(tmp_path / "list.yaml", [{"name": name, "train": {"gain": gain}} for name, gain in gains.items()])
    monkeypatch.chdir(tmp_path)
    assert run_commands(commands(["run"]), "tools", ["run", str(path)]) == 1
    out, err = capsys.readouterr()
    assert err == "error: 3 of 4 tasks done, failed: negative; the same command tries them again\n"
    page = (tmp_path / "out" / "ranking.md").read_text()
    assert page in out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    assert [row[:3] for row in cells if row[0] in (*gains, "zero-filled")] == [
        ["zero-filled", "", "3"],
        ["most", "1", "3"],
        ["half", "2", "3"],
        ["little", "3", "3"],
    ]
    values = {row[0]: row for row in cells}
    assert values["half"][3:6] == values["zero-filled"][3:6]  # half the k-space is half the image
    assert page.endswith("- negative: training failed: expected a gain above 0, got -1.0; raise it\n")


RECIPE = {
    "data": {"heads": {"make": "brain_mri", "options": {"n_train": 6, "n_valid": 2, "n_test": 0, "size": 32}}},
    "defaults": {"bundle": "brain_mri_refinegan_reconstruction", "data": "heads", "overrides": SMALL_CASCADE_OPTIONS},
    "tasks": [
        {
            "name": "small",
            "config": {"train": ["train.json", "smoke.json"]},
            "train": {
                **{"train#preprocessing#spatial_size": [32, 32], "batch_size": 2, "val_interval": 10},
                **{"train#trainer#seed": 3, "train#dataset#cache": False},
                "epochs": {"small": 20, "full": 10, "gan": 20},
            },
            "yields": {"models/model.pt": "model.pt"},
        }
    ],
}


@pytest.mark.slow
def test_a_training_that_was_ended_or_killed_gives_the_weights_of_one_that_ran_through(tmp_path, monkeypatch, capsys):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    monkeypatch.setattr(process, "POLL_S", 0.02)

    def run(folder):
        return run_commands(commands(["run"]), "tools", ["run", f"{tmp_path}/recipe.yaml", "--out", str(folder)])

    def end():
        raise TimeLimitError

    def kill():
        os.kill(int((parts / ".lock").read_text().rpartition(" ")[2]), signal.SIGKILL)

    assert run(whole) == 0
    # before the critic and with it
    for act, epochs, status in ((end, range(5, 20), 0), (kill, range(22, 30), 1), (end, range(33, 48), 0)):
        with monkeypatch.context() as patch:
            told = [f"epoch {epoch}/50" for epoch in epochs]
            patch.setattr(
                Status, "tell", lambda _, line, act=act, told=told: act() if any(map(line.count, told)) else 0
            )
            assert run(parts) == status
    assert run(parts) == 0
    assert "[1/1] small: training resumes, log in" in capsys.readouterr().out
    log = (parts / "small" / "log.txt").read_text()
    assert log.count("stopped by SIGTERM, saved after iteration ") == 2
    assert log.count("resuming after iteration") == 3
    states = [torch.load(folder / "packed" / "models" / "model.pt", weights_only=True) for folder in (whole, parts)]
    assert same_state(*states)
    tables = [(folder / "packed" / "evaluations" / "small" / "metrics.csv").read_text() for folder in (whole, parts)]
    assert tables[0].replace(str(whole), "") == tables[1].replace(str(parts), "")
    assert "magnitude_slice,1,small,2," in (parts / "ranking.csv").read_text()
