"""What is restored, what is refused, and which checkpoints stay."""

import errno
import logging
import os
import re
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import copy_state, same_state
from ignite.engine import Events
from monai.handlers import ValidationHandler
from torch import nn
from toy_gan import toy_data, toy_generator, toy_trainer, toy_validator

from common.engines import Phase, TrainingCheckpoint, exponential_average, load_weights
from common.engines.folder_lock import folder_lock
from common.errors import DataError
from common.handlers import save_weights
from common.io import DiskFullError

PIXEL = [Phase("pixel", 1, adversarial=False)]


class Malicious:
    """A pickle that would make a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def train(directory, epochs=1, every=3, keep=2, **options):
    """A training with checkpoints; returns the trainer and the iterations it made."""
    checkpoint = TrainingCheckpoint(directory, every_iterations=every, keep=keep)
    trainer = toy_trainer(max_epochs=epochs, checkpoint=checkpoint, **options)
    iterations = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: iterations.append(engine.state.iteration))
    trainer.run()
    return trainer, iterations


def names(directory):
    return sorted(int(path.stem.removeprefix("checkpoint_")) for path in directory.glob("checkpoint_*.pt"))


# -------------------------------------------------------------------------------------------------- checkpoints


def test_checkpoints_are_saved_at_intervals_and_at_the_end_of_epochs(tmp_path):
    train(tmp_path, epochs=2, every=3, keep=10)
    assert names(tmp_path) == [3, 5, 6, 9, 10]
    train(tmp_path / "two", epochs=2, every=3, keep=2)
    assert names(tmp_path / "two") == [9, 10]
    assert not list(tmp_path.glob(".*"))  # no temporary file is left


def test_a_longer_training_goes_on_where_the_shorter_one_ended(tmp_path):
    whole, _ = train(tmp_path / "whole", epochs=3)
    train(tmp_path / "parts", epochs=2)
    rest, iterations = train(tmp_path / "parts", epochs=3)
    assert iterations == [11, 12, 13, 14, 15]
    assert same_state(copy_state(whole.network), copy_state(rest.network))
    assert same_state(copy_state(whole.discriminator), copy_state(rest.discriminator))


@pytest.mark.parametrize("stops", [[1], [2], [1, 2]], ids=["at the phase", "in the phase", "at both"])
def test_new_optimizers_of_a_phase_are_as_new_after_a_stop(tmp_path, stops):
    phases = [Phase("first", 1), Phase("second", 2, decay="step", step_epochs=1, reset_optimizers=True)]
    whole, _ = train(tmp_path / "whole", epochs=3, phases=phases)
    for epochs in (*stops, 3):
        last, _ = train(tmp_path / "parts", epochs=epochs, phases=phases)
    assert same_state(copy_state(whole.network), copy_state(last.network))
    assert same_state(copy_state(whole.discriminator), copy_state(last.discriminator))


def test_a_finished_training_is_not_repeated(tmp_path, caplog):
    first, _ = train(tmp_path)
    with caplog.at_level(logging.INFO, logger="recon"):
        second, iterations = train(tmp_path)
    assert iterations == []
    assert "training already has its 1 epochs" in caplog.text
    assert same_state(copy_state(first.network), copy_state(second.network))


def test_run_again_it_goes_on_from_the_weights_it_is_given(tmp_path):
    trainer = toy_trainer(checkpoint=TrainingCheckpoint(tmp_path), learning_rate=0.0)
    trainer.run()
    given = {name: torch.full_like(value, 0.25) for name, value in trainer.network.state_dict().items()}
    trainer.network.load_state_dict(given)  # as a federated learning client does at each round
    trainer.state.max_epochs += 1
    trainer.run()
    assert trainer.state.epoch == 2
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, given[name])


def test_a_checkpoint_never_falls_inside_an_accumulated_step(tmp_path):
    """Its gradients would be lost: 10 images make 5 batches, accumulated as 2 + 2 + 1."""
    options = {"phases": [Phase("pixel", 2, adversarial=False)], "accumulation_steps": 2}
    whole, _ = train(tmp_path / "whole", epochs=2, every=1, keep=10, **options)
    assert names(tmp_path / "whole") == [2, 4, 5, 7, 9, 10]
    (tmp_path / "whole" / "checkpoint_000000010.pt").unlink()
    (tmp_path / "whole" / "checkpoint_000000009.pt").unlink()
    resumed, iterations = train(tmp_path / "whole", epochs=2, every=1, **options)
    assert iterations == [8, 9, 10]
    assert same_state(copy_state(whole.network), copy_state(resumed.network))


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, caplog, damage):
    first, _ = train(tmp_path)
    newest = tmp_path / "checkpoint_000000005.pt"
    content = bytearray(newest.read_bytes())
    content[1000] ^= 4
    newest.write_bytes({"truncated": content[:1500], "empty": b"", "one bit": content}[damage])
    second, iterations = train(tmp_path)
    assert f"{newest}: damaged, going back to the one before" in caplog.text
    assert iterations == [4, 5]
    assert same_state(copy_state(first.network), copy_state(second.network))


def test_an_error_other_than_damage_ends_the_run_and_removes_nothing(tmp_path, monkeypatch):
    train(tmp_path)
    for error in (MemoryError("no room"), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a driver")):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "load", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
            with pytest.raises(type(error), match=str(error)):
                train(tmp_path)
        assert names(tmp_path) == [3, 5]
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "load_state_dict", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA")))
        with pytest.raises(torch.OutOfMemoryError):
            train(tmp_path)
    assert names(tmp_path) == [3, 5]


def test_a_file_of_something_else_is_refused_unread(tmp_path):
    train(tmp_path)
    newest, marker = tmp_path / "checkpoint_000000005.pt", tmp_path / "executed"
    torch.save({"iteration": Malicious(marker)}, newest)
    with pytest.raises(DataError, match=r"checkpoint_000000005\.pt: expected a file of tensors alone"):
        train(tmp_path)
    assert not marker.exists()
    save_weights(toy_generator(), newest)
    with pytest.raises(DataError, match=r"checkpoint_000000005\.pt: expected the state of a training"):
        train(tmp_path)
    assert names(tmp_path) == [3, 5]


def test_when_all_are_damaged_the_run_stops_and_names_what_to_remove(tmp_path):
    train(tmp_path, epochs=2)
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"{re.escape(str(tmp_path))}: all 2 checkpoints are damaged.*remove"):
        train(tmp_path, epochs=2)
    assert names(tmp_path) == [9, 10]


def test_an_older_checkpoint_stays_until_a_newer_one_has_been_read_back(tmp_path, monkeypatch):
    train(tmp_path)
    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: write(path, bytes(content)[:-1]))
    with pytest.raises(DataError, match=r"checkpoint_000000006\.pt: .*damaged"):
        train(tmp_path, epochs=2)
    monkeypatch.undo()
    assert names(tmp_path) == [3, 5, 6]
    _, iterations = train(tmp_path, epochs=2)
    assert iterations == [6, 7, 8, 9, 10]


def test_a_full_disk_is_one_line_and_leaves_the_checkpoints(tmp_path, monkeypatch):
    train(tmp_path)

    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(DiskFullError, match=r"checkpoint_000000006\.pt: the disk is full"):
            train(tmp_path, epochs=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_000000003.pt", "checkpoint_000000005.pt"]
    assert train(tmp_path, epochs=2)[1] == [6, 7, 8, 9, 10]


def test_temporary_files_of_killed_runs_are_removed(tmp_path):
    others = [tmp_path / f".tmp-{'a' * 32}-{name}" for name in ("checkpoint_000000003.pt", "other.pt")]
    for path in others:
        path.touch()
    train(tmp_path)
    assert [path.exists() for path in others] == [False, True]


def test_one_training_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("common.engines.checkpoint.folder_lock", partial(folder_lock, patience_s=0.3))
    with folder_lock(tmp_path), pytest.raises(DataError, match="another training is running there"):
        train(tmp_path)
    train(tmp_path)


def test_one_training_at_a_time_writes_weights_to_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("common.engines.checkpoint.folder_lock", partial(folder_lock, patience_s=0.3))
    models, checkpoints = tmp_path / "models", tmp_path / "other" / "checkpoints"
    trainer = toy_trainer(checkpoint=TrainingCheckpoint(checkpoints, weights_dir=models))
    with folder_lock(models), pytest.raises(DataError, match=r"models: another training.*ckpt_dir"):
        trainer.run()
    with folder_lock(checkpoints), pytest.raises(DataError, match="checkpoints: another training"):
        trainer.run()
    trainer.run()
    toy_trainer(checkpoint=TrainingCheckpoint(checkpoints, weights_dir=checkpoints)).run()


def test_a_killed_process_leaves_no_lock(tmp_path):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with folder_lock(tmp_path):
            os.write(writing, b"!")
            signal.pause()
    os.read(reading, 1)
    with pytest.raises(DataError, match="another training"), folder_lock(tmp_path, patience_s=0.0):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with folder_lock(tmp_path, patience_s=0.0):
        assert list(tmp_path.iterdir()) == []


def test_another_configuration_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint_000000005\.pt: does not fit this configuration; use the width"):
        train(tmp_path, network=toy_generator(width=6))
    with pytest.raises(ValueError, match=r"expected 4 iterations per epoch, got 5: the data set or the batch size"):
        train(tmp_path, data=toy_data(8))
    network = toy_generator()
    with pytest.raises(ValueError, match=r"holds no ema; choose another output_dir"):
        train(tmp_path, network=network, ema=exponential_average(network))
    with pytest.raises(ValueError, match="every_iterations must be at least 1, got 0"):
        TrainingCheckpoint(tmp_path, every_iterations=0)


def test_a_resumed_training_keeps_a_better_model_of_before(tmp_path):
    def run(epochs, values):
        network = toy_generator()
        validator = toy_validator(network, tmp_path / "model.pt", values)
        checkpoint = TrainingCheckpoint(tmp_path / "checkpoints", validator=validator)
        toy_trainer(
            network, max_epochs=epochs, checkpoint=checkpoint, train_handlers=[ValidationHandler(1, validator)]
        ).run()
        return validator.state, (tmp_path / "model.pt").read_bytes()

    state, best = run(2, [5.0, 4.0])
    assert (state.best_metric, state.best_metric_epoch) == (5.0, 1)
    state, kept = run(3, [4.5])
    assert (state.best_metric, state.best_metric_epoch) == (5.0, 1)
    assert kept == best
    state, replaced = run(4, [5.5])
    assert (state.best_metric, state.best_metric_epoch) == (5.5, 4)
    assert replaced != best


def test_random_states_come_back_without_a_seed(tmp_path):
    train(tmp_path, seed=None)
    expected = torch.rand(3)
    torch.manual_seed(99)
    again = toy_trainer(checkpoint=TrainingCheckpoint(tmp_path), seed=None)
    assert again.checkpoint.restore(again)
    assert torch.equal(torch.rand(3), expected)


# ------------------------------------------------------------------------------------------------ plain weights


def test_weights_of_half_precision_become_the_networks_own(tmp_path):
    network, path = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), tmp_path / "model.pt"
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}, path)
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert load_weights(other, path) is other
    assert other[0].weight.dtype == torch.float32
    assert torch.equal(other[0].weight, network[0].weight.half().float())


def test_a_malicious_file_of_weights_is_refused_unread(tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "model.pt"
    torch.save({"weight": Malicious(marker)}, path)
    with pytest.raises(DataError, match=r"model\.pt: expected a file of tensors alone.* it was not executed"):
        load_weights(nn.Linear(1, 1), path)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the file would have run code
    assert marker.exists()


def test_wrong_files_of_weights_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(FileNotFoundError, match=r"model\.pt: no such weights; train first"):
        load_weights(nn.Linear(1, 1), path)
    path.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(DataError, match=r"model\.pt: .*damaged"):
        load_weights(nn.Linear(1, 1), path)
    for state, message in (
        (nn.Linear(2, 1).state_dict(), "does not fit this configuration; use the width"),
        ({"network": {}}, "expected a file of weights alone, got a dict"),
        ([torch.zeros(1)], "expected a file of weights alone, got a list"),
    ):
        torch.save(state, path)
        with pytest.raises(ValueError, match=rf"model\.pt: {message}"):
            load_weights(nn.Linear(1, 1), path)


# ------------------------------------------------------------------------------------------------- asked to end


def ended(directory, moment, epochs=3, number=signal.SIGTERM, **options):
    """A training that is sent a signal at an iteration; the iterations made, and the one saved last."""
    checkpoint = TrainingCheckpoint(directory, every_iterations=100, keep=1)
    trainer = toy_trainer(max_epochs=epochs, checkpoint=checkpoint, **options)
    iterations = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: iterations.append(engine.state.iteration))
    sent = Events.ITERATION_STARTED(once=moment)
    trainer.add_event_handler(sent, lambda _: os.kill(os.getpid(), number))
    completed = []
    trainer.add_event_handler(Events.COMPLETED, completed.append)
    with pytest.raises(SystemExit) as raised:
        trainer.run()
    assert raised.value.code == 128 + number
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert completed == []
    return iterations, names(directory)


@pytest.fixture
def unhandled():
    """Both signals as a shell's foreground program has them; one in the background ignores SIGINT."""
    defaults = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, default) for number, default in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("unhandled")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_a_training_saves_the_iteration_it_is_at_and_goes_on_there(tmp_path, number):
    whole, _ = train(tmp_path / "whole", epochs=3)
    assert ended(tmp_path / "parts", 7, number=number) == ([1, 2, 3, 4, 5, 6, 7], [7])
    rest, iterations = train(tmp_path / "parts", epochs=3)
    assert iterations == list(range(8, 16))
    assert same_state(copy_state(whole.network), copy_state(rest.network))


