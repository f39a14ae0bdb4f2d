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
        seconds: time that the run took, without the part before it was killed.
        error: why the run failed.
        machine: device and versions of packages that the run used.
    """

    status: str
    definition: dict[str, Any]
    seconds: float = 0.0
    error: str = ""
    machine: str = ""


class Records:
    """Records by task and run, on disk after every change.

    Args:
        folder: folder of the list.

    Raises:
        ValueError: the file is not what this class writes.
    """

    FILE = "tasks.json"

    def __init__(self, folder: Path) -> None:
        self.path = folder / self.FILE
        self._found: dict[str, dict[str, Record]] = {}
        if self.path.is_file():
            content = read_json(self.path)
            try:
                self._found = {
                    task: {kind: Record(**record) for kind, record in runs.items()} for task, runs in content.items()
                }
            except (TypeError, AttributeError):
                raise ValueError(
                    f"{self.path}: expected the records of a list of tasks, got others; move it away, or give another "
                    "output_dir"
                ) from None

    def get(self, task: str, kind: str) -> Record | None:
        """Return the record of a run; None if it was never started."""
        return self._found.get(task, {}).get(kind)

    def put(self, task: str, kind: str, record: Record) -> None:
        """Replace the record of a run."""
        self._found.setdefault(task, {})[kind] = record
        self._write()

    def forget(self, task: str, kind: str) -> None:
        """Remove the record of a run, if there is one."""
        if self._found.get(task, {}).pop(kind, None):
            self._write()

    def _write(self) -> None:
        content = {task: {kind: asdict(one) for kind, one in runs.items()} for task, runs in self._found.items()}
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def note(lock: TextIO, run: int | None = None) -> None:
    """Write into the file of a lock, for others, who holds it: this process, and the process of a run."""
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()}" if run is None else f"{os.getpid()}, and its run {run}")
    lock.flush()


@contextmanager
def locked(folder: Path) -> Iterator[TextIO]:
    """Be the only process that works in a folder, which is made if need be.

    Yields:
        the locked file, for runs to inherit: a run that outlives this process keeps the lock.

    Raises:
        ValueError: another process works there.
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
