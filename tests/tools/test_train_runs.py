"""Recipes at work: time limits, resume, what is refused, what is packed. The program that runs is a quick one."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from quick_bundle import PROGRAM, table, write_quick_bundle
from test_tasks_runs import handed_on, wait_for

from common.networks.weights import read_weights
from tools.__main__ import commands
from tools.command import run_commands
from tools.tasks import process
from tools.zoo.layout import ROOT

STARTED = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tools.__main__ import commands
from tools.command import run_commands
from tools.tasks import process
process.PROGRAM = {PROGRAM!r}
words = ["train", *sys.argv[1:]]
sys.exit(run_commands(commands(words), "tools", words))
"""
PICTURES = {"folder": "pictures", "source": "pictures of a museum"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_quick_bundle(tmp_path / "bundle")
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    (tmp_path / "data" / "pictures" / "1.png").touch()
    torch.save({"weight": torch.full((3,), 0.1), "count": torch.tensor(2)}, tmp_path / "weights.pt")
    torch.save({"weight": torch.full((3,), 0.5).half()}, tmp_path / "half.pt")
    monkeypatch.setattr(process, "PROGRAM", PROGRAM)
    monkeypatch.setattr(process, "POLL_S", 0.05)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, name="bundle"):
    words = ["train", name, "--recipe", "recipe.json", "--data", "data", "--out", "out", *map(str, words)]
    return run_commands(commands(words), "tools", words)


def step(name, weights_file="weights.pt", **changes):
    found = {"name": name, "data": "pictures", "yields": {f"models/{name}.pt": "model.pt"}, **changes}
    return {**found, "overrides": {"weights_file": weights_file, **changes.get("overrides", {})}}


def evaluation(folder, name, of, ssim=(0.6, 0.7, 0.8), **overrides):
    overrides["table"] = table(folder / f"{name}.csv", list(ssim))
    return {"name": name, "data": "pictures", "weights": {"checkpoint": f"{of}/model.pt"}, "overrides": overrides}


def write(folder, steps, evaluate=(), **changes):
    content = {"data": {"pictures": PICTURES}, "steps": steps, "evaluate": list(evaluate), **changes}
    (folder / "recipe.json").write_text(json.dumps(content))


def packed(folder):
    base = folder / "out" / "packed"
    return sorted(path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file())


def metrics(folder):
    return json.loads((folder / "out" / "packed" / "metrics.json").read_text())


def starts(folder, name, place="steps", kind="train"):
    path = folder / "out" / place / name / kind / "starts.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_steps_and_their_evaluations_are_run_and_packed(folder, capsys):
    second = step("two", "half.pt", weights={"initial_weights": "one/model.pt"})
    write(folder, [step("one"), second], [evaluation(folder, "both", "two"), evaluation(folder, "early", "one")])
    assert run() == 0
    out = capsys.readouterr().out
    order = [out.index(f"{label}: done in") for label in ("] one", "evaluation early", "] two", "evaluation both")]
    assert order == sorted(order)
    assert packed(folder) == [
        "curves.png",
        "evaluations/both/metrics.csv",
        "evaluations/early/metrics.csv",
        "history_one.csv",
        "history_two.csv",
        "metrics.json",
        "models/one.pt",
        "models/two.pt",
        "recipe.json",
    ]
    for name in packed(folder):
        assert f"MB  {name}\n" in out
    assert "MB  in all" in out
    state = torch.load(folder / "out" / "packed" / "models" / "one.pt", weights_only=True)
    assert (state["weight"].dtype, state["count"].dtype) == (torch.float16, torch.int64)
    two = [read_weights(path) for path in (folder / "out" / "packed" / "models" / "two.pt", folder / "half.pt")]
    assert all(torch.equal(value, two[1][name]) for name, value in two[0].items())
    taken = json.loads((folder / "out" / "steps" / "two" / "train.json").read_text())
    assert taken["initial_weights"] == str(folder / "out" / "steps" / "one" / "models" / "model.pt")
    assert taken["dataset_dir"] == str(folder / "data" / "pictures")

    found = metrics(folder)
    assert {name: (one["status"], one["epochs"]) for name, one in found["steps"].items()} == {
        "one": ("done", 2),
        "two": ("done", 2),
    }
    assert found["steps"]["one"]["last_validation"] == {"epoch": 2.0, "phase": "train", "loss": 0.7, "psnr": 22.0}
    rows = found["evaluations"]["both"]["protocols"]["cine_series"]
    ours = rows["reconstruction"]["ssim"]
    assert (ours["mean"], ours["n"]) == (pytest.approx(0.7), 3)
    assert ours["std"] == pytest.approx(0.1)
    assert ours["low"] < 0.7 < ours["high"]
    assert rows["aliased"]["ssim"]["mean"] == 0.5
    as_run = json.loads((folder / "out" / "packed" / "recipe.json").read_text())
    assert as_run["recipe"] == json.loads((folder / "recipe.json").read_text())
    assert as_run["calls"][0]["device"]
    assert as_run["calls"][0]["packages"]["torch"] == torch.__version__
    assert list(as_run["calls"][0]["seconds"]) == ["train one", "predict early", "train two", "predict both"]
    assert set(as_run["seconds"]) == {"one", "two"}

    assert run() == 0
    assert "[1/2] one: done before, in 0:00:0" in capsys.readouterr().out
    assert [starts(folder, name) for name in ("one", "two")] == [1, 1]
    assert starts(folder, "both", "evaluations", "predict") == 1
    assert len(json.loads((folder / "out" / "packed" / "recipe.json").read_text())["calls"]) == 1


