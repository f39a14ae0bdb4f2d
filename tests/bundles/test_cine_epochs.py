"""Handlers that act at the end of epochs: early stopping, weights of each epoch."""

import csv
import logging
import math

import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler
from scripts.early_stopping import EarlyStopping
from scripts.epoch_weights import EpochWeights
from toy_gan import toy_generator, toy_trainer, toy_validator

from common.engines import Phase, TrainingCheckpoint
from common.handlers import TrainingLog

PIXEL = [Phase("pixel", 1, adversarial=False)]
RISING_THEN_FLAT = [0.5, 0.6, 0.605, 0.609, 0.9, 0.95, 0.955, 0.957, 0.97]


# -- early stopping ------------------------------------------------------------------------------------------------


def train(directory, values, epochs=9, interval=1, validate_first=True, stop_at=None, **options):
    """A small training whose validations yield given values; returns the trainer and its completed epochs."""
    network = toy_generator()
    validator = toy_validator(network, directory / "model.pt", values)
    stopping = EarlyStopping(validator, **{"metric": "closeness", **options})
    validation = ValidationHandler(interval, validator)
    trainer = toy_trainer(
        network,
        max_epochs=epochs,
        gan=False,
        phases=PIXEL,
        checkpoint=TrainingCheckpoint(directory / "checkpoints", validator=validator),
        train_handlers=[
            *([validation, stopping] if validate_first else [stopping, validation]),
            TrainingLog(directory / "log", validator),
        ],
    )
    done = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: done.append(engine.state.epoch))
    if stop_at is not None:

        def kill(engine):
            if engine.state.iteration == stop_at:
                raise KeyboardInterrupt

        trainer.add_event_handler(Events.ITERATION_STARTED, kill)
    trainer.completed = []
    trainer.add_event_handler(Events.COMPLETED, lambda engine: trainer.completed.append(engine.state.epoch))
    if stop_at is None:
        trainer.run()
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
    return trainer, done


def history(directory):
    with (directory / "log" / "history.csv").open(newline="") as file:
        return [(int(row["epoch"]), row["closeness"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("validate_first", [True, False])
def test_training_ends_when_the_metric_has_not_gained_enough(tmp_path, caplog, validate_first):
    with caplog.at_level(logging.INFO, logger="recon"):
        trainer, done = train(tmp_path, RISING_THEN_FLAT, validate_first=validate_first)
    assert done == [1, 2, 3, 4]
    assert trainer.completed == [4]  # ends as any other training does
    assert history(tmp_path) == [(epoch, str(RISING_THEN_FLAT[epoch - 1])) for epoch in done]
    assert (tmp_path / "checkpoints" / "checkpoint_000000020.pt").is_file()
    assert (
        "training stops after epoch 4: no closeness better than 0.6 by more than 0.01 in 2 validations" in caplog.text
    )
    assert caplog.text.count("training stops") == 1


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({"patience": 1}, 3),
        ({"patience": 3}, 9),
        ({"patience": 2, "min_delta": 0}, 9),
        ({"patience": 2, "min_delta": 0.2}, 3),
        ({"patience": 0}, 9),
        ({"patience": None}, 9),
    ],
)
def test_patience_and_gain_decide_the_last_epoch(tmp_path, options, last):
    assert train(tmp_path, RISING_THEN_FLAT, **options)[1][-1] == last


def test_patience_counts_validations_rather_than_epochs(tmp_path):
    assert train(tmp_path, RISING_THEN_FLAT, interval=2, patience=1)[1][-1] == 6


def test_nan_is_no_gain_and_does_not_hide_later_ones(tmp_path):
    values = [math.nan, 0.5, math.nan, 0.6, math.nan, math.nan, 0.9]
    assert train(tmp_path, values, epochs=7)[1][-1] == 6


def test_a_stopped_training_is_not_trained_further_when_run_again(tmp_path, caplog):
    first, _ = train(tmp_path, RISING_THEN_FLAT)
    for _ in range(2):
        with caplog.at_level(logging.INFO, logger="recon"):
            again, done = train(tmp_path, [])
        assert done == []
        assert again.state.epoch == 4
        assert "training was stopped after epoch 4: no closeness better than 0.6" in caplog.text
    assert [epoch for epoch, _ in history(tmp_path)] == [1, 2, 3, 4]
    for name, value in first.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value)
    assert train(tmp_path, RISING_THEN_FLAT[4:], patience=3)[1] == [5, 6, 7, 8, 9]  # counts on from 2


