"""How far a loop is: a bar on a terminal, lines elsewhere, both from where an earlier run stopped."""

from __future__ import annotations

import logging
import sys

import pytest

from common.inferers import progress
from common.inferers.progress import duration, followed


class Clock:
    """A minute passes with each item."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def work(self) -> None:
        self.now += 60


@pytest.mark.parametrize(
    ("done", "left", "lines"),
    [
        (0, 3, ["1 of 3 tiles, about 2 min to go", "2 of 3 tiles, about 60 s to go", "3 of 3 tiles"]),
        (15, 5, ["16 of 20 tiles, about 4 min to go", "18 of 20 tiles, about 2 min to go", "20 of 20 tiles"]),
        (3, 0, []),
    ],
)
def test_a_line_every_tenth_of_the_whole(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, done: int, left: int, lines: list[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    with caplog.at_level(logging.INFO, logger="recon"):
        for _ in followed(range(left), done=done, unit="tiles"):
            clock.work()
    assert [record.message for record in caplog.records if record.name == "recon"] == lines


def test_a_bar_on_a_terminal(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with caplog.at_level(logging.INFO, logger="recon"):
        assert list(followed(range(4), done=3, unit="tiles")) == [0, 1, 2, 3]
    assert not caplog.records
    assert "3/7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (86399, "24 h 0 min")],
)
def test_times_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
