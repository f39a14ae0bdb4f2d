"""Muon for convolutions: PyTorch's own step on matrices, AdamW for the rest, one state for both."""

import copy

import pytest
import torch
from helpers import copy_state, same_state
from torch import nn

from common.engines import Muon
from common.networks.precision import set_memory_format


def network(seed=0):
    """Kernels, one too narrow to be a matrix, a transposed one, and a linear layer."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 9, 3), nn.Tanh(), nn.Conv2d(9, 12, 3), nn.Tanh(), nn.ConvTranspose2d(12, 8, 2), nn.Tanh(),
        nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(8 * 9, 10),
    )  # fmt: skip


def loss(trained, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (trained(torch.randn(4, 1, 6, 6, generator=generator)) - 1).square().mean()


def steps(trained, optimizer, n, first=0):
    for index in range(first, first + n):
        optimizer.zero_grad()
        loss(trained, index).backward()
        optimizer.step()


def test_steps_are_those_of_pytorch_on_flattened_kernels():
    ours, theirs = network(), network()
    optimizer = Muon(ours, lr=0.02, adam_lr=0.003, momentum=0.9, betas=(0.8, 0.95))
    matrices = {"0.weight", "2.weight", "4.weight", "6.weight"}
    flat = {n: nn.Parameter(p.detach().flatten(1).clone()) for n, p in theirs.named_parameters() if n in matrices}
    rest = [p for n, p in theirs.named_parameters() if n not in matrices]
    muon = torch.optim.Muon(list(flat.values()), lr=0.02, momentum=0.9, weight_decay=0.0)
    adam = torch.optim.AdamW(rest, lr=0.003, betas=(0.8, 0.95), weight_decay=0.0)
    for index in range(4):
        steps(ours, optimizer, 1, index)
        with torch.no_grad():
            for name, matrix in flat.items():
                theirs.get_parameter(name).copy_(matrix.view_as(theirs.get_parameter(name)))
        theirs.zero_grad()
        loss(theirs, index).backward()
        for name, matrix in flat.items():
            matrix.grad = theirs.get_parameter(name).grad.flatten(1)
        muon.step()
        adam.step()
    for name, parameter in ours.named_parameters():
        expected = flat[name].view_as(parameter) if name in flat else theirs.get_parameter(name)
        torch.testing.assert_close(parameter, expected, rtol=0, atol=1e-6)


def test_a_kernel_of_few_rows_and_a_linear_layer_belong_to_adam():
    narrow = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 2), nn.Linear(9, 9))
    muon, adam = Muon(narrow).param_groups
    assert [tuple(p.shape) for p in muon["params"]] == [(8, 4, 2, 2)]
    assert len(adam["params"]) == 7


def test_the_memory_format_may_change_within_a_training():
    plain, moved = network(), network()
    one, other = Muon(plain, lr=0.02), Muon(moved, lr=0.02)
    steps(plain, one, 2)
    set_memory_format(moved, channels_last=True)
    steps(moved, other, 2)
    state = copy.deepcopy(other.state_dict())
    set_memory_format(moved, channels_last=False)
    again = Muon(moved, lr=0.02)
    again.load_state_dict(state)
    steps(plain, one, 2, 2)
    steps(moved, again, 2, 2)
    for mine, theirs in zip(plain.parameters(), moved.parameters(), strict=True):
        torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-4)


def test_a_restored_state_goes_on_to_the_bit():
    whole = network()
    steps(whole, Muon(whole), 5)
    broken = network()
    first = Muon(broken)
    steps(broken, first, 2)
    second = Muon(broken)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(broken, second, 3, 2)
    assert same_state(copy_state(whole), copy_state(broken))


def test_parameters_without_gradient_stay_and_some_must_have_one():
    frozen = network()
    frozen[2].requires_grad_(False)
    before = copy_state(frozen[2])
    steps(frozen, Muon(frozen), 1)
    assert same_state(before, copy_state(frozen[2]))
    with pytest.raises(ValueError, match="gradients"):
        Muon(frozen.requires_grad_(False))


def test_a_closure_is_called_once_and_its_value_returned():
    trained = network()
    optimizer = Muon(trained)

    def closure():
        optimizer.zero_grad()
        value = loss(trained)
        value.backward()
        return value

    assert float(optimizer.step(closure).detach()) == pytest.approx(float(loss(network()).detach()))
