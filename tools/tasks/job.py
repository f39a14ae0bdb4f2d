"""Runs a list of tasks: each where it was left, one after another, whatever becomes of the one before."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from tqdm import tqdm

from tools.tasks.mail import Mailer
from tools.tasks.process import LOG
from tools.tasks.records import Lock, Records, locked
from tools.tasks.running import WORDS, Runner, check_unchanged, duration, interruptible, is_done, say
from tools.tasks.task_list import METRICS_FILE, PREDICT, Run, Task, TaskList

if TYPE_CHECKING:
    from tools.tasks.ranking import Ranking


def run_list(job: TaskList, mailer: Mailer) -> None:
    """Run what is not done, rank what is.

    Raises:
        ValueError: tasks failed; or, before anything runs, another process works in the folder, or a task was done with
            another definition.
        KeyboardInterrupt: SIGINT, SIGTERM or SIGHUP came; the run has been ended, and goes on when asked again.
    """
    with locked(job.output_dir) as lock, interruptible():
        records = Records(job.output_dir)
        for task in job.tasks:
            check_unchanged(task, records)
        _Job(job, mailer, records, lock).run()


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
        self.runner = Runner(records, lock, self._tell)
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
            say("stopped; the same command goes on from here")
            self._notify("interrupted", "The same command goes on where it was stopped.")
            raise
        except BaseException as error:
            self._notify("failed", f"{type(error).__name__}: {error}")
            raise
        ranking = self._ranking(self.job.tasks)
        ranking.write(self.job.output_dir)
        text = ranking.markdown()
        say(f"\n{text}\nwrote {self.job.output_dir / 'ranking.csv'} and ranking.md")
        summary = f"{n - len(self.failed)} of {n} tasks done"
        self._notify(f"ended, {summary}", text)
        if self.failed:
            raise ValueError(f"{summary}, failed: {', '.join(self.failed)}; the same command tries them again")

    def _task(self, task: Task, label: str) -> None:
        """Do what is left of a task."""
        self.runner.set_aside_changed(task, label)
        left = [run for run in task.runs if not is_done(task, run, self.runner.records)]
        if left and left[0] is task.runs[0]:
            left = list(task.runs)  # a prediction of earlier weights is none
        if not left:
            say(f"{label}: done before, in {duration(self.runner.seconds(task))}")
            return
        words = " and ".join(WORDS[run.kind] for run in left)
        self._notify_task(task, "started", f"{words}, log in {task.folder / LOG}")
        for run in left:
            if not self._run(task, run, label):
                return
        done = f"done in {duration(self.runner.seconds(task))}{self._means(task)}"
        say(f"{label}: {done}")
        self._notify_task(task, "done", f"{done}\nresults in {task.folder}")

    def _run(self, task: Task, run: Run, label: str) -> bool:
        """One run of a task; whether it ended well."""
        end = self.runner.run(task, run, label)
        if end.error:
            self.failed[task.name] = f"{WORDS[run.kind]} failed: {end.error}"
            self._notify_task(task, "failed", "\n".join([self.failed[task.name], "", *end.tail]))
        return not end.error

    def _ranking(self, tasks: Sequence[Task]) -> Ranking:
        """Of tasks that were done or have failed."""
        from tools.tasks.ranking import Ranking  # takes PyTorch's seconds, which wrong lists need not wait for

        ranking = Ranking(self.job.rank_by)
        for task in tasks:
            if task.name in self.failed:
                ranking.notes.append(f"{task.name}: {self.failed[task.name]}")
            else:
                ranking.add(task, self.runner.seconds(task))
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
