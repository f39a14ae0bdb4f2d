"""Lists at work: what fails is passed over, what is done stays done, what was stopped resumes, weights are packed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from quick_bundle import PROGRAM, table, write_list, write_quick_bundle

from tools.__main__ import commands
from tools.command import run_commands
from tools.run import process
from tools.run.records import Records, locked

ROOT = Path(__file__).resolve().parents[2]
STARTED = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tools.__main__ import commands
from tools.command import run_commands
from tools.run import process
process.PROGRAM = {PROGRAM!r}
words = ["run", sys.argv[1]]
sys.exit(run_commands(commands(words), "tools", words))
"""
"""A process of the command, with the quick program in the place of MONAI's."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_quick_bundle(tmp_path / "bundle")
    monkeypatch.setattr(process, "PROGRAM", PROGRAM)
    monkeypatch.setattr(process, "POLL_S", 0.05)
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.full((3,), 0.1), "count": torch.tensor(2)}, tmp_path / "weights.pt")
    torch.save({"weight": torch.full((3,), 0.5).half()}, tmp_path / "half.pt")
    return tmp_path


def run(folder, tasks, *words, **further):
    words = ["run", *map(str, (write_list(folder / "list.yaml", tasks, **further), *words))]
    return run_commands(commands(words), "tools", words)


def start(path):
    return subprocess.Popen(
        [sys.executable, "-c", STARTED, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


@contextmanager
def handed_on(number, handling):
    """Let processes that are started in the block inherit how a signal is handled."""
    before = signal.signal(number, handling)
    try:
        yield
    finally:
        signal.signal(number, before)


def wait_for(path, text=""):
    for _ in range(3000):
        if path.is_file() and text in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"no {path} with {text!r}")


def wait_until_free(folder):
    """Wait for the lock of killed processes, which they hold a moment longer."""
    for _ in range(500):
        with suppress(ValueError), locked(folder):
            return
        time.sleep(0.02)
    raise AssertionError(f"{folder} stays locked")


def statuses(folder):
    content = json.loads((folder / "out" / "tasks.json").read_text())
    return {task: {kind: record["status"] for kind, record in runs.items()} for task, runs in content.items()}


def starts(folder, task, kind="train"):
    path = folder / "out" / task / kind / "starts.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def four(folder, third):
    values = {"low": [0.6, 0.7, 0.8], "high": [0.9, 0.8, 0.7], "middle": [0.7, 0.75, 0.8]}
    tasks = [
        {"name": name, "predict": {"table": table(folder / f"{name}.csv", ssim, mse=[0.1, 0.2, 0.3])}}
        for name, ssim in values.items()
    ]
    return [*tasks[:2], third, tasks[2]]


def training(name, weights_file="weights.pt", **changes):
    task = {"name": name, "type": "train", "yields": {f"models/{name}.pt": "model.pt"}, **changes}
    return {**task, "overrides": {"weights_file": weights_file, **changes.get("overrides", {})}}


def evaluation(folder, name, of, **overrides):
    overrides["table"] = table(folder / f"{name}.csv", [0.6, 0.7, 0.8])
    return {"name": name, "type": "predict", "weights": f"{of}/model.pt", "overrides": overrides}


def packed(folder):
    base = folder / "out" / "packed"
    return sorted(path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file())


def test_one_of_four_fails_and_the_others_are_ranked_and_not_done_again(folder, capsys):
    tasks = four(folder, {"name": "broken", "predict": {"how": "fails"}})
    assert run(folder, tasks) == 1
    captured = capsys.readouterr()
    assert captured.err == "error: 3 of 4 tasks done, failed: broken; the same command tries them again\n"
    lines = captured.out.splitlines()
    assert lines[:2] == [f"[1/4] low: {word}, log in out/low/log.txt" for word in ("training", "prediction")]
    assert lines[2].startswith("[1/4] low: done in 0:00:0")
    assert ", psnr 28.00, ssim 0.7000, mse 0.2" in lines[2]
    failed = next(i for i, line in enumerate(lines) if "failed after" in line)
    assert lines[failed].startswith("[3/4] broken: prediction failed after 0:00:0")
    assert lines[failed].endswith(": data: expected images, got none; draw some")
    assert lines[failed + 1] == "    | epoch 1"
    done = {"train": "done", "predict": "done"}
    assert statuses(folder) == {"low": done, "high": done, "middle": done, "broken": {**done, "predict": "failed"}}
    with (folder / "out" / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["task"], row["ssim"]) for row in rows if row["rank"]] == [
        ("high", "0.8"),
        ("middle", "0.75"),
        ("low", "0.7"),
    ]
    page = (folder / "out" / "ranking.md").read_text()
    assert page in captured.out
    assert page.endswith("- broken: prediction failed: data: expected images, got none; draw some\n")

    assert run(folder, tasks) == 1
    out = capsys.readouterr().out
    assert "[1/4] low: done before, in 0:00:0" in out
    assert "[3/4] broken: prediction is tried again, log in out/broken/log.txt" in out
    assert run(folder, four(folder, {"name": "broken"})) == 0
    out = capsys.readouterr().out
    assert "[3/4] broken: begins anew, its prediction was changed (how 'fails', now not set);" in out
    assert [starts(folder, "low", kind) for kind in ("train", "predict")] == [1, 1]
    assert [starts(folder, "broken", kind) for kind in ("train", "predict", "predict~1")] == [1, 1, 2]


def test_a_task_has_a_folder_with_its_weights_results_and_log(folder, monkeypatch):
    monkeypatch.setenv(process.SECRET, "hidden")
    tasks = [
        {"name": "a", "overrides": {"loss": "SSIM"}},
        {"name": "b", "type": "predict", "weights": "a/model.pt"},
        {"name": "c", "type": "train"},
    ]
    assert run(folder, tasks) == 0
    out = folder / "out"
    assert (out / "a" / "models" / "model.pt").read_text() == "SSIM"
    assert (out / "a" / "predict" / "weights.txt").read_text() == str(out / "a" / "models")
    assert (out / "b" / "predict" / "weights.txt").read_text() == str(out / "a" / "models" / "model.pt")
    assert sorted(file.name for file in (out / "c").iterdir()) == ["log.txt", "models", "train", "train.json"]
    assert (out / "a" / "log.txt").read_text().count("$ ") == 2
    # runs see the current folder, and not the password
    assert (out / "a" / "train" / "starts.txt").read_text().split()[1:] == [str(folder), "None"]
    assert not [path for path in out.rglob("*") if path.is_file() and "hidden" in path.read_text()]
    machine = json.loads((out / "tasks.json").read_text())["a"]["train"]["machine"]
    assert f"torch {torch.__version__}" in machine
    notes = (out / "ranking.md").read_text()
    assert notes.startswith("No task has values to be ranked by.\n")
    assert "- c: done, trained only" in notes


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("crashes", "training failed: ended with status 1: RuntimeError: a defect"),
        ("is killed", "training failed: ended by SIGKILL, perhaps for want of memory"),
    ],
)
def test_whatever_ends_a_run_the_next_begins_unless_it_takes_its_weights(folder, how, error, capsys):
    tasks = [
        {"name": "a", "train": {"how": how}},
        {"name": "b", "type": "predict", "weights": "a/model.pt"},
        {"name": "c"},
    ]
    assert run(folder, tasks) == 1
    captured = capsys.readouterr()
    assert f"- a: {error}\n" in captured.out
    assert "[2/3] b: prediction left out: it takes weights of a, which is not done" in captured.out
    assert statuses(folder) == {"a": {"train": "failed"}, "c": {"train": "done", "predict": "done"}}


def test_a_changed_training_that_was_done_is_refused_before_anything_runs(folder, capsys):
    assert run(folder, [{"name": "a", "overrides": {"loss": "MSE"}}]) == 0
    changed = [{"name": "new"}, {"name": "a", "overrides": {"loss": "SSIM", "epochs": 1}}]
    for words in ((), ("--check",)):
        capsys.readouterr()
        assert run(folder, changed, *words) == 1
        assert capsys.readouterr().err == (
            "error: task a: its training was done with another definition (loss 'MSE', now 'SSIM', epochs not set, now "
            f"1); give the changed task another name, or move {folder / 'out' / 'a'} away\n"
        )
    assert not (folder / "out" / "new").exists()
    (folder / "out" / "a").rename(folder / "elsewhere")
    assert run(folder, changed) == 0
    assert (folder / "out" / "a" / "models" / "model.pt").read_text() == "SSIM"


def test_a_changed_training_that_failed_begins_anew_beside_what_it_had(folder):
    assert run(folder, [{"name": "a", "overrides": {"how": "fails"}}]) == 1
    assert run(folder, [{"name": "a", "overrides": {"loss": "SSIM"}}]) == 0
    assert starts(folder, "a") == starts(folder, "a~1") == 1


def test_predictions_by_weights_that_are_made_anew_are_made_anew_too(folder):
    tasks = [{"name": "a"}, {"name": "b", "type": "predict", "weights": "a/model.pt"}]
    assert run(folder, tasks) == 0
    (folder / "out" / "a" / "train").rename(folder / "old")
    assert run(folder, tasks) == 0
    assert (starts(folder, "a", "predict"), starts(folder, "b", "predict")) == (2, 2)
    tasks[1]["overrides"] = {"split": "x"}
    assert run(folder, tasks, "--only", "b,") == 0
    assert (starts(folder, "b", "predict~1"), starts(folder, "b", "predict")) == (2, 1)


def test_killed_with_its_run_the_list_resumes_in_the_epoch_where_it_was(folder, capsys):
    tasks = [{"name": "first"}, {"name": "long", "train": {"epochs": 4, "pause": 0.4}}, {"name": "last"}]
    path = write_list(folder / "list.yaml", tasks)
    with start(path) as parent:
        wait_for(folder / "out" / "long" / "train" / "epoch.txt", "1")
        child = int((folder / "out" / "long" / "train" / "starts.txt").read_text().split()[0])
        parent.kill()
        # a run that outlives its list keeps others away
        with pytest.raises(ValueError, match=rf"at work there: process {parent.pid}, and its run {child}; wait"):
            locked(folder / "out").__enter__()
        os.kill(child, signal.SIGKILL)
    wait_until_free(folder / "out")
    assert statuses(folder)["long"] == {"train": "running"}
    assert run(folder, tasks) == 0
    assert "[2/3] long: training resumes, log in out/long/log.txt" in capsys.readouterr().out
    assert [starts(folder, name) for name in ("first", "long", "last")] == [1, 2, 1]
    epochs = [int(line) for line in (folder / "out" / "long" / "train" / "epochs.txt").read_text().split()]
    assert sorted(set(epochs)) == [0, 1, 2, 3]
    assert epochs.count(0) == 1


def test_a_signal_ends_the_run_although_nobody_listens_and_the_same_command_resumes(folder):
    tasks = [{"name": "a", "type": "train"}, {"name": "long", "type": "train", "train": {"epochs": 2, "pause": 1.5}}]
    path = write_list(folder / "list.yaml", tasks)
    # the tests themselves may have been told to ignore it, as jobs in the background are
    with handed_on(signal.SIGTERM, signal.SIG_DFL), handed_on(signal.SIGHUP, signal.SIG_IGN), start(path) as parent:
        assert parent.stdout.readline() == "[1/2] a: training, log in out/a/log.txt\n"
        parent.stdout.close()
        wait_for(folder / "out" / "long" / "train" / "epoch.txt", "1")
        child = int((folder / "out" / "long" / "train" / "starts.txt").read_text().split()[0])
        parent.send_signal(signal.SIGHUP)  # as after nohup
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(0.3)
        parent.terminate()
        parent.wait(60)
    assert parent.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert statuses(folder) == {"a": {"train": "done"}, "long": {"train": "interrupted"}}
    assert run(folder, tasks) == 0
    assert (folder / "out" / "long" / "train" / "epochs.txt").read_text().split().count("0") == 1


def test_what_is_done_when_a_list_is_stopped_is_packed(folder, monkeypatch, capsys):
    run_bundle = process.run_bundle

    def stop_at_the_second(bundle, configs, overrides, folder, *further):
        if folder.name == "two":
            raise KeyboardInterrupt
        return run_bundle(bundle, configs, overrides, folder, *further)

    monkeypatch.setattr("tools.run.job.run_bundle", stop_at_the_second)
    assert run(folder, [training("one"), training("two")]) == 130
    assert "stopped; run the same command again to resume\npacked in" in capsys.readouterr().out
    assert "models/one.pt" in packed(folder)


def test_records_of_something_else_and_two_calls_at_a_time_are_refused(folder, capsys):
    (folder / "out").mkdir()
    for text in ('{"a": {"train": {"state": 1}}}', '{"a": 1}', "[]", "{"):
        (folder / "out" / Records.FILE).write_text(text)
        assert run(folder, [{"name": "a"}]) == 1
        assert capsys.readouterr().err.startswith(f"error: {folder / 'out' / 'tasks.json'}: expected")
    with locked(folder / "out"):
        assert run(folder, [{"name": "a"}]) == 1
    assert "is at work there" in capsys.readouterr().err


def test_a_recipe_is_run_evaluated_and_packed(folder, capsys):
    sets = {"few": {"make": "rock", "options": {"n_train": 2, "n_valid": 0, "n_test": 0, "size": 32}}}
    tasks = [
        training("one", data="few"),
        evaluation(folder, "early", "one"),
        training("two", "half.pt", weights="one/model.pt"),
        evaluation(folder, "far", "two", how="fails"),
    ]
    assert run(folder, tasks, data=sets) == 1
    out = capsys.readouterr().out
    assert "[1/4] one: makes out/data/few" in out
    assert len(list((folder / "out" / "data" / "few" / "train").iterdir())) == 2
    assert packed(folder) == [
        "evaluations/early/metrics.csv",
        "history_one.csv",
        "history_two.csv",
        "models/one.pt",
        "models/two.pt",
        "ranking.csv",
        "ranking.md",
        "recipe.json",
        "tasks.json",
    ]
    assert all(f"MB  {name}\n" in out for name in packed(folder))
    state = torch.load(folder / "out" / "packed" / "models" / "one.pt", weights_only=True)
    assert (state["weight"].dtype, state["count"].dtype) == (torch.float16, torch.int64)
    state = torch.load(folder / "out" / "packed" / "models" / "two.pt", weights_only=True)
    assert torch.equal(state["weight"], torch.full((3,), 0.5).half())
    taken = json.loads((folder / "out" / "two" / "train.json").read_text())
    assert taken["initial_weights"] == str(folder / "out" / "one" / "models" / "model.pt")
    assert json.loads((folder / "out" / "one" / "train.json").read_text())["dataset_dir"] == f"{folder}/out/data/few"

    (folder / "data").mkdir()
    (folder / "out" / "data" / "few").rename(folder / "data" / "few")
    sets["few"]["options"]["seed"] = 1
    assert run(folder, [training("new", data="few")], "--data", "data", data=sets) == 1
    assert f"{folder / 'data' / 'few'} holds another data set (seed 0 instead of 1)" in capsys.readouterr().out
    assert starts(folder, "new") == 0


def test_at_the_time_limit_the_run_is_ended_packed_and_resumes(folder, capsys):
    tasks = [training("one"), training("two", overrides={"epochs": 4, "pause": 0.7}), evaluation(folder, "far", "two")]
    begin = time.monotonic()
    assert run(folder, tasks, "--hours", 2.4 / 3600) == 0
    assert time.monotonic() - begin < 30  # mostly the imports of the packing
    out = capsys.readouterr().out
    assert "time is up, left: two, far; run the same command again to resume" in out
    assert "models/two.pt  (task two is unfinished)" in out
    assert run(folder, tasks) == 0
    assert "[2/3] two: training resumes" in capsys.readouterr().out
    assert [starts(folder, name) for name in ("one", "two")] == [1, 2]
    epochs = (folder / "out" / "two" / "train" / "epochs.txt").read_text().split()
    assert sorted(set(epochs)) == ["0", "1", "2", "3"]
    assert len(epochs) <= 5


def test_weights_that_are_too_large_or_missing_are_refused_and_the_rest_is_packed(folder, capsys):
    torch.save({"weight": torch.zeros(14_000_000, dtype=torch.half)}, folder / "large.pt")
    wrong = training("wrong", yields={"models/wrong.pt": "best.pt"})
    assert run(folder, [training("one", "large.pt"), training("two"), wrong]) == 1
    error = capsys.readouterr().err
    assert "models/one.pt: 26.7 MB as float16 from task one" in error
    assert str(folder / "out" / "one" / "models" / "model.pt") in error
    assert "models/wrong.pt: task wrong left no best.pt, only model.pt" in error
    assert "models/two.pt" in packed(folder)
    assert "models/one.pt" not in packed(folder)


def test_the_last_training_that_has_begun_gives_a_file_and_finished_ones_are_installed(folder, capsys):
    yields = {"models/model.pt": "model.pt"}
    copies = {"models/vgg.pt": "micro_ct_srgan_super_resolution/models/vgg19_textures.pt"}
    tasks = [training("one", yields=yields), training("other")]
    assert run(folder, tasks, "--install", copies=copies) == 0
    assert f"installed {folder / 'bundle' / 'models' / 'other.pt'}" in capsys.readouterr().out
    models = folder / "bundle" / "models"
    assert {path.name for path in models.iterdir()} == {"model.pt", "other.pt", "vgg.pt"}
    before = (models / "model.pt").read_bytes()
    (folder / "out" / "two" / "models").mkdir(parents=True)
    (folder / "out" / "two" / "models" / "model.pt").write_bytes((folder / "half.pt").read_bytes())
    tasks.append(training("two", "half.pt", yields=yields, overrides={"pause": 60}))
    assert run(folder, tasks, "--install", "--hours", 1 / 3600) == 0
    assert "not installed: models/model.pt, task two is unfinished" in capsys.readouterr().out
    assert json.loads((folder / "out" / "packed" / "recipe.json").read_text())["weights"]["models/model.pt"] == {
        "task": "two",
        "finished": False,
    }
    assert (models / "model.pt").read_bytes() == before

    now = ["--shipped", "--check"]
    capsys.readouterr()
    assert run(folder, [tasks[1], evaluation(folder, "far", "other")], *now) == 0
    assert "far: predict" in capsys.readouterr().out
    assert run(folder, [tasks[1]], *now) == 1
    (models / "other.pt").unlink()
    assert run(folder, [tasks[1], evaluation(folder, "far", "other")], *now) == 1
    assert f"no task can be done: far: {models / 'other.pt'} is not shipped" in capsys.readouterr().err
