"""The best weights and how they are written."""

import errno
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from common.engines import load_weights
from common.handlers import BestModel, save_weights
from common.io import DiskFullError


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.fixture
def evaluator():
    engine = Engine(lambda engine, batch: None)
    engine.state.rank = 0
    return engine


def finish(engine, epoch, best_epoch):
    """What an evaluator looks like after the validation of an epoch."""
    engine.state.epoch, engine.state.best_metric_epoch = epoch, best_epoch
    engine.fire_event(Events.COMPLETED)


def test_only_a_best_validation_is_written(evaluator, tmp_path):
    model, path = network(), tmp_path / "models" / "model.pt"
    BestModel(model, path).attach(evaluator)
    finish(evaluator, 1, best_epoch=1)
    first = model[0].weight.detach().clone()
    nn.init.zeros_(model[0].weight)
    finish(evaluator, 2, best_epoch=1)
    assert torch.equal(torch.load(path, weights_only=True)["0.weight"], first)
    finish(evaluator, 3, best_epoch=3)
    assert not torch.load(path, weights_only=True)["0.weight"].any()


def test_only_the_first_process_writes(evaluator, tmp_path):
    evaluator.state.rank = 1
    BestModel(network(), tmp_path / "model.pt").attach(evaluator)
    finish(evaluator, 1, best_epoch=1)
    assert not list(tmp_path.iterdir())


def test_half_precision_is_for_floating_point_alone(tmp_path):
    model = network()
    model(torch.rand(4, 3))
    save_weights(model, tmp_path / "half.pt", half=True)
    state = torch.load(tmp_path / "half.pt", weights_only=True)
    assert {name: value.dtype for name, value in state.items()} == {
        name: torch.float16 if value.is_floating_point() else torch.int64 for name, value in model.state_dict().items()
    }
    loaded = load_weights(network(), tmp_path / "half.pt")
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=1e-3, atol=1e-6)
    assert model[0].weight.dtype == torch.float32


def test_full_precision_is_exact_and_contiguous(tmp_path):
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    save_weights(model, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert state["weight"].is_contiguous()
    assert torch.equal(state["weight"], model.weight)


def test_a_failed_write_leaves_the_model_of_before(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save_weights(network(), path)
    before = path.read_bytes()

    write = Path.write_bytes

    def fail(path, content):
        write(path, bytes(content)[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(DiskFullError, match=r"model\.pt: the disk is full"):
        save_weights(network(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
