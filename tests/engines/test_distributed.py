"""Two processes train as one does on the joined batch."""

import multiprocessing

import pytest
import torch
from group_training import N_PROCESSES, member, normalise, train
from torch import nn


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """The results of two processes of one gloo group."""
    directory = tmp_path_factory.mktemp("group")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy_gan", "group_training"])
    processes = [context.Process(target=member, args=(rank, directory)) for rank in range(N_PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * N_PROCESSES
    return [torch.load(directory / f"rank_{rank}.pt", weights_only=True) for rank in range(N_PROCESSES)]


@pytest.fixture(scope="module")
def alone():
    """The same training in this process, with the batches of both."""
    state = torch.get_rng_state()
    result = train(batch_size=2 * N_PROCESSES)
    torch.set_rng_state(state)
    return result


def test_mean_of_the_terms_is_the_term_of_the_joined_batch(group, alone):
    assert len(alone["terms"]) == 6
    assert [("loss_critic" in step, "loss_r1" in step) for step in alone["terms"]] == [
        *[(False, False)] * 2,
        *[(True, True), (True, False)] * 2,
    ]
    for expected, *shares in zip(alone["terms"], *(result["training"]["terms"] for result in group), strict=True):
        assert all(share.keys() == expected.keys() for share in shares)
        mean = {name: sum(share[name] for share in shares) / N_PROCESSES for name in expected}
        assert mean == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("part", ["network", "discriminator", "ema"])
def test_weights_and_statistics_are_those_of_the_joined_batch(group, alone, part):
    for name, expected in alone[part].items():
        for result in group:
            torch.testing.assert_close(result["training"][part][name], expected, rtol=1e-5, atol=1e-5, msg=name)


def test_processes_end_with_the_same_weights(group):
    for part in ("network", "discriminator", "ema"):
        first, second = (result["training"][part] for result in group)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_group_batch_norm_is_batch_norm_of_the_joined_batch(group):
    expected = normalise(nn.BatchNorm2d(3, momentum=0.3), slice(None))
    joined = {}
    for name in ("output", "features"):
        joined[name] = torch.empty_like(expected[name])
        for rank, result in enumerate(group):
            joined[name][rank::N_PROCESSES] = result["batch_norm"][name]
    for name in ("weight", "bias"):
        joined[name] = sum(result["batch_norm"][name] for result in group)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(group[0]["batch_norm"][name], group[1]["batch_norm"][name])
        joined[name] = group[0]["batch_norm"][name]
    assert joined.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(joined[name], value, rtol=1e-5, atol=1e-4, msg=name)
