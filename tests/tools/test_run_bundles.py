"""A recipe with MONAI's own program, and a bundle of this repository."""

import os
import signal

import pytest
import torch
import yaml
from helpers import SMALL_CASCADE_OPTIONS, same_state

from tools.__main__ import main
from tools.run import process
from tools.run.status import Status, TimeLimitError

SMALL = {
    "train#preprocessing#spatial_size": [32, 32],
    "train#trainer#seed": 3,
    "train#dataset#cache": False,
    "batch_size": 2,
    "val_interval": 10,
    "epochs": {"small": 20, "full": 10, "gan": 20},
}
RECIPE = {
    "rank_by": "psnr",
    "data": {"heads": {"make": "brain_mri", "options": {"n_train": 6, "n_valid": 2, "n_test": 0, "size": 32}}},
    "defaults": {
        "bundle": "brain_mri_refinegan_reconstruction",
        "config": {"train": ["train.json", "smoke.json"]},
        "data": "heads",
        "overrides": SMALL_CASCADE_OPTIONS,
        "train": SMALL,
    },
    "tasks": [{"name": "small", "yields": {"models/model.pt": "model.pt"}}],
}
BROKEN = {"name": "broken", "type": "train", "overrides": {"mask_family": "squares"}}


@pytest.mark.slow
def test_a_training_that_was_ended_or_killed_gives_the_weights_of_one_that_ran_through(tmp_path, monkeypatch, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    (tmp_path / "scripts").mkdir()  # of the current folder, which runs must not take for the bundle's
    (tmp_path / "scripts" / "__init__.py").write_text("raise RuntimeError('the wrong scripts')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "POLL_S", 0.02)

    def run(folder, *further):
        (tmp_path / "list.yaml").write_text(yaml.safe_dump({**RECIPE, "tasks": [*further, *RECIPE["tasks"]]}))
        return main(["run", "list.yaml", "--out", str(folder)])

    def end():
        raise TimeLimitError

    def kill():
        os.kill(int((parts / ".lock").read_text().rpartition(" ")[2]), signal.SIGKILL)

    assert run(whole, BROKEN) == 1
    error = "training failed: unknown mask family 'squares'"
    assert f"- broken: {error}" in (whole / "ranking.md").read_text()
    # before the critic and with it
    for act, epochs, status in ((end, range(5, 20), 0), (kill, range(22, 30), 1), (end, range(33, 48), 0)):

        def update(_, line, act=act, moments=tuple(f"epoch {epoch}/50" for epoch in epochs)):
            if any(map(line.count, moments)):
                act()

        with monkeypatch.context() as patch:
            patch.setattr(Status, "update", update)
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
