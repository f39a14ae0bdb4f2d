"""A recipe at work: steps one after another, each where it was left, and evaluations as soon as they can be."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter

from tqdm import tqdm

from tools.tasks.process import LOG
from tools.tasks.records import Lock, Records
from tools.tasks.running import Runner, check_unchanged, duration, is_done, say, shown
from tools.tasks.task_list import TRAIN
from tools.training.data_sets import make_data_set
from tools.training.recipe import Recipe, Step

SAY_EVERY_S = 60.0
"""Where there is no terminal with a status line."""
UNTOLD = re.compile(r"\d{4}-|$")
"""MONAI's own records, which begin with a date, and no line at all."""
DONE, UNFINISHED, NOT_BEGUN = "done", "unfinished", "not begun"


class TimeLimitError(Exception):
    """The time of this call is over, as its caller has asked for."""


@dataclass(frozen=True)
class Standing:
    """How a step stands: done, unfinished or not begun, and the seconds that it took."""

    status: str
    seconds: float


class Progress:
    """Tells what the run that is at work has said last, and ends it when the time is up.

    Args:
        title: of the status line.
        hours: of this call.
    """

    def __init__(self, title: str, hours: float) -> None:
        self._end = monotonic() + 3600 * hours
        self._said = monotonic()
        self.bar = tqdm(total=0, desc=title, bar_format="{desc} {elapsed}{postfix}", leave=False, disable=None)

    @property
    def seconds_left(self) -> float:
        """Of this call; infinite without a limit."""
        return self._end - monotonic()

    def check(self) -> None:
        """Raise if the time is up."""
        if self.seconds_left <= 0:
            raise TimeLimitError

    def tell(self, line: str) -> None:
        """Take the last line of a run's output."""
        with suppress(OSError):  # the terminal is gone
            self.bar.set_postfix_str(line[-100:])
        if self.bar.disable and not UNTOLD.match(line) and monotonic() - self._said >= SAY_EVERY_S:
            self._said = monotonic()
            say(f"    | {line}")
        self.check()


class Training:
    """The steps of a recipe in a folder.

    Args:
        recipe: what to do.
        out: the folder.
        lock: on it.
        progress: of this call.

    Attributes:
        failed: a line for each run of this call that has failed.
        seconds: that this call has taken, by run.

    Raises:
        ValueError: a step that is done was defined otherwise.
    """

    def __init__(self, recipe: Recipe, out: Path, lock: Lock, progress: Progress) -> None:
        self.recipe = recipe
        self.out = out
        self.progress = progress
        self.records = Records(out)
        self.runner = Runner(self.records, lock, progress.tell)
        self.failed: list[str] = []
        self.seconds: dict[str, float] = {}
        check_recipe_unchanged(recipe, self.records)

    def run(self) -> None:
        """Do what is left, up to a step that fails.

        Raises:
            TimeLimitError: the time of this call is over.
        """
        steps, tried = self.recipe.steps, set[str]()
        for number, step in enumerate(steps, start=1):
            if not self._do(step, f"[{number}/{len(steps)}] {step.name}"):
                return
            for evaluation in self.recipe.evaluations:
                if evaluation.name not in tried and all(map(self.is_done, self._needed(evaluation))):
                    tried.add(evaluation.name)
                    self._do(evaluation, f"[{number}/{len(steps)}] evaluation {evaluation.name}")

    def standing(self, step: Step) -> Standing:
        """How a step, or an evaluation, stands."""
        record = self.records.get(step.name, step.run.kind)
        if record is None or record.definition != step.run.definition:
            return Standing(NOT_BEGUN, 0.0)
        return Standing(DONE if is_done(step.task, step.run, self.records) else UNFINISHED, record.seconds)

    def is_done(self, step: Step) -> bool:
        """Whether a step, or an evaluation, has ended well."""
        return self.standing(step).status == DONE

    def _needed(self, evaluation: Step) -> list[Step]:
        return [step for step in self.recipe.steps if step.name in evaluation.needs]

    def _do(self, step: Step, label: str) -> bool:
        """What is left of a step or an evaluation; whether it is done."""
        self.runner.set_aside_changed(step.task, label)
        if self.is_done(step):
            if step.run.kind == TRAIN:
                say(f"{label}: done before, in {duration(self.standing(step).seconds)}")
            return True
        self.progress.check()
        if not (step.task.folder / step.run.kind).is_dir():
            self._forget_evaluations(step)
        start = perf_counter()
        try:
            self._make_data(step, label)
            error = self.runner.run(step.task, step.run, label).error
        except (OSError, ValueError) as wrong:
            error = str(wrong)
        finally:
            self.seconds[f"{step.run.kind} {step.name}"] = perf_counter() - start
        if error:
            log = shown(step.task.folder / LOG)
            self.failed.append(f"{step.name}: {error} (log in {log})")
        else:
            say(f"{label}: done in {duration(self.standing(step).seconds)}")
        return not error

    def _make_data(self, step: Step, label: str) -> None:
        if step.data.make:
            if not step.data.path.is_dir():
                say(f"{label}: makes {shown(step.data.path)}")
            make_data_set(step.data, TimeLimitError, self.progress.seconds_left)

    def _forget_evaluations(self, step: Step) -> None:
        """Those of weights that are made anew."""
        for evaluation in self.recipe.evaluations:
            if step.run.kind == TRAIN and step.name in evaluation.needs:
                self.records.forget(evaluation.name, evaluation.run.kind)


def check_recipe_unchanged(recipe: Recipe, records: Records) -> None:
    """Refuse a recipe some of whose finished steps were done otherwise; evaluations begin anew.

    Raises:
        ValueError: which step, and how it differs.
    """
    for step in recipe.steps:
        check_unchanged(step.task, records, "step")
