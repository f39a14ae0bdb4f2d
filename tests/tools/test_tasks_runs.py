"""Lists of tasks at work: what fails is passed over, what is done stays done, what was stopped goes on."""

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
from quick_bundle import PROGRAM, table, write_list, write_quick_bundle

from tools.__main__ import commands
from tools.command import run_commands
from tools.tasks import process
from tools.tasks.records import Records, locked
from tools.tasks.task_list import read_task_list

ROOT = Path(__file__).resolve().parents[2]
STARTED = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tools.__main__ import commands
from tools.command import run_commands
from tools.tasks import process
process.PROGRAM = {PROGRAM!r}
words = ["tasks", sys.argv[1]]
sys.exit(run_commands(commands(words), "tools", words))
"""
"""A process of the command, with the quick program in the place of MONAI's."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_quick_bundle(tmp_path / "bundle")
    monkeypatch.setattr(process, "PROGRAM", PROGRAM)
    monkeypatch.setattr(process, "POLL_S", 0.05)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    words = ["tasks", *map(str, words)]
    return run_commands(commands(words), "tools", words)


def start(path):
    return subprocess.Popen(
        [sys.executable, "-c", STARTED, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@contextmanager
def handed_on(number, handling):
    """What processes that are started within do with a signal: this one's, as they inherit it."""
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
    """Killed processes hold their lock a moment longer."""
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


def test_one_of_four_fails_and_the_others_are_ranked(folder, capsys):
    third = {"name": "broken", "train": {"how": "fails"}}
    path = write_list(folder / "list.yaml", four(folder, third))
    assert run(path) == 1
    captured = capsys.readouterr()
    assert captured.err == ("error: 3 of 4 tasks done, failed: broken; the same command tries them again\n")
    lines = captured.out.splitlines()
    assert lines[0] == "[1/4] low: training, log in out/low/log.txt"
    assert lines[1] == "[1/4] low: prediction, log in out/low/log.txt"
    assert lines[2].startswith("[1/4] low: done in 0:00:0")
    assert ", psnr 28.00, ssim 0.7000, mse 0.2" in lines[2]
    failed = next(i for i, line in enumerate(lines) if "failed after" in line)
    assert lines[failed].startswith("[3/4] broken: training failed after 0:00:0")
    assert lines[failed].endswith(": data: expected images, got none; draw some")
    assert lines[failed + 1 : failed + 3] == [
        "    | epoch 1",
        "    | error: data: expected images, got none; draw some",
    ]
    assert statuses(folder) == {
        "low": {"train": "done", "predict": "done"},
        "high": {"train": "done", "predict": "done"},
        "broken": {"train": "failed"},
        "middle": {"train": "done", "predict": "done"},
    }
    with (folder / "out" / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    baselines = [row for row in rows if not row["rank"]]
    assert [(row["task"], row["ssim"], row["n"]) for row in baselines] == [
        ("low: aliased", "0.5", "3"),
        ("high: aliased", "0.5", "3"),
        ("middle: aliased", "0.5", "3"),
    ]
    ranked = [row for row in rows if row["rank"]]
    assert [row["task"] for row in ranked] == ["high", "middle", "low"]
    assert [float(row["ssim"]) for row in ranked] == pytest.approx([0.8, 0.75, 0.7])
    assert [float(row["mse"]) for row in ranked] == pytest.approx([0.2] * 3)
    assert (ranked[0]["best_case"], ranked[0]["best"]) == ("heart_0.h5, slice 0", "0.9")
    assert (ranked[0]["worst_case"], ranked[0]["worst"]) == ("heart_2.h5, slice 2", "0.7")
    page = (folder / "out" / "ranking.md").read_text()
    assert page in captured.out
    assert page.endswith("- broken: training failed: data: expected images, got none; draw some\n")


def test_a_task_has_a_folder_with_its_weights_results_and_log(folder):
    path = write_list(
        folder / "list.yaml",
        [
            {"name": "a", "overrides": {"loss": "SSIM"}},
            {"name": "b", "type": "predict", "weights": "out/a/models/model.pt"},
            {"name": "c", "type": "train"},
        ],
    )
    assert run(path) == 0
    out = folder / "out"
    assert (out / "a" / "models" / "model.pt").read_text() == "SSIM"
    assert (out / "a" / "predict" / "weights.txt").read_text() == str(out / "a" / "models")
    assert (out / "b" / "predict" / "weights.txt").read_text() == str(out / "a" / "models" / "model.pt")
    assert sorted(file.name for file in (out / "c").iterdir()) == ["log.txt", "models", "train", "train.json"]
    log = (out / "a" / "log.txt").read_text()
    assert log.count("$ ") == 2
    assert str(out / "a" / "predict.json") in log
    notes = (out / "ranking.md").read_text()
    assert notes.startswith("No task has values to be ranked by.\n")
    assert "- a: done, not ranked:" in notes
    assert "- c: done, not ranked: trained only" in notes


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("crashes", "training failed: ended with status 1: RuntimeError: a defect"),
        ("is killed", "training failed: ended by SIGKILL, perhaps for want of memory"),
    ],
)
def test_whatever_ends_a_run_the_next_begins(folder, how, error, capsys):
    assert run(write_list(folder / "list.yaml", [{"name": "a", "train": {"how": how}}, {"name": "b"}])) == 1
    assert f"- a: {error}\n" in capsys.readouterr().out
    assert statuses(folder)["b"] == {"train": "done", "predict": "done"}


def test_what_is_done_stays_done_and_what_failed_is_tried_again(folder, capsys):
    path = write_list(folder / "list.yaml", four(folder, {"name": "broken", "predict": {"how": "fails"}}))
    assert run(path) == 1
    capsys.readouterr()
    assert run(path) == 1
    out = capsys.readouterr().out
    assert "[1/4] low: done before, in 0:00:0" in out
    assert "[3/4] broken: prediction is tried again, log in out/broken/log.txt" in out
    assert [starts(folder, "low", kind) for kind in ("train", "predict")] == [1, 1]
    assert [starts(folder, "broken", kind) for kind in ("train", "predict")] == [1, 2]
    write_list(path, four(folder, {"name": "broken", "predict": {"how": ""}}))
    assert run(path) == 0
    out = capsys.readouterr().out
    assert "[3/4] broken: begins anew, its prediction was changed (how 'fails', now '');" in out
    assert [starts(folder, "broken", kind) for kind in ("train", "predict", "predict~1")] == [1, 1, 2]


def test_a_changed_task_that_was_done_is_refused_before_anything_runs(folder, capsys):
    path = folder / "list.yaml"
    assert run(write_list(path, [{"name": "a", "overrides": {"loss": "MSE"}}])) == 0
    capsys.readouterr()
    changed = [{"name": "new"}, {"name": "a", "overrides": {"loss": "SSIM", "epochs": 1}}]
    assert run(write_list(path, changed)) == 1
    assert capsys.readouterr().err == (
        "error: task a: its training was done with another definition (loss 'MSE', now 'SSIM', epochs not set, now 1); "
        f"give the changed task another name, or move {folder / 'out' / 'a'} away\n"
    )
    assert not (folder / "out" / "new").exists()
    (folder / "out" / "a").rename(folder / "elsewhere")
    assert run(path) == 0
    assert (folder / "out" / "a" / "models" / "model.pt").read_text() == "SSIM"


def test_a_changed_task_that_failed_begins_anew_beside_what_it_had(folder):
    path = folder / "list.yaml"
    assert run(write_list(path, [{"name": "a", "overrides": {"how": "fails"}}])) == 1
    assert run(write_list(path, [{"name": "a", "overrides": {"loss": "SSIM"}}])) == 0
    assert starts(folder, "a") == starts(folder, "a~1") == 1


def test_a_training_that_is_redone_is_followed_by_its_prediction(folder):
    path = write_list(folder / "list.yaml", [{"name": "a"}])
    assert run(path) == 0
    (folder / "out" / "a" / "train").rename(folder / "old")
    assert run(path) == 0
    assert starts(folder, "a", "predict") == 2


def test_killed_with_its_run_the_list_goes_on_in_the_epoch_where_it_was(folder, capsys):
    tasks = [{"name": "first"}, {"name": "long", "train": {"epochs": 4, "pause": 0.4}}, {"name": "last"}]
    path = write_list(folder / "list.yaml", tasks)
    with start(path) as parent:
        wait_for(folder / "out" / "long" / "train" / "epoch.txt", "1")
        child = int((folder / "out" / "long" / "train" / "starts.txt").read_text().split()[0])
        parent.kill()
        os.kill(child, signal.SIGKILL)
    wait_until_free(folder / "out")
    assert statuses(folder)["long"] == {"train": "running"}
    assert run(path) == 0
    assert "[2/3] long: training goes on, log in out/long/log.txt" in capsys.readouterr().out
    assert [starts(folder, name) for name in ("first", "long", "last")] == [1, 2, 1]
    epochs = [int(line) for line in (folder / "out" / "long" / "train" / "epochs.txt").read_text().split()]
    assert sorted(set(epochs)) == [0, 1, 2, 3]
    assert epochs.count(0) == 1


def test_a_run_that_outlives_its_list_keeps_others_away(folder):
    path = write_list(folder / "list.yaml", [{"name": "long", "type": "train", "train": {"epochs": 1, "pause": 60}}])
    with start(path) as parent:
        wait_for(folder / "out" / "long" / "train" / "epochs.txt", "0")
        child = int((folder / "out" / "long" / "train" / "starts.txt").read_text().split()[0])
        parent.kill()
    try:
        with (
            pytest.raises(
                ValueError,
                match=rf"another list of tasks is at work there: process {parent.pid}, and its run {child}; wait",
            ),
            locked(folder / "out"),
        ):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_too_and_the_same_command_goes_on(folder, number):
    path = write_list(folder / "list.yaml", [{"name": "long", "train": {"epochs": 2, "pause": 1.5}}, {"name": "last"}])
    # the tests themselves may have been told to ignore it, as jobs in the background are
    with handed_on(number, signal.SIG_DFL), start(path) as parent:
        wait_for(folder / "out" / "long" / "train" / "epoch.txt", "1")
        child = int((folder / "out" / "long" / "train" / "starts.txt").read_text().split()[0])
        parent.send_signal(number)
        output, _ = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert output.splitlines()[-2:] == ["stopped; the same command goes on from here", "interrupted"]
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert statuses(folder) == {"long": {"train": "interrupted"}}
    assert run(path) == 0
    assert (folder / "out" / "long" / "train" / "epochs.txt").read_text().split().count("0") == 1


def test_runs_see_the_current_folder_and_not_the_password(folder, monkeypatch):
    monkeypatch.setenv(process.SECRET, "hidden")
    assert run(write_list(folder / "list.yaml", [{"name": "a", "type": "train"}])) == 0
    assert (folder / "out" / "a" / "train" / "starts.txt").read_text().split()[1:] == [str(folder), "None"]
    assert not [path for path in (folder / "out").rglob("*") if path.is_file() and "hidden" in path.read_text()]


def test_check_only_says_what_would_be_run(folder, capsys):
    path = write_list(folder / "list.yaml", [{"name": "a", "overrides": {"loss": "SSIM"}}])
    assert run(path, "--check") == 0
    assert capsys.readouterr().out.splitlines() == [
        'a: train bundle train.json {"loss": "SSIM"}',
        "a: predict bundle inference.json, evaluate.json {}",
        f"into {folder / 'out'}",
    ]
    assert not (folder / "out").exists()


def test_records_of_something_else_are_refused(folder, capsys):
    (folder / "out").mkdir()
    for text in ('{"a": {"train": {"state": 1}}}', '{"a": 1}', "[]", "{"):
        (folder / "out" / Records.FILE).write_text(text)
        assert run(write_list(folder / "list.yaml", [{"name": "a"}])) == 1
        assert capsys.readouterr().err.startswith(f"error: {folder / 'out' / 'tasks.json'}: expected")


def test_nohup_is_respected(folder):
    path = write_list(folder / "list.yaml", [{"name": "a", "type": "train", "train": {"epochs": 1, "pause": 60}}])
    with handed_on(signal.SIGHUP, signal.SIG_IGN), start(path) as parent:
        wait_for(folder / "out" / "a" / "train" / "epochs.txt", "0")
        parent.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(0.5)
        parent.terminate()
        parent.communicate(timeout=60)
    assert parent.returncode == 130


def test_a_list_to_whose_output_nobody_listens_goes_on(folder):
    tasks = [{"name": name, "type": "train", "train": {"pause": pause}} for name, pause in (("a", 0.2), ("b", 60))]
    with start(write_list(folder / "list.yaml", tasks)) as parent:
        assert parent.stdout.readline() == "[1/2] a: training, log in out/a/log.txt\n"
        parent.stdout.close()
        wait_for(folder / "out" / "b" / "train" / "epochs.txt", "0")
        parent.terminate()
    assert statuses(folder) == {"a": {"train": "done"}, "b": {"train": "interrupted"}}


def test_every_task_has_its_own_place(folder):
    job = read_task_list(write_list(folder / "list.yaml", [{"name": "a"}, {"name": "b"}]))
    places = [task.places(run)["output_dir"] for task in job.tasks for run in task.runs]
    assert len(set(places)) == 4
