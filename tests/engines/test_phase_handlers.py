"""Handlers that follow the phases of a training: dropout, and the weights that are kept."""

import pytest
import torch
from ignite.engine import Events
from scripts.dropout_schedule import DropoutSchedule
from torch import nn
from toy_gan import toy_trainer

from common.engines import Phase, PhaseSchedule
from common.handlers import PhaseWeights
from common.networks import SeparableDiscriminator

PHASES = (("pixel", 1), ("gan", 2), ("gan_large", 3))


def schedule(**epochs):
    return PhaseSchedule([Phase(name, epochs.get(name, n), adversarial=name != "pixel") for name, n in PHASES])


def trainer(handlers, phases=None, **options):
    phases = phases or schedule()
    return toy_trainer(phases=phases, max_epochs=phases.epochs, train_handlers=handlers, **options)


def rates(discriminator):
    return [layer.p for layer in discriminator.modules() if isinstance(layer, nn.Dropout)]


def test_dropout_follows_the_phases_and_is_withdrawn_linearly():
    judge = SeparableDiscriminator(width=2, dropout=(0.4, 0.2))
    training = trainer([DropoutSchedule(judge, {"gan": 0.5, "gan_large": [1.0, 0.0]})])
    seen = []
    training.add_event_handler(Events.EPOCH_COMPLETED, lambda _: seen.append(rates(judge)))
    training.run()
    expected = [[0.4, 0.2], [0.2, 0.1], [0.2, 0.1], [0.4, 0.2], [0.2, 0.1], [0.0, 0.0]]
    for got, wanted in zip(seen, expected, strict=True):
        assert got == pytest.approx(wanted)


def test_a_resumed_training_has_the_dropout_of_its_epoch():
    judge = SeparableDiscriminator(width=2, dropout=(0.4, 0.2))
    training = trainer([DropoutSchedule(judge, {"gan_large": [1.0, 0.0]})])
    training.state.epoch = 5  # as after restoring a checkpoint
    training.state.iteration = 5 * len(training.data_loader)
    training.run()
    assert rates(judge) == pytest.approx([0.0, 0.0])


def test_factors_of_phases_without_epochs_are_accepted():
    judge = SeparableDiscriminator(width=2, dropout=(0.4, 0.2))
    trainer([DropoutSchedule(judge, {"gan": 0.5, "gan_large": [1.0, 0.0]})], schedule(gan=0, gan_large=0)).run()
    assert rates(judge) == pytest.approx([0.4, 0.2])


def test_factors_that_do_not_fit_are_refused():
    judge = SeparableDiscriminator(width=2)
    for wrong in (1.5, -0.1, [1.0], [0.5, 2.0]):
        with pytest.raises(
            ValueError, match=r"dropout of phase 'gan': expected a factor in \[0, 1\], or \[first, last\]"
        ):
            DropoutSchedule(judge, {"gan": wrong})
    with pytest.raises(ValueError, match=r"expected names of phases \(pixel, gan, gan_large\), got 'final'"):
        trainer([DropoutSchedule(judge, {"final": 0.0})]).run()


def test_weights_of_now_and_of_each_phase_are_kept(tmp_path):
    network = nn.Conv2d(1, 1, 3, padding=1)
    training = trainer([PhaseWeights(network, tmp_path / "model.pt")], network=network)
    seen = {}
    training.add_event_handler(Events.EPOCH_COMPLETED, lambda t: seen.update({t.state.epoch: network.weight.clone()}))
    training.run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.pt",
        "model_gan.pt",
        "model_gan_large.pt",
        "model_pixel.pt",
    ]
    for name, epoch in (("model_pixel", 1), ("model_gan", 3), ("model_gan_large", 6), ("model", 6)):
        assert torch.equal(torch.load(tmp_path / f"{name}.pt", weights_only=True)["weight"], seen[epoch])
    assert len({tuple(weight.flatten().tolist()) for weight in seen.values()}) == 6


def test_half_precision_halves_the_file(tmp_path):
    for half in (False, True):
        network = nn.Conv2d(1, 1, 3, padding=1)
        trainer([PhaseWeights(network, tmp_path / "model.pt", half=half)], network=network).run()
        assert torch.load(tmp_path / "model.pt", weights_only=True)["weight"].dtype == (
            torch.float16 if half else torch.float32
        )
