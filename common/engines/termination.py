"""A training that is asked to end saves its state first."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import torch.distributed as dist
from ignite.engine import Engine

logger = logging.getLogger("recon")
_DEFAULTS: dict[signal.Signals, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


class Termination:
    """Record of a SIGTERM or SIGINT (Ctrl-C) that came while this context was open.

    A second Ctrl-C is a KeyboardInterrupt at once. A program's own handling of a signal is left alone. So is a group of
    processes, which may be in different iterations, and any thread but the main one, which alone gets signals.

    Attributes:
        asked: the signal that came, or ``None``.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._signals: list[signal.Signals] = []

    def __enter__(self) -> Termination:
        self.asked = None
        grouped = dist.is_available() and dist.is_initialized()
        if not grouped and threading.current_thread() is threading.main_thread():
            self._signals = [one for one, default in _DEFAULTS.items() if signal.getsignal(one) is default]
        for one in self._signals:
            signal.signal(one, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for one in self._signals:
            signal.signal(one, _DEFAULTS[one])
        self._signals = []

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number)
        if self.asked is signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @property
    def status(self) -> int:
        """Exit status, as a shell reports that of a process which the signal has killed."""
        return 128 + (self.asked or 0)

    def end(self, trainer: Engine) -> None:
        """End the training if it was asked for; its state is saved."""
        if self.asked is not None:
            logger.info(f"stopped by {self.asked.name}, saved after iteration {trainer.state.iteration}")
            trainer.terminate(skip_completed=True)
