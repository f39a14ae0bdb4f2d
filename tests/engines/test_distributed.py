"""Two processes train as one does on the joined batch."""

import pytest
import torch
from group_training import N_PROCESSES, member, normalise, penalised_gradient, train
from torch import nn

from common.networks import RefineGanDiscriminator


@pytest.fixture(scope="module")
def group(processes, tmp_path_factory):
    """The results of two processes of one gloo group."""
    directory = tmp_path_factory.mktemp("group")
    members = [processes.Process(target=member, args=(rank, directory)) for rank in range(N_PROCESSES)]
    for process in members:
        process.start()
    for process in members:
        process.join()
    assert [process.exitcode for process in members] == [0] * N_PROCESSES
    return [torch.load(directory / f"rank_{rank}.pt", weights_only=True) for rank in range(N_PROCESSES)]


@pytest.fixture(scope="module")
def alone():
    """The same training in this process, with the batches of both."""
    state = torch.get_rng_state()
    result = train(batch_size=2 * N_PROCESSES)
    torch.set_rng_state(state)
    return result


def test_mean_of_the_terms_is_the_term_of_the_joined_batch(group, alone):
    assert ["loss_critic" in step for step in alone["terms"]] == [False] * 2 + [True] * 4
    for expected, *shares in zip(alone["terms"], *(result["training"]["terms"] for result in group), strict=True):
        assert all(share.keys() == expected.keys() for share in shares)
        mean = {name: sum(share[name] for share in shares) / N_PROCESSES for name in expected}
        assert mean == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("part", ["network", "discriminator", "ema"])
def test_weights_and_statistics_are_those_of_the_joined_batch(group, alone, part):
    for name, expected in alone[part].items():
        for result in group:
            torch.testing.assert_close(result["training"][part][name], expected, rtol=1e-5, atol=1e-8)


def test_processes_end_with_the_same_weights(group):
    for part in ("network", "discriminator", "ema"):
        first, second = (result["training"][part] for result in group)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_penalty_has_the_gradient_of_the_joined_batch(group):
    expected = penalised_gradient(slice(None))
    assert len(expected) == len(list(RefineGanDiscriminator(width=4).parameters()))
    for result in group:
        for name, gradient in expected.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(result["penalised"][name], gradient, rtol=1e-4, atol=1e-4 * scale + 1e-6)


@pytest.mark.parametrize(
    ("case", "norm", "dtype", "tolerance"),
    [
        ("float32 images", nn.BatchNorm2d, torch.float32, 1e-5),
        ("bfloat16 images", nn.BatchNorm2d, torch.bfloat16, 1e-2),
        ("float32 volumes", nn.BatchNorm3d, torch.float32, 1e-5),
    ],
)
def test_group_batch_norm_is_batch_norm_of_the_joined_batch(group, case, norm, dtype, tolerance):
    expected = normalise(norm(3, momentum=0.3), slice(None), dtype, volumes=norm is nn.BatchNorm3d)
    joined = {}
    for name in ("output", "features"):
        joined[name] = torch.empty_like(expected[name])
        for rank, result in enumerate(group):
            joined[name][rank::N_PROCESSES] = result[case][name]
    for name in ("weight", "bias"):
        joined[name] = sum(result[case][name] for result in group)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(group[0][case][name], group[1][case][name])
        joined[name] = group[0][case][name]
    assert joined.keys() == expected.keys()
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(joined[name], value, rtol=tolerance, atol=tolerance * scale)
