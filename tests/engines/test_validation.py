"""Which epochs are validated, and which weights an adversarial phase leaves."""

import pytest
import torch
from ignite.engine import Events
from scripts.adversarial_model import AdversarialModel
from toy_gan import toy_generator, toy_trainer, toy_validator

from common.engines import Phase
from common.handlers import Validation


def train(tmp_path, phases, interval, values=None, handlers=()):
    """A training; returns the epochs that were validated, and the trainer."""
    network = toy_generator()
    validator = toy_validator(network, tmp_path / "model.pt", values)
    epochs = []
    trainer = toy_trainer(
        network,
        max_epochs=sum(phase.epochs for phase in phases),
        phases=phases,
        train_handlers=[Validation(validator, interval), *(make(validator, network) for make in handlers)],
    )
    validator.add_event_handler(Events.STARTED, lambda _: epochs.append(trainer.state.epoch))
    trainer.run()
    return epochs, trainer


@pytest.mark.parametrize(
    ("interval", "expected"), [(1, [1, 2, 3, 4, 5]), (2, [2, 3, 4, 5]), (4, [3, 4, 5]), (100, [3, 5])]
)
def test_the_last_epoch_of_each_phase_is_validated(tmp_path, interval, expected):
    phases = [Phase("pixel", 3, adversarial=False), Phase("gan", 2)]
    assert train(tmp_path, phases, interval)[0] == expected


@pytest.mark.parametrize(("last", "kept"), [(29.95, True), (29.85, False), (31.0, True)])
def test_the_adversarial_weights_are_kept_where_they_cost_little(tmp_path, last, kept):
    phases = [Phase("pixel", 1, adversarial=False), Phase("gan", 2)]
    path = tmp_path / "model.pt"
    keep = [lambda validator, network: AdversarialModel(validator, network, path, tolerance=0.1)]
    _, trainer = train(tmp_path, phases, 1, [30.0, 25.0, last], keep)
    saved = torch.load(path, weights_only=True)
    assert torch.equal(saved["body.0.weight"], trainer.network.body[0].weight) is kept


def test_a_pixel_phase_leaves_the_best_weights(tmp_path):
    path = tmp_path / "model.pt"
    keep = [lambda validator, network: AdversarialModel(validator, network, path, tolerance=10.0)]
    _, trainer = train(tmp_path, [Phase("pixel", 2, adversarial=False)], 1, [30.0, 29.9], keep)
    saved = torch.load(path, weights_only=True)
    assert not torch.equal(saved["body.0.weight"], trainer.network.body[0].weight)
