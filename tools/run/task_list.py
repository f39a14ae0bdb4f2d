"""Lists of tasks of `python -m tools run`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tools.run.data_sets import DataSet

TRAIN, PREDICT = "train", "predict"
METRICS_FILE = "metrics.csv"
"""File that an evaluation writes into its `output_dir`."""
WEIGHTS_KEY = {TRAIN: "initial_weights", PREDICT: "checkpoint"}
"""Configuration key for the `weights` of a task, by the task's first run."""


@dataclass(frozen=True)
class Run:
    """One process of a task.

    Attributes:
        kind: "train" or "predict".
        configs: configuration files, each over the one before.
        overrides: keys of the configuration and their values.
        definition: everything that makes a changed run another run, as JSON values; folders are not part of it.
    """

    kind: str
    configs: tuple[Path, ...]
    overrides: dict[str, Any]
    definition: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A folder of results and the runs that fill it.

    Attributes:
        name: name of the task and of its folder.
        bundle: root of the bundle.
        runs: training, prediction or both.
        folder: folder for weights, results and log.
        mail: True if notices are sent.
        data: data set of the list; None if the task names none.
        weights: configuration keys and the files given for them, as the list has them.
        needs: names of the earlier tasks whose weights are taken.
        yields: shipped file to the file that the training writes.
    """

    name: str
    bundle: Path
    runs: tuple[Run, ...]
    folder: Path
    mail: bool = False
    data: DataSet | None = None
    weights: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    yields: dict[str, str] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """True if the task begins with a training."""
        return self.runs[0].kind == TRAIN

    def places(self, run: Run) -> dict[str, str]:
        """Return the folders that a run gets on top of its overrides; a prediction alone keeps the bundle's weights."""
        places = {"bundle_root": str(self.bundle), "output_dir": str(self.folder / run.kind)}
        return {**places, "ckpt_dir": str(self.folder / "models")} if self.trains else places

    def describe(self) -> list[str]:
        """Return a line for each run."""
        ends = [f" on {self.data.name}"] if self.data else []
        ends += [f", {key} of {text}" for key, text in self.weights.items()]
        return [
            f"{self.name}: {run.kind} {self.bundle.name} {', '.join(path.name for path in run.configs)} "
            f"{json.dumps(run.definition['overrides'])}{''.join(ends)}"
            + "".join(f", gives {target}" for target in self.yields if run.kind == TRAIN)
            for run in self.runs
        ]


@dataclass(frozen=True)
class TaskList:
    """Content of a file of tasks.

    Attributes:
        path: path of the file.
        content: the file as it was read.
        output_dir: absolute folder for the folders of the tasks.
        rank_by: metric that ranks the tasks.
        mail: True if notices of start and end of the whole list are sent.
        data: data sets by name.
        tasks: all tasks in their order.
        selected: tasks to do.
        left_out: tasks that cannot be done, and why.
        copies: shipped file to a file that is copied.
    """

    path: Path
    content: dict[str, Any]
    output_dir: Path
    rank_by: str
    mail: bool
    data: dict[str, DataSet]
    tasks: tuple[Task, ...]
    selected: tuple[Task, ...]
    left_out: dict[str, str]
    copies: dict[str, Path]

    @property
    def packs(self) -> bool:
        """True if the list says which weights are shipped."""
        return any(task.yields for task in self.tasks)


class Evaluation(NamedTuple):
    """Prediction of a list.

    Attributes:
        name: name of its task.
        folder: folder of metrics.csv and run.json; empty or missing as long as the prediction was not done.
        weights: file of the network's weights; None for weights that the configuration chooses.
        data: name of the data set; empty if the task names none.
        overrides: keys of the configuration and their values.
    """

    name: str
    folder: Path
    weights: Path | None
    data: str
    overrides: dict[str, Any]


def evaluations(job: TaskList) -> Iterator[Evaluation]:
    """Yield the predictions of a list, such as a bundle's recipe, in their order."""
    for task in job.tasks:
        for run in task.runs:
            if run.kind == PREDICT:
                trained = next(iter(task.yields.values()), None)
                given = run.overrides.get(WEIGHTS_KEY[PREDICT]) or (trained and task.folder / "models" / trained)
                data = task.data.name if task.data else ""
                yield Evaluation(task.name, task.folder / PREDICT, Path(given) if given else None, data, run.overrides)