def test_at_the_time_limit_the_training_is_ended_packed_and_goes_on(folder, capsys):
    write(folder, [step("one"), step("two", overrides={"epochs": 4, "pause": 0.7})], [evaluation(folder, "far", "two")])
    begin = time.monotonic()
    assert run("--hours", 2.4 / 3600) == 0
    assert time.monotonic() - begin < 30  # mostly the imports of the packing
    out = capsys.readouterr().out
    assert "time is up, left: two; the same command goes on from here" in out
    assert "models/two.pt  (step two is unfinished)" in out
    found = metrics(folder)
    assert {name: one["finished"] for name, one in found["weights"].items()} == {
        "models/one.pt": True,
        "models/two.pt": False,
    }
    assert found["steps"]["two"]["status"] == "unfinished"
    assert 1 <= found["steps"]["two"]["epochs"] < 4
    assert found["evaluations"]["far"]["status"] == "not begun"
    assert run() == 0
    assert "[2/2] two: training goes on" in capsys.readouterr().out
    assert [starts(folder, name) for name in ("one", "two")] == [1, 2]
    epochs = (folder / "out" / "steps" / "two" / "train" / "epochs.txt").read_text().split()
    assert sorted(set(epochs)) == ["0", "1", "2", "3"]
    assert len(epochs) <= 5
    assert metrics(folder)["weights"]["models/two.pt"]["finished"]
    calls = json.loads((folder / "out" / "packed" / "recipe.json").read_text())["calls"]
    assert [list(call["seconds"]) for call in calls] == [["train one", "train two"], ["train two", "predict far"]]


def test_the_time_limit_ends_the_making_of_data_too(folder, capsys):
    sets = {"many": {"make": "textures", "options": {"n_train": 5000}}}
    write(folder, [step("one", data="many")], data=sets)
    assert run("--hours", 3 / 3600) == 0
    out = capsys.readouterr().out
    assert "[1/1] one: makes out/data/many" in out
    assert "time is up, left: one;" in out
    assert list((folder / "out" / "data").iterdir()) == []


def test_synthetic_data_are_made_once_and_others_of_that_name_refused(folder, capsys):
    sets = {"few": {"make": "rock", "options": {"n_train": 2, "n_valid": 0, "n_test": 0, "size": 32}}}
    write(folder, [step("one", data="few")], data=sets)
    assert run() == 0
    assert "[1/1] one: makes out/data/few" in capsys.readouterr().out
    assert len(list((folder / "out" / "data" / "few" / "train").iterdir())) == 2
    (folder / "out" / "data" / "few").rename(folder / "data" / "few")
    sets["few"]["options"]["seed"] = 1
    write(folder, [step("two", data="few")], data=sets)
    assert run() == 1
    assert f"{folder / 'data' / 'few'} holds another data set (seed 0 instead of 1)" in capsys.readouterr().err
    assert starts(folder, "two") == 0


def test_a_changed_step_that_is_done_is_refused_before_anything_runs(folder, capsys):
    write(folder, [step("one")])
    assert run() == 0
    write(folder, [step("new"), step("one", overrides={"epochs": 3})])
    for words in ((), ("--check",)):
        capsys.readouterr()
        assert run(*words) == 1
        assert capsys.readouterr().err == (
            "error: step one: its training was done with another definition (epochs not set, now 3); give the changed "
            f"step another name, or move {folder / 'out' / 'steps' / 'one'} away\n"
        )
    assert starts(folder, "new") == 0


def test_changed_evaluations_begin_anew_and_so_do_those_of_new_weights(folder):
    write(folder, [step("one")], [evaluation(folder, "far", "one")])
    assert run() == 0
    write(folder, [step("one")], [evaluation(folder, "far", "one", (0.1, 0.2, 0.3), split="test")])
    assert run() == 0
    rows = metrics(folder)["evaluations"]["far"]["protocols"]["cine_series"]
    assert rows["reconstruction"]["ssim"]["mean"] == pytest.approx(0.2)
    (folder / "out" / "steps" / "one").rename(folder / "old")
    assert run() == 0
    assert (starts(folder, "one"), starts(folder, "far", "evaluations", "predict")) == (1, 2)


def test_a_step_that_fails_ends_the_call_and_what_is_done_is_packed(folder, capsys):
    write(folder, [step("one"), step("two", overrides={"how": "fails"}), step("three")])
    assert run() == 1
    log = "out/steps/two/log.txt"
    error = f"error: two: data: expected images, got none; draw some (log in {log}); the same command tries again\n"
    assert capsys.readouterr().err == error
    assert starts(folder, "three") == 0
    assert "models/one.pt" in packed(folder)
    write(folder, [step("one"), step("two"), step("three")])
    assert run() == 0
    assert "models/three.pt" in packed(folder)


