"""How far a long job is, on stderr, so that stdout holds results only."""

from __future__ import annotations

import sys
from time import perf_counter
from types import TracebackType

from tqdm import tqdm


class Progress:
    """A bar with the time to go on a terminal; elsewhere a line at every tenth of the job.

    Args:
        label: what is being done.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._bar = tqdm(desc=label, unit="case", leave=False) if sys.stderr.isatty() else None
        self._start = perf_counter()
        self._tenths = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int, total: int) -> None:
        """Tell that `done` of `total` cases are done."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
        elif done * 10 // total > self._tenths:
            self._tenths = done * 10 // total
            spent = perf_counter() - self._start
            left = f"{spent / done * (total - done):.0f} s to go" if done < total else f"{spent:.0f} s"
            sys.stderr.write(f"{self.label}: {done} of {total} cases, {left}\n")
            sys.stderr.flush()
