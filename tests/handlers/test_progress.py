"""Progress: a bar on a terminal, lines elsewhere."""

import logging
import sys

import pytest
from ignite.engine import Engine

from common.handlers import Progress


def engine(rank=0):
    one = Engine(lambda engine, batch: None)
    one.state.rank = rank
    return one


@pytest.mark.parametrize(
    ("n_batches", "reported"), [(20, range(2, 21, 2)), (3, [1, 2, 3]), (25, [3, 5, 8, 10, 13, 15, 18, 20, 23, 25])]
)
def test_a_line_every_tenth(caplog, n_batches, reported):
    evaluator = engine()
    Progress().attach(evaluator)
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluator.run(range(n_batches))
    lines = [record.message for record in caplog.records if record.name == "recon"]
    assert lines == [f"{n} of {n_batches} batches" for n in reported]


def test_a_bar_on_a_terminal(caplog, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    evaluator = engine()
    Progress().attach(evaluator)
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluator.run(range(4))
    assert not [record for record in caplog.records if record.name == "recon"]
    assert "[3/4]" in capsys.readouterr().err


def test_other_processes_are_silent(caplog):
    evaluator = engine(rank=1)
    Progress().attach(evaluator)
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluator.run(range(10))
    assert not [record for record in caplog.records if record.name == "recon"]
