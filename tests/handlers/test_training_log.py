"""What a training leaves behind: a table, curves, a line an epoch."""

import csv
import logging

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from common.engines import GanTrainer, Phase, TrainingCheckpoint
from common.handlers import TrainingLog
from common.metrics import ProtocolMetric


class L1:
    def generator_terms(self, batch, outputs, discriminator):
        difference = outputs - batch["label"]
        return {"l1": difference.abs().mean(), "l2": difference.square().mean()}


@pytest.fixture
def training(tmp_path):
    """Makes a trainer of two batches an epoch that validates every second epoch, and the losses of its iterations."""
    torch.manual_seed(0)
    data = Dataset([{"image": torch.rand(2, 16, 16), "label": torch.rand(2, 16, 16)} for _ in range(4)])

    def make(epochs, decollate=False):
        torch.manual_seed(1)
        network = nn.Conv2d(2, 2, 1)
        validator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=DataLoader(data, batch_size=2),
            network=network,
            key_val_metric={"psnr": ProtocolMetric()},
        )
        trainer = GanTrainer(
            device="cpu",
            max_epochs=epochs,
            train_data_loader=DataLoader(data, batch_size=2),
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            objective=L1(),
            weights={"l1": 1.0, "l2": 2.0},
            phases=[Phase("warm", 1, learning_rate=0.05), Phase("main", 9)],
            checkpoint=TrainingCheckpoint(tmp_path / "checkpoints", validator=validator),
            train_handlers=[ValidationHandler(2, validator), TrainingLog(tmp_path / "log", validator)],
            decollate=decollate,
        )
        losses = []

        def keep(engine):
            output = engine.state.output[0] if decollate else engine.state.output
            losses.append({name: float(value) for name, value in output.items() if name.startswith("loss")})

        trainer.add_event_handler(Events.ITERATION_COMPLETED, keep)
        return trainer, validator, losses

    return make


def table(tmp_path):
    with (tmp_path / "log" / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("decollate", [False, True])
def test_a_row_holds_the_means_of_its_epoch(training, tmp_path, decollate):
    trainer, validator, losses = training(2, decollate)
    trainer.run()
    rows = table(tmp_path)
    assert [(row["epoch"], row["phase"], float(row["learning_rate"])) for row in rows] == [
        ("1", "warm", 0.05),
        ("2", "main", 0.1),
    ]
    for epoch, row in enumerate(rows):
        for name in ("loss", "loss_l1", "loss_l2"):
            mean = sum(step[name] for step in losses[2 * epoch : 2 * epoch + 2]) / 2
            assert float(row[name]) == pytest.approx(mean, rel=1e-5)
    assert rows[0]["psnr"] == ""  # not validated
    assert float(rows[1]["psnr"]) == pytest.approx(validator.state.metrics["psnr"])


def test_a_line_an_epoch_with_the_time_to_go(training, caplog):
    trainer, _, _ = training(2)
    with caplog.at_level(logging.INFO, logger="recon"):
        trainer.run()
    lines = [record.message for record in caplog.records if record.message.startswith("epoch")]
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2 [warm]  loss")
    assert "psnr" not in lines[0]
    assert "psnr" in lines[1]
    assert lines[1].endswith("about 0 s to go")


def test_a_resumed_training_goes_on_with_the_table(training, tmp_path):
    training(2)[0].run()
    first = table(tmp_path)
    with (tmp_path / "log" / "history.csv").open("a", newline="") as file:
        file.write("3,main,0.1,9,9,9,\n")  # an epoch whose checkpoint was lost
    training(4)[0].run()
    rows = table(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[:2] == first
    assert float(rows[2]["loss"]) != 9


def test_curves_are_the_tables_numbers(training, tmp_path):
    training(2)[0].run()
    curves = EventAccumulator(str(tmp_path / "log")).Reload()
    rows = table(tmp_path)
    assert set(curves.Tags()["scalars"]) == {
        "train/learning_rate",
        "train/loss",
        "train/loss_l1",
        "train/loss_l2",
        "validation/psnr",
    }
    for name in ("loss", "loss_l1", "loss_l2"):
        points = [(event.step, event.value) for event in curves.Scalars(f"train/{name}")]
        assert points == [(epoch, pytest.approx(float(rows[epoch - 1][name]), rel=1e-5)) for epoch in (1, 2)]
    (event,) = curves.Scalars("validation/psnr")
    assert (event.step, event.value) == (2, pytest.approx(float(rows[1]["psnr"]), rel=1e-5))


def test_other_processes_log_nothing(training, tmp_path):
    trainer, validator, _ = training(1)
    trainer.state.rank = 1
    log = TrainingLog(tmp_path / "other", validator)
    before = len(trainer._event_handlers[Events.EPOCH_COMPLETED])
    log.attach(trainer)
    assert len(trainer._event_handlers[Events.EPOCH_COMPLETED]) == before
