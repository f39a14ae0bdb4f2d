"""Lists of tasks with MONAI's own program: a small bundle, and one of this repository."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import SMALL_CASCADE
from quick_bundle import write_list

from common.phantoms.synthetic import make_brain_set

ROOT = Path(__file__).resolve().parents[2]
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
INITIALIZE = ["$sys.path.insert(1, @bundle_root)", {"_target_": "common.start.start_run"}]
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


def command(path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tools", "run", str(path)],
        cwd=path.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_list_of_four_with_one_that_fails(small_bundle, tmp_path):
    gains = {"half": 0.5, "negative": -1.0, "most": 0.9, "little": 0.1}
    (tmp_path / "scripts").mkdir()  # of the current folder, which runs must not take for the bundle's
    (tmp_path / "scripts" / "__init__.py").write_text("raise RuntimeError('the wrong scripts')\n")
    path = write_list(tmp_path / "list.yaml", [{"name": name, "train": {"gain": gain}} for name, gain in gains.items()])
    out, err = command(path).communicate(timeout=600)
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


@pytest.mark.slow
def test_a_training_of_a_bundle_goes_on_after_a_kill(tmp_path):
    data = tmp_path / "data"
    make_brain_set(str(data), n_train=4, n_valid=2, n_test=0, size=32)
    bundle = "brain_mri_refinegan_reconstruction"
    task = {
        "bundle": bundle,
        "config": {"train": ["train.json", "smoke.json"]},
        "overrides": {"dataset_dir": "data", **SMALL_CASCADE, "batch_size": 2},
        "train": {"epochs#small": 4, "epochs#full": 0, "image_size": [32, 32], "cache": False},
    }
    path = write_list(tmp_path / "list.yaml", [{"name": "one", **task}])
    parent = command(path)
    checkpoints = tmp_path / "out" / "one" / "train" / "checkpoints"
    while parent.poll() is None and not list(checkpoints.glob("checkpoint_*.pt")):
        time.sleep(0.02)
    child = int((tmp_path / "out" / ".lock").read_text().rpartition(" ")[2])
    parent.kill()
    os.kill(child, signal.SIGKILL)
    parent.communicate(timeout=60)
    again = command(path)
    out, err = again.communicate(timeout=900)
    assert (again.returncode, err) == (0, ""), out
    assert "[1/1] one: training resumes, log in out/one/log.txt" in out
    with (tmp_path / "out" / "one" / "train" / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4", "5"]
    assert "resuming after iteration" in (tmp_path / "out" / "one" / "log.txt").read_text()
    table = (tmp_path / "out" / "ranking.csv").read_text()
    assert "magnitude_slice,,zero-filled,2," in table
    assert "magnitude_slice,1,one,2," in table
