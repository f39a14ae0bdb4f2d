"""Runs a list of tasks: each where it was left, one after another, whatever becomes of the one before."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tools.tasks.mail import Mailer
from tools.tasks.process import LOG, run_process
from tools.tasks.records import DONE, FAILED, INTERRUPTED, RUNNING, Lock, Record, Records, locked
from tools.tasks.task_list import METRICS_FILE, PREDICT, TRAIN, Run, Task, TaskList

if TYPE_CHECKING:
    from tools.tasks.ranking import Ranking

WORDS = {TRAIN: "training", PREDICT: "prediction"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_list(job: TaskList, mailer: Mailer) -> None:
    """Run what is not done, rank what is.

    Raises:
        ValueError: tasks failed; or, before anything runs, another process works in the folder, or a task was done with
            another definition.
        KeyboardInterrupt: SIGINT, SIGTERM or SIGHUP came; the run has been ended, and goes on when asked again.
    """
    with locked(job.output_dir) as lock, _interruptible():
        records = Records(job.output_dir)
        for task in job.tasks:
            _check_unchanged(task, records)
        _Job(job, mailer, records, lock).run()


@contextmanager
def _interruptible() -> Iterator[None]:
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


def _is_done(task: Task, run: Run, records: Records) -> bool:
    """Whether a run has ended well, and its results are still there."""
    record = records.get(task.name, run.kind)
    return record is not None and record.status == DONE and (task.folder / run.kind).is_dir()


def _check_unchanged(task: Task, records: Records) -> None:
    """Refuse to mix results of two definitions, or to replace some that nobody has given up."""
    for run in task.runs:
        record = records.get(task.name, run.kind)
        if record is not None and _is_done(task, run, records) and record.definition != run.definition:
            folder = task.folder if run.kind == TRAIN else task.folder / run.kind
            raise ValueError(
                f"task {task.name}: its {WORDS[run.kind]} was done with another definition "
                f"({_difference(record.definition, run.definition)}); give the changed task another name, or move "
                f"{folder} away"
            )


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What was changed: `loss 'MSE', now 'SSIM'`."""
    one, other = ({**definition, **definition["overrides"]} for definition in (before, now))
    keys = [key for key in dict.fromkeys([*one, *other]) if key != "overrides" and one.get(key) != other.get(key)]
    return ", ".join(f"{key} {_value(one, key)}, now {_value(other, key)}" for key in keys)


def _value(mapping: dict[str, Any], key: str) -> str:
    return repr(mapping[key]) if key in mapping else "not set"