@pytest.mark.usefixtures("unhandled")
def test_asked_to_end_in_the_last_iteration_of_an_epoch_it_validates_before_it_saves(tmp_path):
    validations = []
    options = {"train_handlers": [ValidationHandler(1, toy_validator(toy_generator(), tmp_path / "model.pt"))]}
    options["train_handlers"][0].validator.add_event_handler(Events.COMPLETED, lambda _: validations.append(1))
    assert ended(tmp_path / "parts", 5, **options) == ([1, 2, 3, 4, 5], [5])
    assert validations == [1]


@pytest.mark.usefixtures("unhandled")
def test_asked_to_end_within_an_accumulated_step_it_makes_the_step_first(tmp_path):
    assert ended(tmp_path, 1, accumulation_steps=2) == ([1, 2], [2])


@pytest.mark.usefixtures("unhandled")
def test_a_program_that_handles_the_signal_itself_is_left_to_it(tmp_path):
    seen = []
    signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    trainer = toy_trainer(checkpoint=TrainingCheckpoint(tmp_path))
    trainer.add_event_handler(Events.STARTED, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    trainer.run()
    assert (seen, trainer.state.iteration) == ([1], 5)


@pytest.mark.usefixtures("unhandled")
def test_a_second_interrupt_ends_at_once_and_leaves_the_last_checkpoint(tmp_path):
    trainer = toy_trainer(max_epochs=3, checkpoint=TrainingCheckpoint(tmp_path, every_iterations=2))
    sent = Events.ITERATION_STARTED(once=5)
    trainer.add_event_handler(sent, lambda _: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert names(tmp_path) == [2, 4]
    assert train(tmp_path, epochs=1)[1] == [5]
