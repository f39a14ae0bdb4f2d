"""A real training of a recipe that was ended in its middle gives the weights of one that ran through."""

import json

import pytest
import torch
from helpers import SMALL_CASCADE, same_state

from tools.__main__ import commands
from tools.command import run_commands
from tools.tasks import process
from tools.training.work import Progress, TimeLimitError

BUNDLE = "brain_mri_refinegan_reconstruction"
SMALL = {**SMALL_CASCADE, "image_size": [32, 32], "batch_size": 2, "val_interval": 10, "seed": 3}
RECIPE = {
    "data": {"heads": {"make": "brain_mri", "options": {"n_train": 6, "n_valid": 1, "n_test": 0, "size": 32}}},
    "steps": [
        {
            "name": "small",
            "config": ["train.json", "smoke.json"],
            "data": "heads",
            "overrides": {**SMALL, "epochs": {"small": 20, "full": 10, "gan": 20}},
            "yields": {"models/model.pt": "model.pt"},
        }
    ],
    "evaluate": [
        {"name": "seen", "data": "heads", "weights": {"checkpoint": "small/model.pt"}, "overrides": SMALL_CASCADE}
    ],
}


def run(folder, *words):
    words = ["train", BUNDLE, "--recipe", folder.parent / "recipe.json", "--out", folder, *words]
    return run_commands(commands(["train"]), "tools", list(map(str, words)))


@pytest.mark.slow
def test_ended_in_the_middle_a_training_gives_the_weights_of_one_that_ran_through(tmp_path, monkeypatch, capsys):
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole) == 0
    monkeypatch.setattr(process, "POLL_S", 0.02)

    def end_in(epochs):
        def tell(self, line):
            if any(f"epoch {epoch}/50" in line for epoch in epochs):
                raise TimeLimitError

        return tell

    for epochs in (range(5, 20), range(33, 48)):  # before the critic, and with it
        with monkeypatch.context() as patch:
            patch.setattr(Progress, "tell", end_in(epochs))
            assert run(parts) == 0
        assert "models/model.pt" in capsys.readouterr().out or epochs.start < 10
    assert run(parts) == 0
    log = (parts / "steps" / "small" / "log.txt").read_text()
    assert log.count("stopped by SIGTERM, saved after iteration ") == 2
    saved = [int(line.split()[-1]) for line in log.splitlines() if "stopped by SIGTERM" in line]
    resumed = [int(line.split()[-1]) for line in log.splitlines() if "resuming after iteration" in line]
    assert resumed == saved
    states = [torch.load(folder / "packed" / "models" / "model.pt", weights_only=True) for folder in (whole, parts)]
    assert same_state(*states)
    tables = [(folder / "packed" / "evaluations" / "seen" / "metrics.csv").read_text() for folder in (whole, parts)]
    assert tables[0].replace(str(whole), "") == tables[1].replace(str(parts), "")
