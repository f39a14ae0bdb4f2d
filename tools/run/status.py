"""Lines for the reader of a long job, the state of its current run, and the limit of its time."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from shutil import which
from time import monotonic

from tqdm import tqdm

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LINE_EVERY_S = 60.0
"""Interval of lines where there is no terminal with a status line."""
FRAMEWORK_LINE = re.compile(r"\d{4}-|$")
"""Beginning of lines that are left out: MONAI's log records, which begin with a date, and empty lines."""
PACKAGES = ("monai", "torch", "pytorch-ignite", "numpy")


class TimeLimitError(Exception):
    """The time limit of `--hours` is reached."""


class Status:
    """Status line of a job, which ends the current run when the time is up."""

    def __init__(self, title: str, n_tasks: int, hours: float) -> None:
        self._end = monotonic() + 3600 * hours
        self._last_line = monotonic()
        self.bar = tqdm(total=n_tasks, desc=title, unit="task", leave=False, disable=None)

    @property
    def seconds_left(self) -> float:
        """Time until the limit; infinite without one."""
        return self._end - monotonic()

    def check(self) -> None:
        """Raise `TimeLimitError` if the time is up."""
        if self.seconds_left <= 0:
            raise TimeLimitError

    def update(self, line: str) -> None:
        """Show the last line of a run's output, and check the time."""
        with suppress(OSError):  # the terminal is gone
            self.bar.set_postfix_str(line[-80:])
        if self.bar.disable and not FRAMEWORK_LINE.match(line) and monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = monotonic()
            write_line(f"    | {line}")
        self.check()


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the signals that end a process into a KeyboardInterrupt; ignored ones, as by nohup, stay ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_line(text: str) -> None:
    """Print a line, above the status line of a terminal."""
    with suppress(OSError):  # nobody listens any more, which is no reason to stop
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def short_path(path: Path) -> Path:
    """Return a path relative to the current folder, if it lies in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def duration(seconds: float) -> str:
    """Format seconds as 1:02:03."""
    return str(timedelta(seconds=round(seconds)))


def machine() -> str:
    """Describe the device that bundles choose, and the versions of Python and the main packages."""
    device = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    info = Path("/proc/cpuinfo")
    if info.is_file() and (found := re.search(r"model name\s*: (.+)", info.read_text(encoding="utf-8"))):
        device = f"{found[1]}, {os.cpu_count()} cores"
    if which("nvidia-smi"):  # importing PyTorch would take seconds and memory for as long as the list runs
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
        device = names[0] if names else device
    return "; ".join([device, f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])
