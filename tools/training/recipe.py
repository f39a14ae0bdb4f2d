"""What a recipe says: read whole and checked before anything runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tools.tasks.configurations import check_known, check_nested, find_config, known_keys, top_key
from tools.tasks.task_list import PREDICT, TRAIN, Run, Task
from tools.training.data_sets import DataSet, read_data_set
from tools.zoo.layout import BUNDLES, find_bundle, read_json

KEYS = ("data", "steps", "evaluate", "copies")
STEP_KEYS = ("name", "config", "data", "overrides", "weights", "yields")
EVALUATION_KEYS = ("name", "config", "data", "overrides", "weights")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SHIPPED = re.compile(r"models/[A-Za-z0-9._-]+\.pt")


@dataclass(frozen=True)
class Step:
    """A training, or an evaluation of what trainings have made.

    Attributes:
        task: what runs.
        data: that it runs on.
        weights: key of the configuration to what it takes: `STEP/FILE`, or a file that is shipped.
        needs: names of the steps whose weights it takes.
        yields: of a training: shipped file to file among its weights.
    """

    task: Task
    data: DataSet
    weights: dict[str, str]
    needs: tuple[str, ...]
    yields: dict[str, str]

    @property
    def name(self) -> str:
        """Of the step, and of its task."""
        return self.task.name

    @property
    def run(self) -> Run:
        """The one run of the task."""
        return self.task.runs[0]

    def describe(self) -> str:
        """A line for the reader."""
        word = "step" if self.run.kind == TRAIN else "evaluation"
        changes = self.run.definition["overrides"]
        text = f"{word} {self.name}: {', '.join(path.name for path in self.run.configs)} on {self.data.name}"
        text += f", {json.dumps(changes)}" if changes else ""
        text += "".join(f", {key} of {value}" for key, value in self.weights.items())
        return text + "".join(f", gives {target}" for target in self.yields)


@dataclass(frozen=True)
class Recipe:
    """A file of steps.

    Attributes:
        path: of the file.
        bundle: root of the bundle.
        content: as it was read.
        data: sets by name.
        steps: in their order.
        evaluations: of what the steps make.
        left_out: evaluations on data that are missing, and may be.
        copies: shipped file to a file that is copied.
    """

    path: Path
    bundle: Path
    content: dict[str, Any]
    data: dict[str, DataSet]
    steps: tuple[Step, ...]
    evaluations: tuple[Step, ...]
    left_out: tuple[Step, ...]
    copies: dict[str, Path]


def read_recipe(path: Path, bundle_name: str, out: Path, data: Path | None) -> Recipe:
    """Read a recipe.

    Args:
        path: the JSON file.
        bundle_name: of the bundle that it trains.
        out: folder of the training.
        data: folder of data sets by name, if given.

    Raises:
        ValueError: for anything in it that cannot be run, with the file, the step and a way out.
    """
    bundle, content = find_bundle(bundle_name), read_json(path)
    _check_keys(content, KEYS, str(path))
    sets = {
        name: read_data_set(name, entry, data, out, f"{path}: data {name}")
        for name, entry in _mapping(content, "data", str(path)).items()
    }
    reader = _Reader(path, bundle, out, sets)
    steps = [reader.step(entry, TRAIN) for entry in _entries(content, "steps", path)]
    if not steps:
        raise ValueError(f'{path}: steps: expected at least one, got none; add {{"name": ..., "config": ...}}')
    evaluations = [reader.step(entry, PREDICT) for entry in _entries(content, "evaluate", path)]
    left_out = [one for one in evaluations if one.data.missing and one.data.optional]
    for step in [*steps, *(one for one in evaluations if one not in left_out)]:
        if step.data.missing:
            raise ValueError(
                f"{path}: {step.name}: data {step.data.name}: nothing in {step.data.missing}; put there: "
                f"{step.data.source}; or give another --data"
            )
    copies = {
        _shipped(target, f"{path}: copies"): _copied(source, f"{path}: copies: {target}")
        for target, source in _mapping(content, "copies", str(path)).items()
    }
    kept = tuple(one for one in evaluations if one not in left_out)
    return Recipe(path, bundle, content, sets, tuple(steps), kept, tuple(left_out), copies)


class _Reader:
    """Steps from their entries, each with those before it known."""

    def __init__(self, path: Path, bundle: Path, out: Path, sets: Mapping[str, DataSet]) -> None:
        self.path = path
        self.bundle = bundle
        self.out = out
        self.sets = sets
        self.folders: dict[str, Path] = {}
        self.definitions: dict[str, dict[str, Any]] = {}
        self.taken: set[tuple[str, str]] = set()

    def step(self, entry: Any, kind: str) -> Step:
        word, keys = ("step", STEP_KEYS) if kind == TRAIN else ("evaluation", EVALUATION_KEYS)
        if not isinstance(entry, dict):
            raise ValueError(f"{self.path}: expected a {word} as an object, got {entry!r}; correct it")
        name = entry.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name) or (kind, name.casefold()) in self.taken:
            raise ValueError(
                f"{self.path}: {word}: name: expected a name of its own (letters, digits, . _ -), got {name!r}; "
                "correct it"
            )
        where = f"{self.path}: {word} {name}"
        _check_keys(entry, keys, where)
        names = entry.get("config", ["train.json"] if kind == TRAIN else ["inference.json", "evaluate.json"])
        if not isinstance(names, list) or not names or not all(isinstance(one, str) for one in names):
            raise ValueError(f"{where}: config: expected a list of files, got {names!r}; for example [train.json]")
        configs = tuple(find_config(one, self.bundle, where) for one in names)
        overrides, weights = _mapping(entry, "overrides", where), _mapping(entry, "weights", where)
        known = known_keys(configs, where)
        for part, values in (("overrides", overrides), ("weights", weights)):
            check_known(values, known, configs, f"{where}: {part}")
            check_nested(values, configs, f"{where}: {part}")
        data = self._data(entry.get("data"), where)
        files = {key: self._weights(value, f"{where}: weights: {key}") for key, value in weights.items()}
        needs = tuple(first for value in weights.values() if (first := value.partition("/")[0]) in self.definitions)
        definition = {
            "bundle": self.bundle.name,
            "config": names,
            "overrides": overrides,
            "data": data.entry,
            "weights": weights,
            "made_by": {need: _digest(self.definitions[need]) for need in needs},
        }
        run = Run(
            kind,
            configs,
            {**overrides, "dataset_dir": str(data.path), **{key: str(path) for key, path in files.items()}},
            json.loads(json.dumps(definition)),
        )
        folder = self.out / ("steps" if kind == TRAIN else "evaluations") / name
        task = Task(name, self.bundle, (run,), folder, mail=False)
        if own := [key for key in overrides if top_key(key) in ("dataset_dir", *task.places(run))]:
            raise ValueError(f"{where}: overrides: {own[0]} follows from --data and --out; remove it")
        yields = {_shipped(target, where): str(file) for target, file in _mapping(entry, "yields", where).items()}
        self.taken.add((kind, name.casefold()))
        if kind == TRAIN:
            self.folders[name], self.definitions[name] = folder, run.definition
        return Step(task, data, weights, needs, yields)

    def _data(self, name: Any, where: str) -> DataSet:
        if name not in self.sets:
            raise ValueError(f"{where}: data: expected one of {', '.join(self.sets) or 'none'}, got {name!r}; add it")
        return self.sets[name]

    def _weights(self, text: Any, where: str) -> Path:
        """The path of what an earlier step will write, or of a file that is shipped."""
        first, _, file = str(text).partition("/")
        if first in self.folders and file:
            return self.folders[first] / "models" / file
        shipped = self.bundle / str(text)
        if SHIPPED.fullmatch(str(text)) and shipped.is_file():
            return shipped
        steps = ", ".join(self.folders) or "none"
        raise ValueError(
            f"{where}: expected STEP/FILE of an earlier step ({steps}) or models/NAME.pt of the bundle, got {text!r}; "
            "correct it"
        )


def _check_keys(mapping: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    if unknown := [key for key in mapping if key not in known and key != "_comment"]:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; expected {', '.join(known)}")


def _digest(definition: Mapping[str, Any]) -> str:
    """Twelve digits that change with it."""
    return sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:12]


def _mapping(entry: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    found = entry.get(key, {})
    if not isinstance(found, dict):
        raise ValueError(f"{where}: {key}: expected an object, got {found!r}; correct it")
    return found


def _entries(content: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    found = content.get(key, [])
    if not isinstance(found, list):
        raise ValueError(f"{path}: {key}: expected a list, got {found!r}; correct it")
    return found


def _shipped(target: str, where: str) -> str:
    if not SHIPPED.fullmatch(target):
        raise ValueError(f"{where}: expected a file models/NAME.pt of the bundle, got {target!r}; correct it")
    return target


def _copied(source: Any, where: str) -> Path:
    name, _, file = str(source).partition("/")
    path = BUNDLES / name / file
    if not SHIPPED.fullmatch(file) or not path.is_file():
        raise ValueError(f"{where}: expected BUNDLE/models/NAME.pt of this repository, got {source!r}; correct it")
    return path
