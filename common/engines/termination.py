"""A training that is told to end saves its state first."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType

import torch.distributed as dist
from ignite.engine import Engine

logger = logging.getLogger("recon")
STATUS = 128 + signal.SIGTERM
"""With which the process ends, as a shell reports one that the signal has killed."""


class Termination:
    """Whether SIGTERM came while this context was open; a program's own handling of it is left alone.

    So is a group of processes, which may be in different iterations, and any thread but the main one, which alone gets
    signals.
    """

    def __init__(self) -> None:
        self.asked = False
        self._listens = False

    def __enter__(self) -> Termination:
        self.asked = False
        grouped = dist.is_available() and dist.is_initialized()
        free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        self._listens = free and not grouped and threading.current_thread() is threading.main_thread()
        if self._listens:
            signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def end(self, trainer: Engine) -> None:
        """End the training if it was asked for; its state is saved."""
        if self.asked:
            logger.info(f"stopped by SIGTERM, saved after iteration {trainer.state.iteration}")
            trainer.terminate(skip_completed=True)
