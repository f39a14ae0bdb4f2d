"""Runs of tasks on record: which are done, whether one may go on as it is defined now, how each began and ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from tools.tasks.process import LOG, End, run_process
from tools.tasks.records import DONE, FAILED, INTERRUPTED, RUNNING, Lock, Record, Records
from tools.tasks.task_list import PREDICT, TRAIN, Run, Task

WORDS = {TRAIN: "training", PREDICT: "prediction"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Make the signals that end a process a KeyboardInterrupt; those that are ignored, as by nohup, stay so."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Runner:
    """Runs in processes, one after another, each on record.

    Args:
        records: of the runs.
        lock: that runs hold too.
        tell: called every second with the last line of the run's output.
    """

    def __init__(self, records: Records, lock: Lock, tell: Callable[[str], None]) -> None:
        self.records = records
        self.lock = lock
        self.tell = tell

    def run(self, task: Task, run: Run, label: str) -> End:
        """Start a run, or let it go on; how it ended.

        An exception of `tell` ends it, and it is on record as interrupted.
        """
        before = self.records.get(task.name, run.kind)
        verb, earlier = "", 0.0
        if before is not None and before.status != DONE and (task.folder / run.kind).is_dir():
            verb, earlier = " is tried again" if before.status == FAILED else " goes on", before.seconds
        record = Record(RUNNING, run.definition, earlier)
        self.records.put(task.name, run.kind, record)
        say(f"{label}: {WORDS[run.kind]}{verb}, log in {shown(task.folder / LOG)}")
        start = perf_counter()
        try:
            end = run_process(task, run, self.lock, self.tell)
        except BaseException:
            seconds = earlier + perf_counter() - start
            self.records.put(task.name, run.kind, replace(record, status=INTERRUPTED, seconds=seconds))
            raise
        status, seconds = FAILED if end.error else DONE, earlier + end.seconds
        self.records.put(task.name, run.kind, replace(record, status=status, seconds=seconds, error=end.error))
        if end.error:
            say(f"{label}: {WORDS[run.kind]} failed after {duration(end.seconds)}: {end.error}")
            say("\n".join(f"    | {line}" for line in end.tail))
        return end

    def seconds(self, task: Task) -> float:
        """That its runs have taken."""
        found = (self.records.get(task.name, run.kind) for run in task.runs)
        return sum(record.seconds for record in found if record is not None)

    def set_aside_changed(self, task: Task, label: str) -> None:
        """Move away what runs have left that are now defined otherwise."""
        for run in task.runs:
            record = self.records.get(task.name, run.kind)
            if record is None or record.definition == run.definition:
                continue
            folder = task.folder if run.kind == TRAIN else task.folder / run.kind
            if folder.is_dir():
                kept = next(path for n in range(1, 10**6) if not (path := Path(f"{folder}~{n}")).exists())
                folder.rename(kept)
                say(
                    f"{label}: begins anew, its {WORDS[run.kind]} was changed "
                    f"({_difference(record.definition, run.definition)}); what it had is in {shown(kept)}"
                )
            for one in task.runs if run.kind == TRAIN else (run,):
                self.records.forget(task.name, one.kind)


def is_done(task: Task, run: Run, records: Records) -> bool:
    """Whether a run has ended well, and its results are still there."""
    record = records.get(task.name, run.kind)
    return record is not None and record.status == DONE and (task.folder / run.kind).is_dir()


def check_unchanged(task: Task, records: Records, what: str = "task") -> None:
    """Refuse to mix results of two definitions, or to replace some that nobody has given up.

    Raises:
        ValueError: a run is done, with another definition.
    """
    for run in task.runs:
        record = records.get(task.name, run.kind)
        if record is not None and is_done(task, run, records) and record.definition != run.definition:
            folder = task.folder if run.kind == TRAIN else task.folder / run.kind
            raise ValueError(
                f"{what} {task.name}: its {WORDS[run.kind]} was done with another definition "
                f"({_difference(record.definition, run.definition)}); give the changed {what} another name, or move "
                f"{folder} away"
            )


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What was changed: `loss 'MSE', now 'SSIM'`."""
    one, other = ({**definition, **definition["overrides"]} for definition in (before, now))
    keys = [key for key in dict.fromkeys([*one, *other]) if key != "overrides" and one.get(key) != other.get(key)]
    return ", ".join(f"{key} {_value(one, key)}, now {_value(other, key)}" for key in keys)


def _value(mapping: dict[str, Any], key: str) -> str:
    return repr(mapping[key]) if key in mapping else "not set"


def say(text: str) -> None:
    """Print a line, above the status line of a terminal."""
    with suppress(OSError):  # nobody listens any more, which is no reason to stop
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def shown(path: Path) -> Path:
    """Relative to the current folder, if it is in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def duration(seconds: float) -> str:
    """As 1:02:03."""
    return str(timedelta(seconds=round(seconds)))