def test_an_evaluation_that_fails_does_not_keep_steps_from_going_on(folder, capsys):
    write(folder, [step("one"), step("two")], [evaluation(folder, "far", "one", how="fails")])
    assert run() == 1
    assert capsys.readouterr().err.startswith("error: far: data: expected images, got none")
    assert starts(folder, "far", "evaluations", "predict") == 1
    assert metrics(folder)["evaluations"]["far"]["status"] == "unfinished"
    assert metrics(folder)["weights"]["models/two.pt"]["finished"]


def test_weights_that_are_too_large_are_refused_and_the_rest_is_packed(folder, capsys):
    torch.save({"weight": torch.zeros(14_000_000, dtype=torch.half)}, folder / "large.pt")
    write(folder, [step("one", "large.pt", overrides={"width": 96}), step("two")])
    assert run() == 1
    assert capsys.readouterr().err == (
        "error: models/one.pt: 26.7 MB as float16 from step one, and 25 MB are the most that is shipped; a width of 92 "
        f"fits, this has 96; the weights are in {folder / 'out' / 'steps' / 'one' / 'models' / 'model.pt'}\n"
    )
    assert "models/two.pt" in packed(folder)
    assert "models/one.pt" not in packed(folder)


def test_a_file_that_a_step_should_have_left_is_missed(folder, capsys):
    write(folder, [step("one", yields={"models/one.pt": "best.pt"})])
    assert run() == 1
    assert capsys.readouterr().err == (
        "error: models/one.pt: step one left no best.pt, only model.pt; correct its yields\n"
    )


def test_the_last_step_that_has_begun_gives_a_file_and_finished_ones_are_installed(folder, capsys):
    yields = {"models/model.pt": "model.pt"}
    copies = {"models/vgg.pt": "micro_ct_srgan_super_resolution/models/vgg19_textures.pt"}
    slow = step("two", "half.pt", yields=yields, overrides={"pause": 60})
    write(folder, [step("one", yields=yields), step("other")], copies=copies)
    assert run("--install") == 0
    out = capsys.readouterr().out
    assert f"installed {folder / 'bundle' / 'models' / 'other.pt'}" in out
    models = folder / "bundle" / "models"
    assert {path.name for path in models.iterdir()} == {"model.pt", "other.pt", "vgg.pt"}
    assert metrics(folder)["weights"]["models/vgg.pt"]["copy_of"] == copies["models/vgg.pt"]
    before = (models / "model.pt").read_bytes()
    (folder / "out" / "steps" / "two" / "models").mkdir(parents=True)
    (folder / "out" / "steps" / "two" / "models" / "model.pt").write_bytes((folder / "half.pt").read_bytes())
    write(folder, [step("one", yields=yields), step("other"), slow])
    assert run("--install", "--hours", 1 / 3600) == 0
    assert "not installed: models/model.pt, step two is unfinished" in capsys.readouterr().out
    assert metrics(folder)["weights"]["models/model.pt"]["step"] == "two"
    assert (models / "model.pt").read_bytes() == before


@pytest.mark.slow
def test_a_signal_ends_the_run_and_what_is_done_is_packed(folder):
    write(folder, [step("one"), step("two", overrides={"pause": 60})])
    words = ["bundle", "--recipe", "recipe.json", "--data", "data", "--out", "out"]
    with (
        handed_on(signal.SIGTERM, signal.SIG_DFL),
        subprocess.Popen([sys.executable, "-c", STARTED, *words], stdout=subprocess.PIPE, text=True) as parent,
    ):
        wait_for(folder / "out" / "steps" / "two" / "train" / "epochs.txt", "0")
        child = int((folder / "out" / "steps" / "two" / "train" / "starts.txt").read_text().split()[0])
        parent.send_signal(signal.SIGTERM)
        output, _ = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert "stopped; the same command goes on from here\npacked in" in output
    assert "models/one.pt" in packed(folder)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_two_calls_at_a_time_are_refused(folder, capsys):
    from tools.tasks.records import locked

    write(folder, [step("one")])
    with locked(folder / "out"):
        assert run() == 1
    assert "is at work there" in capsys.readouterr().err


def test_values_that_json_does_not_know_are_null(folder):
    write(folder, [step("one")], [evaluation(folder, "single", "one", (0.5,))])
    assert run() == 0
    text = (folder / "out" / "packed" / "metrics.json").read_text()
    assert "NaN" not in text
    ours = metrics(folder)["evaluations"]["single"]["protocols"]["cine_series"]["reconstruction"]["ssim"]
    assert (ours["mean"], ours["std"]) == (0.5, None)
    with (folder / "out" / "packed" / "evaluations" / "single" / "metrics.csv").open() as file:
        assert math.isclose(float(list(csv.DictReader(file))[1]["ssim"]), 0.5)
