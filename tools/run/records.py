"""Records of the runs of a list, in `tasks.json` of its folder, by which the same command resumes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from common.io.atomic import atomic_path
from tools.zoo.layout import read_json

DONE, FAILED, RUNNING, INTERRUPTED = "done", "failed", "running", "interrupted"


@dataclass(frozen=True)
class Record:
    """State of a run.

    Attributes:
        status: "done", "failed", "running" (or killed since) or "interrupted".
        definition: definition of the run when it was started, see `task_list.Run`.
        seconds: duration of the run, without the part before it was killed.
        error: reason of a failure.
        machine: device and versions of packages that the run used.
    """

    status: str
    definition: dict[str, Any]
    seconds: float = 0.0
    error: str = ""
    machine: str = ""


class Records(dict[tuple[str, str], Record]):
    """Records by task and kind of run, read from the folder of a list, if it has any."""

    FILE = "tasks.json"

    def __init__(self, folder: Path) -> None:
        self.path = folder / self.FILE
        content = read_json(self.path) if self.path.is_file() else {}
        try:
            found = {(task, kind): Record(**one) for task, runs in content.items() for kind, one in runs.items()}
        except (TypeError, AttributeError):
            raise ValueError(
                f"{self.path}: expected the records of a list of tasks, got others; move it away, or give another "
                "output_dir"
            ) from None
        super().__init__(found)

    def save(self) -> None:
        """Write all records."""
        content: dict[str, dict[str, Any]] = {}
        for (task, kind), record in self.items():
            content.setdefault(task, {})[kind] = asdict(record)
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def note(lock: TextIO | None, run: int | None = None) -> None:
    """Write into a locked file, for others, who holds it: this process, and the process of a run."""
    if lock is not None:
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}" if run is None else f"{os.getpid()}, and its run {run}")
        lock.flush()


@contextmanager
def locked(folder: Path) -> Iterator[TextIO]:
    """Be the only process that works in a folder, which is made if need be.

    Yields:
        the locked file, for runs to inherit: a run that outlives this process keeps the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"{folder}: another list of tasks is at work there: process {file.read()}; wait for its end, or end it"
            ) from None
        note(file)
        yield file
