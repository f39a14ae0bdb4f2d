"""Spectral projection: norms by NumPy's decomposition, weights below the bound, and as a trainer's handler."""

import copy

import numpy as np
import pytest
import torch
from helpers import copy_state, same_state
from hypothesis import given
from hypothesis import strategies as st
from scripts.spectral_projection import SpectralProjection, spectral_norm
from torch import nn
from torch.utils.data import DataLoader

from common.engines import GanTrainer, TrainingCheckpoint


def norm_by_numpy(weight):
    return float(np.linalg.norm(weight.detach().double().flatten(1).numpy(), ord=2))


def layers(scale):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.ConvTranspose2d(16, 8, 3, stride=2),
        nn.Flatten(),
        nn.Linear(40, 30),
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale)
    return network


def weights_of(network):
    return [m.weight for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]


def test_known_values():
    assert float(spectral_norm(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))) == 2
    assert float(spectral_norm(torch.full((3, 4), 0.5))) == pytest.approx(0.5 * 12**0.5)
    assert float(spectral_norm(torch.zeros(3, 4))) == 0


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_norm_is_estimated_from_below_and_better_with_every_iteration(rows, columns, seed):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    true = norm_by_numpy(matrix)
    estimates = [float(spectral_norm(matrix, n)) for n in (1, 4, 16)]
    assert all(estimate <= true * (1 + 1e-5) for estimate in estimates)
    assert estimates[0] <= estimates[1] * (1 + 1e-5) <= estimates[2] * (1 + 2e-5)
    assert estimates[0] > 0.5 * true


@pytest.mark.parametrize("shape", [(64, 64, 3, 3), (320, 1280), (1280, 320, 1, 1), (96, 1, 3, 3)])
def test_random_weights_are_left_within_a_tenth_of_the_bound(shape):
    """As the docstring says; of rank one they meet it."""
    layer = nn.Linear(1, 1, bias=False)
    layer.weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    SpectralProjection(layer)()
    assert 1 - 1e-5 <= norm_by_numpy(layer.weight) < 1.1
    first, rest = torch.rand(shape[0], 1), torch.rand(1, layer.weight[0].numel())
    layer.weight = nn.Parameter((first @ rest).reshape(shape))
    SpectralProjection(layer, bound=2.0)()
    assert norm_by_numpy(layer.weight) == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("bound", [1.0, 0.3])
def test_only_the_weights_of_layers_change_and_only_by_a_factor(bound):
    network = layers(scale=8.0)
    before = copy.deepcopy(network)
    SpectralProjection(network, bound)()
    for weight, old in zip(weights_of(network), weights_of(before), strict=True):
        assert norm_by_numpy(old) > 1.2
        assert bound * (1 - 1e-5) <= norm_by_numpy(weight) < 1.1 * bound
        torch.testing.assert_close(weight / weight.norm(), old / old.norm())
    kept = copy_state(before)
    for name, value in network.state_dict().items():
        if "bias" in name or name.startswith("1."):
            assert torch.equal(value, kept[name])
    assert network.state_dict().keys() == kept.keys()  # plain weights


def test_weights_below_the_bound_are_untouched():
    network = layers(scale=0.1)
    before = copy_state(network)
    SpectralProjection(network)()
    assert same_state(network.state_dict(), before)
    SpectralProjection(network)()
    assert same_state(network.state_dict(), before)


def test_norms_stay_bounded_through_steps_of_an_optimizer():
    """Steps that pull one singular value up: there the estimate is good."""
    network = layers(scale=1.0)
    projection = SpectralProjection(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        (-sum(weight.flatten(1).sum().square() for weight in weights_of(network))).backward()
        optimizer.step()
        projection()
    for weight in weights_of(network):
        assert norm_by_numpy(weight) == pytest.approx(1, abs=0.01)


class SquaredError:
    """An objective without a discriminator."""

    def generator_terms(self, batch, outputs, discriminator):
        return {"pixel": (outputs - batch["label"]).square().mean()}


def trained(directory=None, bound=0.5, epochs=2):
    """Weights after a few large steps; ``directory`` has the checkpoints."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 1, 3, padding=1))
    trainer = GanTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader([{"image": torch.rand(1, 6, 6), "label": torch.rand(1, 6, 6)}] * 4, batch_size=2),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=1.0),
        objective=SquaredError(),
        weights={"pixel": 1.0},
        decollate=False,
        train_handlers=[] if bound is None else [SpectralProjection(network, bound)],
        checkpoint=None if directory is None else TrainingCheckpoint(directory, every_iterations=1),
    )
    trainer.run()
    return network


def test_a_trainer_calls_it_after_every_step():
    assert max(norm_by_numpy(weight) for weight in weights_of(trained())) < 0.55
    assert min(norm_by_numpy(weight) for weight in weights_of(trained(bound=None))) > 1


def test_checkpoints_hold_projected_weights(tmp_path):
    """A resumed training repeats an uninterrupted one."""
    trained(tmp_path / "checkpoints", epochs=1)
    resumed = trained(tmp_path / "checkpoints")
    assert same_state(resumed.state_dict(), trained().state_dict())


@pytest.mark.parametrize("bound", [0, -1, float("nan")])
def test_a_bound_that_is_none_is_refused(bound):
    with pytest.raises(ValueError, match="bound must be positive, got"):
        SpectralProjection(nn.Linear(1, 1), bound)