def test_a_stopped_training_goes_on_without_patience(tmp_path):
    train(tmp_path, RISING_THEN_FLAT)
    assert train(tmp_path, RISING_THEN_FLAT[4:], patience=0)[1] == [5, 6, 7, 8, 9]


def test_a_killed_training_stops_where_an_uninterrupted_one_does(tmp_path):
    _, before = train(tmp_path, RISING_THEN_FLAT, stop_at=17)  # within epoch 4
    _, after = train(tmp_path, RISING_THEN_FLAT[3:])
    assert (before, after) == ([1, 2, 3], [4])


def test_run_again_in_one_process_it_counts_anew(tmp_path):
    trainer, done = train(tmp_path, RISING_THEN_FLAT)
    trainer.run()  # as a federated client does at each round
    assert done == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_training_without_early_stopping_goes_on_with_it(tmp_path):
    train(tmp_path, [0.5, 0.6], epochs=2, patience=0)
    assert train(tmp_path, [0.7, 0.8, 0.8, 0.8], epochs=9)[1] == [3, 4, 5, 6]


def test_unusable_options_of_early_stopping_are_refused(tmp_path):
    for options in ({"patience": -1}, {"min_delta": -0.1}, {"min_delta": math.nan}):
        with pytest.raises(ValueError, match="expected patience and min_delta of 0 or more"):
            EarlyStopping(Engine(lambda engine, batch: None), **options)
    with pytest.raises(ValueError, match=r"expected a metric of the validation \(closeness\), got 'ssim'; add it"):
        train(tmp_path, [0.5], metric="ssim")


# -- weights of each epoch -----------------------------------------------------------------------------------------


@pytest.fixture
def evaluator():
    engine = Engine(lambda engine, batch: None)
    engine.state.rank = 0
    return engine


def validate(engine, epoch, **metrics):
    """What an evaluator looks like after the validation of an epoch."""
    engine.state.epoch, engine.state.metrics = epoch, metrics
    engine.fire_event(Events.COMPLETED)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_each_validation_leaves_its_weights_with_epoch_and_metric(tmp_path):
    network = toy_generator()
    validator = toy_validator(network, tmp_path / "model.pt", [0.89312, 0.9, 0.5])
    EpochWeights(network, tmp_path / "epochs", metric="closeness").attach(validator)
    trainer = toy_trainer(
        network, max_epochs=3, gan=False, phases=PIXEL, train_handlers=[ValidationHandler(1, validator)]
    )
    trainer.run()
    files = ["epoch_001_closeness_0.8931.pt", "epoch_002_closeness_0.9000.pt", "epoch_003_closeness_0.5000.pt"]
    assert names(tmp_path / "epochs") == files
    first, last = (torch.load(tmp_path / "epochs" / files[i], weights_only=True) for i in (0, 2))
    assert all(torch.equal(last[name], value) for name, value in network.state_dict().items())
    assert not torch.equal(first["body.0.weight"], last["body.0.weight"])


def test_an_epoch_that_is_trained_again_replaces_its_file(evaluator, tmp_path):
    EpochWeights(toy_generator(), tmp_path, half=True).attach(evaluator)
    for epoch, ssim in ((1, 0.5), (2, math.nan), (2, 0.69)):
        validate(evaluator, epoch, ssim=ssim)
    assert names(tmp_path) == ["epoch_001_ssim_0.5000.pt", "epoch_002_ssim_0.6900.pt"]
    state = torch.load(tmp_path / "epoch_002_ssim_0.6900.pt", weights_only=True)
    assert {value.dtype for value in state.values()} == {torch.float16}


def test_only_the_first_process_writes_weights(evaluator, tmp_path):
    evaluator.state.rank = 1
    EpochWeights(toy_generator(), tmp_path / "epochs").attach(evaluator)
    validate(evaluator, 1, ssim=0.5)
    assert not list(tmp_path.iterdir())


def test_unusable_options_of_epoch_weights_are_refused(evaluator, tmp_path):
    EpochWeights(toy_generator(), tmp_path, "psnr").attach(evaluator)
    with pytest.raises(ValueError, match=r"expected a metric of the validation \(ssim\), got 'psnr'"):
        validate(evaluator, 1, ssim=0.5)
