"""A training killed at any moment and started again ends with the bits of one that ran through."""

import random
import signal
import time

import pytest
import torch
from toy_gan import train_until_killed

from common.io.torch_file import load_torch


@pytest.fixture(scope="module")
def in_a_process(processes):
    """Runs a training in a fresh process, and returns how that process ended."""

    def run(directory, kill="", muon=False):
        directory.mkdir(exist_ok=True)
        process = processes.Process(target=train_until_killed, args=(directory, kill, muon))
        process.start()
        process.join()
        return process.exitcode

    return run


def differences(one, other, place=""):
    """Where two nested structures of tensors and plain values are not equal to the bit."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{place}.{key}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [
            found
            for i, pair in enumerate(zip(one, other, strict=True))
            for found in differences(*pair, f"{place}[{i}]")
        ]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [place]


@pytest.mark.parametrize("muon", [False, True])
def test_killed_training_ends_like_one_that_ran_through(in_a_process, tmp_path, muon):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert in_a_process(whole, muon=muon) == 0
    for moment in ("after 7", "writing 9", "within 13"):
        assert in_a_process(broken, moment, muon) == -signal.SIGKILL
    assert in_a_process(broken, muon=muon) == 0

    executed = [int(line) for line in (broken / "iterations.txt").read_text().split()]
    # resumes from the checkpoints of iterations 6, 6 and 12
    assert executed == [*range(1, 8), *range(7, 10), *range(7, 14), *range(13, 21)]
    states = [
        torch.load(folder / "checkpoints" / "checkpoint_000000020.pt", weights_only=True) for folder in (whole, broken)
    ]
    assert {"network", "discriminator", "ema", "optimizer", "discriminator_optimizer", "best"} <= states[0].keys()
    assert differences(*states) == []
    assert (whole / "model.pt").read_bytes() == (broken / "model.pt").read_bytes()
    assert (whole / "history.csv").read_bytes() == (broken / "history.csv").read_bytes()
    assert not list(broken.rglob(".tmp-*"))

    assert in_a_process(broken, muon=muon) == 0  # finished: not repeated
    assert [int(line) for line in (broken / "iterations.txt").read_text().split()] == executed


@pytest.mark.slow
def test_training_killed_at_random_moments_ends_like_one_that_ran_through(processes, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    train_until_killed(whole)
    moments, log = random.Random(16), broken / "iterations.txt"
    broken.mkdir()
    log.touch()
    for _ in range(10):
        process = processes.Process(target=train_until_killed, args=(broken,))
        last = len(log.read_text().split()) + moments.randint(0, 5)
        process.start()
        while len(log.read_text().split()) < last and process.is_alive():
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.join()
    executed = [int(line) for line in log.read_text().split()]
    assert len(set(executed)) < len(executed)  # some were lost by a kill, and done again
    train_until_killed(broken)
    states = [load_torch(folder / "checkpoints" / "checkpoint_000000020.pt") for folder in (whole, broken)]
    assert differences(*states) == []
    for name in ("model.pt", "history.csv"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()
    assert not list(broken.rglob(".tmp-*"))


def test_the_comparison_sees_one_changed_value():
    state = {"a": [torch.zeros(2), {"b": 1}], "c": torch.ones(1)}
    other = {"a": [torch.zeros(2), {"b": 2}], "c": torch.ones(1) + 1e-7}
    assert differences(state, other) == [".a[1].b", ".c"]
