"""Starts the processes of `probe.py`, and reads how their checks end, also when a process dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from tools.zoo import probe
from tools.zoo.probe import Check

TIMEOUT_S = 600.0
"""For one group of checks."""
THREADS = 2
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP")
"""Variables of this process's environment that the processes get."""


def run_group(group: str, request: dict[str, str], python: str, timeout_s: float = TIMEOUT_S) -> Iterator[Check]:
    """Make the checks of a group of `probe.GROUPS` in a process of its own, and yield each as it ends.

    The process has an empty working directory and next to no environment. If it dies or is too slow, the check that
    ran fails with the last line of its stderr, and the group ends.

    Args:
        group: its name.
        request: what `probe.Bundle` takes.
        python: the interpreter.
        timeout_s: seconds for all checks of the group.
    """
    home, errors = Path(request["work"]) / "home", Path(request["work"]) / f"{group}.log"
    empty = home / group
    empty.mkdir(parents=True)
    command = [python, "-I", "-B", str(Path(probe.__file__).resolve()), group, json.dumps(request)]
    begun, start = f"start of {group}", perf_counter()
    with open(errors, "wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=empty,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
    with process, _deadline(process, timeout_s) as expired:
        for line in _lines(process):
            if "begin" in line:
                begun, start = line["begin"], perf_counter()
            else:
                begun = ""
                yield Check(**line)
    if process.returncode:
        ended = f"did not end in {timeout_s:.0f} s" if expired.is_set() else _death(process.returncode)
        detail = f"the process {ended}; its last line: {_last_line(errors) or 'none'}"
        yield Check(begun or f"end of {group}", "fail", detail, perf_counter() - start)


@contextmanager
def _deadline(process: subprocess.Popen[str], timeout_s: float) -> Iterator[threading.Event]:
    """Ends the process, and those it started, after a time or when the block is left early."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _kill(process)

    timer = threading.Timer(timeout_s, expire)
    timer.start()
    try:
        yield expired
        process.wait()
    finally:
        timer.cancel()
        _kill(process)


def _lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    for text in process.stdout or ():
        yield json.loads(text)


def _environment(home: Path) -> dict[str, str]:
    """No PYTHONPATH, no caches of the user, no GPU: what the checks see is the same everywhere."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    own = {"HOME": str(home), "USERPROFILE": str(home), "CUDA_VISIBLE_DEVICES": "", "LC_ALL": "C.UTF-8"}
    return {**kept, **threads, **own}


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process and those it started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _death(status: int) -> str:
    return f"was ended by signal {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((" ".join(line.split())[:300] for line in reversed(lines) if line.strip()), "")
