"""Lists of tasks of `python -m tools run`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TRAIN, PREDICT = "train", "predict"
METRICS_FILE = "metrics.csv"
"""File that an evaluation writes into its `output_dir`."""
WEIGHTS_KEY = {TRAIN: "initial_weights", PREDICT: "checkpoint"}
"""Configuration key for the `weights` of a task, by the task's first run."""


@dataclass(frozen=True)
class DataSet:
    """Data set of a list: a measured one that must be there, a synthetic one that is made, or several of these.

    Attributes:
        name: name in the list.
        path: folder of the set; the folder of data sets for several sets.
        entry: keys of the set in the list.
        parts: the sets under `sets`.
        pores: file of measured pores of a synthetic set, from which it is made.
    """

    name: str
    path: Path
    entry: dict[str, Any]
    parts: tuple[DataSet, ...] = ()
    pores: Path | None = None

    @property
    def dataset_dir(self) -> str | list[str]:
        """Folder or folders, as configurations take them."""
        return [str(part.path) for part in self.parts] or str(self.path)

    @property
    def identity(self) -> dict[str, Any]:
        """Keys that make it another set when they are changed."""
        if self.parts:
            return {"sets": [part.identity for part in self.parts]}
        return {key: self.entry[key] for key in ("folder", "make", "options") if key in self.entry}

    @property
    def missing(self) -> str:
        """First folder that is not there or empty; an empty text for a complete or a synthetic set."""
        if self.parts:
            return next((part.missing for part in self.parts if part.missing), "")
        if self.pores is not None and not self.pores.is_file():
            return str(self.pores)
        splits = [] if "make" in self.entry else ["", *self.entry.get("splits", [])]
        folders = [self.path / split for split in splits]
        return next((str(folder) for folder in folders if not folder.is_dir() or not any(folder.iterdir())), "")

    def describe(self) -> str:
        """Return a line for the reader."""
        if self.parts:
            return f"data {self.name}: {', '.join(part.name for part in self.parts)}"
        if "make" not in self.entry:
            source = self.entry.get("source", "measured data")
            return f"data {self.name}: {self.missing and 'MISSING '}{self.path} ({source})"
        words = "".join(f" --{key} {value}" for key, value in self.entry.get("options", {}).items())
        made = "synthetic" if self.path.is_dir() else "synthetic, to be made"
        return f"data {self.name}: {self.path} ({made}: python -m tools data make {self.entry['make']}{words})"

    def make(self) -> None:
        """Make synthetic sets, or check that those in their places are the same."""
        for part in self.parts:
            part.make()
        if "make" in self.entry:
            from common.phantoms.sets import make_set  # takes PyTorch's seconds

            pores = {} if self.pores is None else {"pores": str(self.pores)}
            make_set(self.entry["make"], self.path, **{**self.entry.get("options", {}), **pores})


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

    @property
    def predicts(self) -> bool:
        """True if the task ends with a prediction."""
        return self.runs[-1].kind == PREDICT

    @property
    def predicts_with(self) -> Path | None:
        """File of the weights of the prediction; None for weights that the configuration chooses."""
        trained = next((self.folder / "models" / file for file in self.yields.values()), None)
        given = self.runs[-1].overrides.get(WEIGHTS_KEY[PREDICT])
        return Path(given) if given else trained

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
    mail: bool
    data: dict[str, DataSet]
    tasks: list[Task]
    selected: list[Task]
    left_out: dict[str, str]
    copies: dict[str, Path]