class _Job:
    """A list at work.

    Args:
        job: the list.
        mailer: for its notices.
        records: of its runs.
        lock: that runs hold too.
    """

    def __init__(self, job: TaskList, mailer: Mailer, records: Records, lock: Lock) -> None:
        self.job = job
        self.mailer = mailer
        self.records = records
        self.lock = lock
        self.failed: dict[str, str] = {}
        self.bar = tqdm(total=len(job.tasks), desc=job.path.stem, unit="task", leave=False, disable=None)

    def run(self) -> None:
        n = len(self.job.tasks)
        self._notify("started", f"{n} tasks: {', '.join(task.name for task in self.job.tasks)}")
        try:
            with self.bar:
                for number, task in enumerate(self.job.tasks, start=1):
                    self._task(task, f"[{number}/{n}] {task.name}")
                    with suppress(OSError):
                        self.bar.update()
        except KeyboardInterrupt:
            _say("stopped; the same command goes on from here")
            self._notify("interrupted", "The same command goes on where it was stopped.")
            raise
        except BaseException as error:
            self._notify("failed", f"{type(error).__name__}: {error}")
            raise
        ranking = self._ranking(self.job.tasks)
        ranking.write(self.job.output_dir)
        text = ranking.markdown()
        _say(f"\n{text}\nwrote {self.job.output_dir / 'ranking.csv'} and ranking.md")
        summary = f"{n - len(self.failed)} of {n} tasks done"
        self._notify(f"ended, {summary}", text)
        if self.failed:
            raise ValueError(f"{summary}, failed: {', '.join(self.failed)}; the same command tries them again")

    def _task(self, task: Task, label: str) -> None:
        """Do what is left of a task."""
        self._set_aside_changed(task, label)
        left = [run for run in task.runs if not _is_done(task, run, self.records)]
        if left and left[0] is task.runs[0]:
            left = list(task.runs)  # a prediction of earlier weights is none
        if not left:
            _say(f"{label}: done before, in {_time(self._seconds(task))}")
            return
        words = " and ".join(WORDS[run.kind] for run in left)
        self._notify_task(task, "started", f"{words}, log in {task.folder / LOG}")
        for run in left:
            if not self._run(task, run, label):
                return
        done = f"done in {_time(self._seconds(task))}{self._means(task)}"
        _say(f"{label}: {done}")
        self._notify_task(task, "done", f"{done}\nresults in {task.folder}")

    def _run(self, task: Task, run: Run, label: str) -> bool:
        """One run of a task; whether it ended well."""
        before = self.records.get(task.name, run.kind)
        verb, earlier = "", 0.0
        if before is not None and before.status != DONE and (task.folder / run.kind).is_dir():
            verb, earlier = " is tried again" if before.status == FAILED else " goes on", before.seconds
        record = Record(RUNNING, run.definition, earlier)
        self.records.put(task.name, run.kind, record)
        _say(f"{label}: {WORDS[run.kind]}{verb}, log in {_shown(task.folder / LOG)}")
        start = perf_counter()
        try:
            end = run_process(task, run, self.lock, self._tell)
        except BaseException:
            seconds = earlier + perf_counter() - start
            self.records.put(task.name, run.kind, replace(record, status=INTERRUPTED, seconds=seconds))
            raise
        seconds = earlier + end.seconds
        status = FAILED if end.error else DONE
        self.records.put(task.name, run.kind, replace(record, status=status, seconds=seconds, error=end.error))
        if end.error:
            self.failed[task.name] = f"{WORDS[run.kind]} failed: {end.error}"
            _say(f"{label}: {WORDS[run.kind]} failed after {_time(end.seconds)}: {end.error}")
            _say("\n".join(f"    | {line}" for line in end.tail))
            self._notify_task(task, "failed", "\n".join([self.failed[task.name], "", *end.tail]))
        return not end.error

    def _set_aside_changed(self, task: Task, label: str) -> None:
        """Move away what runs that did not end well have left, if they were defined otherwise."""
        for run in task.runs:
            record = self.records.get(task.name, run.kind)
            if record is None or record.definition == run.definition:
                continue
            folder = task.folder if run.kind == TRAIN else task.folder / run.kind
            if folder.is_dir():
                kept = next(path for n in range(1, 10**6) if not (path := Path(f"{folder}~{n}")).exists())
                folder.rename(kept)
                _say(
                    f"{label}: begins anew, its {WORDS[run.kind]} was changed "
                    f"({_difference(record.definition, run.definition)}); what it had is in {_shown(kept)}"
                )
            for one in task.runs if run.kind == TRAIN else (run,):
                self.records.forget(task.name, one.kind)

    def _seconds(self, task: Task) -> float:
        found = (self.records.get(task.name, run.kind) for run in task.runs)
        return sum(record.seconds for record in found if record is not None)

    def _ranking(self, tasks: Sequence[Task]) -> Ranking:
        """Of tasks that were done or have failed."""
        from tools.tasks.ranking import Ranking  # takes PyTorch's seconds, which wrong lists need not wait for

        ranking = Ranking(self.job.rank_by)
        for task in tasks:
            if task.name in self.failed:
                ranking.notes.append(f"{task.name}: {self.failed[task.name]}")
            else:
                ranking.add(task, self._seconds(task))
        return ranking

    def _means(self, task: Task) -> str:
        """As the end of a line; empty if nothing was measured."""
        measured = (task.folder / PREDICT / METRICS_FILE).is_file()
        return self._ranking([task]).means(task.name) if measured else ""

    def _tell(self, line: str) -> None:
        with suppress(OSError):  # the terminal is gone
            self.bar.set_postfix_str(line[-80:])

    def _notify(self, what: str, text: str) -> None:
        if self.job.mail:
            self._send(f"tasks {self.job.path.stem}: {what}", text)

    def _notify_task(self, task: Task, what: str, text: str) -> None:
        if task.mail:
            self._send(f"task {task.name}: {what}", text)

    def _send(self, subject: str, text: str) -> None:
        self.mailer.send(f"[recon] {subject}", f"{text}\n\n{self.job.path} on {socket.gethostname()}\n")


def _say(text: str) -> None:
    with suppress(OSError):  # nobody listens any more, which is no reason to stop
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def _shown(path: Path) -> Path:
    """Relative to the current folder, if it is in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
