"""Runs of a bundle, each in a process of its own, so that whatever ends one does not end its caller."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, TextIO

from tools.run.records import note
from tools.zoo.layout import ROOT

PROGRAM = (sys.executable, "-m", "monai.bundle", "run")
LOG = "log.txt"
POLL_S = 1.0
PATIENCE_S = 60.0
"""Time for a run to end after SIGTERM: a training finishes its iteration, or its validation, and saves its state."""
SECRET = "RECON_SMTP_PASSWORD"
"""Variable of the environment that runs do not inherit."""


class End(NamedTuple):
    """End of a run."""

    seconds: float
    error: str
    tail: list[str]


def run_bundle(
    bundle: Path,
    configs: Sequence[Path],
    overrides: Mapping[str, Any],
    folder: Path,
    name: str,
    on_line: Callable[[str], None] = lambda line: None,
    lock: TextIO | None = None,
) -> End:
    """Call `python -m monai.bundle run` in the current folder.

    The process and those it started are ended if an exception leaves this function, such as a KeyboardInterrupt.

    Args:
        bundle: folder of the bundle, whose modules go before those of this repository.
        configs: configuration files, each over the one before.
        overrides: keys of the configuration and their values.
        folder: folder for the overrides as `<name>.json`, and `log.txt`, to which the output is appended.
        name: name of the run.
        on_line: function called every second with the last line of the output.
        lock: locked file that the process inherits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changes, path = folder / f"{name}.json", folder / LOG
    changes.write_text(json.dumps({**overrides, "bundle_root": str(bundle)}, indent=2) + "\n", encoding="utf-8")
    command = [*PROGRAM, "--config_file", json.dumps([*map(str, configs), str(changes)])]
    for option, file in (("--meta_file", "metadata.json"), ("--logging_file", "logging.conf")):
        if (found := bundle / "configs" / file).is_file():  # else MONAI looks beside the first configuration
            command += [option, str(found)]
    start = perf_counter()
    # straight to the file, so that the run does not depend on this process to read it
    with path.open("a", encoding="utf-8") as log:
        log.write(f"$ {shlex.join(command)}\n")
        log.flush()
        begin = log.tell()
        process = subprocess.Popen(
            command,
            env=_environment(bundle),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=() if lock is None else (lock.fileno(),),
        )
    try:
        note(lock, process.pid)
        while (status := process.poll()) is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
                continue
            on_line((_tail(path, begin) or [""])[-1])
    finally:
        _end(process)
        note(lock)
    tail = _tail(path, begin)
    return End(perf_counter() - start, _error(status, tail), tail)


def _environment(bundle: Path) -> dict[str, str]:
    """Return the environment: the bundle's modules first, none of the current folder, which may be another bundle's."""
    inherited = {name: value for name, value in os.environ.items() if name != SECRET}
    folders = os.pathsep.join([str(bundle), *filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
    own = {"PYTHONPATH": folders, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    return {"PYTHONWARNINGS": "ignore", **inherited, **own}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those it started; of an ended one those that it may have left."""
    try:
        if process.poll() is None:
            process.terminate()  # not its workers, which a training needs until it has saved its state
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_S)
    finally:
        with suppress(ProcessLookupError, PermissionError):  # the group is empty, or of processes that are no more
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(path: Path, begin: int, n_bytes: int = 8192) -> list[str]:
    """Return the last lines of a log after a position, without empty ones."""
    with path.open("rb") as log:
        log.seek(max(begin, path.stat().st_size - n_bytes))
        lines = log.read().decode("utf-8", errors="replace").splitlines()
    return [line.rstrip() for line in lines if line.strip()][-12:]


def _error(status: int, tail: list[str]) -> str:
    """Return the run's own `error:` line if there is one, else how it ended and its last line."""
    if status == 0:
        return ""
    if own := [line for line in tail if line.startswith("error: ")]:
        return own[-1].removeprefix("error: ")
    if status < 0:
        name = signal.Signals(-status).name
        return f"ended by {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}"
    return f"ended with status {status}: {tail[-1] if tail else 'no output'}"
