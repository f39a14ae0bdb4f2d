"""Job of a list: each task is done from where it was left, one after another, whatever becomes of the one before."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TextIO

from tools.run.mail import Mailer
from tools.run.process import LOG, End, run_bundle
from tools.run.records import DONE, FAILED, INTERRUPTED, RUNNING, Record, Records
from tools.run.status import Status, TimeLimitError, duration, machine, short_path, write_line
from tools.run.task_list import METRICS_FILE, PREDICT, TRAIN, Run, Task, TaskList

if TYPE_CHECKING:
    from tools.run.ranking import Ranking

WORDS = {TRAIN: "training", PREDICT: "prediction"}
AGAIN = "run the same command again to resume"


def check_unchanged(job: TaskList, records: Records) -> None:
    """Refuse to replace trainings that were done with another definition."""
    for task in job.selected:
        record, run = records.get((task.name, TRAIN)), task.runs[0]
        done = record is not None and record.status == DONE and (task.folder / TRAIN).is_dir()
        if record is not None and task.trains and done and record.definition != run.definition:
            raise ValueError(
                f"task {task.name}: its training was done with another definition "
                f"({_difference(record.definition, run.definition)}); give the changed task another name, or move "
                f"{task.folder} away"
            )


class Job:
    """A list at work.

    Args:
        job: the list.
        mailer: mailer for notices.
        lock: locked file of the list's folder, which runs inherit.
        hours: time limit; may be infinite.
    """

    def __init__(self, job: TaskList, mailer: Mailer, lock: TextIO, hours: float) -> None:
        self.job = job
        self.mailer = mailer
        self.lock = lock
        self.records = Records(job.output_dir)
        check_unchanged(job, self.records)
        self.status = Status(job.path.stem, len(job.selected), hours)
        self.failed: dict[str, str] = {}

    def run(self) -> None:
        """Do what is not done, then rank what is."""
        tasks, time_is_up = self.job.selected, False
        self._notify("started", f"{len(tasks)} tasks: {', '.join(task.name for task in tasks)}")
        for name, reason in self.job.left_out.items():
            write_line(f"{name}: left out, {reason}")
        try:
            with self.status.bar:
                for number, task in enumerate(tasks, start=1):
                    self._task(task, f"[{number}/{len(tasks)}] {task.name}")
                    with suppress(OSError):
                        self.status.bar.update()
        except TimeLimitError:
            time_is_up = True
        except KeyboardInterrupt:
            write_line(f"stopped; {AGAIN}")
            self._notify("interrupted", f"Stopped; {AGAIN}.")
            raise
        except BaseException as error:
            self._notify("failed", f"{type(error).__name__}: {error}")
            raise
        self._end(time_is_up)

    def _end(self, time_is_up: bool) -> None:
        """Rank, report and fail if a task failed."""
        tasks = self.job.selected
        ranking = self._ranking(self.job.tasks)
        ranking.write(self.job.output_dir)
        text = ranking.markdown()
        write_line(f"\n{text}\nwrote {self.job.output_dir / 'ranking.csv'} and ranking.md")
        left = [task.name for task in tasks if not self.is_done(task)]
        summary = f"{len(tasks) - len(left)} of {len(tasks)} tasks done"
        if time_is_up:
            write_line(f"time is up, left: {', '.join(left)}; {AGAIN}")
        self._notify(f"{'time is up' if time_is_up else 'ended'}, {summary}", text)
        if self.failed:
            raise ValueError(f"{summary}, failed: {', '.join(self.failed)}; the same command tries them again")

    def is_done(self, task: Task, run: Run | None = None) -> bool:
        """Return whether a run, or all of a task, ended well as it is defined now, and its results are still there."""
        if run is None:
            return all(self.is_done(task, one) for one in task.runs)
        record = self.records.get((task.name, run.kind))
        done = record is not None and (record.status, record.definition) == (DONE, run.definition)
        return done and (task.folder / run.kind).is_dir()

    def seconds(self, task: Task) -> float:
        """Return the time that the runs of a task have taken."""
        return sum(record.seconds for (name, _), record in self.records.items() if name == task.name)

    def _forget(self, task: Task, kind: str) -> None:
        if self.records.pop((task.name, kind), None):
            self.records.save()

    def _task(self, task: Task, label: str) -> None:
        """Do what is left of a task."""
        self._set_aside_changed(task, label)
        if task.trains and not self.is_done(task, task.runs[0]):
            # what was predicted by earlier weights is not valid for the new ones
            for other in self.job.tasks:
                if other is task or (task.name in other.needs and not other.trains):
                    self._forget(other, PREDICT)
        left = [run for run in task.runs if not self.is_done(task, run)]
        if not left:
            write_line(f"{label}: done before, in {duration(self.seconds(task))}")
            return
        self.status.check()
        words = " and ".join(WORDS[run.kind] for run in left)
        self._notify("started", f"{words}, log in {task.folder / LOG}", task)
        for run in left:
            if not self._run(task, run, label):
                return
        measured = (task.folder / PREDICT / METRICS_FILE).is_file()
        means = self._ranking([task]).means(task.name) if measured else ""
        done = f"done in {duration(self.seconds(task))}{means}"
        write_line(f"{label}: {done}")
        self._notify("done", f"{done}\nresults in {task.folder}", task)

    def _run(self, task: Task, run: Run, label: str) -> bool:
        """Do one run of a task; return whether it ended well."""
        tail: list[str] = []
        trained = {other.name for other in self.job.tasks if self.is_done(other, other.runs[0])}
        if missing := [need for need in task.needs if need not in trained]:
            error = f"it takes weights of {missing[0]}, which is not done"
            write_line(f"{label}: {WORDS[run.kind]} left out: {error}")
        else:
            try:
                if task.data is not None:
                    if "make" in task.data.entry and not task.data.path.is_dir():
                        write_line(f"{label}: makes {short_path(task.data.path)}")
                    task.data.make()
                    self.status.check()
                _, error, tail = self._recorded(task, run, label)
            except (OSError, ValueError) as wrong:
                error = str(wrong)
                write_line(f"{label}: {WORDS[run.kind]} failed: {error}")
        if error:
            self.failed[task.name] = f"{WORDS[run.kind]} failed: {error}"
            self._notify("failed", "\n".join([self.failed[task.name], "", *tail]), task)
        return not error

    def _recorded(self, task: Task, run: Run, label: str) -> End:
        """Do a run on record.

        An exception of the status, such as the time limit, ends the run, and it is on record as interrupted.
        """
        key = (task.name, run.kind)
        before, verb, earlier = self.records.get(key), "", 0.0
        if before is not None and before.status != DONE and (task.folder / run.kind).is_dir():
            verb, earlier = " is tried again" if before.status == FAILED else " resumes", before.seconds
        record = self.records[key] = Record(RUNNING, run.definition, earlier, machine=machine())
        self.records.save()
        write_line(f"{label}: {WORDS[run.kind]}{verb}, log in {short_path(task.folder / LOG)}")
        start = perf_counter()
        (task.folder / run.kind).mkdir(parents=True, exist_ok=True)
        overrides = {**run.overrides, **task.places(run)}
        status, error = INTERRUPTED, ""
        try:
            end = run_bundle(task.bundle, run.configs, overrides, task.folder, run.kind, self.status.update, self.lock)
            status, error = FAILED if end.error else DONE, end.error
        finally:
            seconds = earlier + perf_counter() - start
            self.records[key] = replace(record, status=status, seconds=seconds, error=error)
            self.records.save()
        if error:
            write_line(f"{label}: {WORDS[run.kind]} failed after {duration(end.seconds)}: {error}")
            write_line("\n".join(f"    | {line}" for line in end.tail))
        return end

    def _set_aside_changed(self, task: Task, label: str) -> None:
        """Move away the results of runs that are now defined otherwise."""
        for run in task.runs:
            record = self.records.get((task.name, run.kind))
            if record is None or record.definition == run.definition:
                continue
            folder = task.folder if run.kind == TRAIN else task.folder / run.kind
            if folder.is_dir():
                kept = next(path for n in range(1, 10**6) if not (path := Path(f"{folder}~{n}")).exists())
                folder.rename(kept)
                write_line(
                    f"{label}: begins anew, its {WORDS[run.kind]} was changed "
                    f"({_difference(record.definition, run.definition)}); what it had is in {short_path(kept)}"
                )
            for one in task.runs if run.kind == TRAIN else (run,):
                self._forget(task, one.kind)

    def _ranking(self, tasks: Sequence[Task]) -> Ranking:
        """Rank the tasks that are done; failed ones are noted."""
        from tools.run.ranking import Ranking  # takes PyTorch's seconds, which wrong lists need not wait for

        ranking = Ranking(self.job.content.get("rank_by", "ssim"))
        for task in tasks:
            if task.name in self.failed:
                ranking.notes.append(f"{task.name}: {self.failed[task.name]}")
            elif self.is_done(task) and task.predicts:
                ranking.add(task.name, task.folder / PREDICT / METRICS_FILE, self.seconds(task))
            else:
                ranking.notes.append(f"{task.name}: {'done, trained only' if self.is_done(task) else 'not done'}")
        return ranking

    def _notify(self, what: str, text: str, task: Task | None = None) -> None:
        """Send a notice about the list or a task, if it is wanted."""
        if self.job.mail if task is None else task.mail:
            name = f"tasks {self.job.path.stem}" if task is None else f"task {task.name}"
            self.mailer.send(f"[recon] {name}: {what}", f"{text}\n\n{self.job.path} on {socket.gethostname()}\n")


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return what was changed: `loss 'MSE', now 'SSIM'`."""
    one, other = ({**definition, **definition["overrides"]} for definition in (before, now))
    keys = [key for key in dict.fromkeys([*one, *other]) if key != "overrides" and one.get(key) != other.get(key)]
    values = [[repr(part[key]) if key in part else "not set" for part in (one, other)] for key in keys]
    return ", ".join(f"{key} {first}, now {second}" for key, (first, second) in zip(keys, values, strict=True))
