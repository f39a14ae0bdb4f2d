"""Reader of files of tasks: everything is checked before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tools.run.configurations import check_known, find_config, known_keys, top_key
from tools.run.data_sets import DataSet, read_data_set
from tools.run.reading import read_list
from tools.run.task_list import PREDICT, TRAIN, WEIGHTS_KEY, Run, Task, TaskList
from tools.zoo.layout import BUNDLES, find_bundle

TYPES = {"train": (TRAIN,), "predict": (PREDICT,), "train_and_predict": (TRAIN, PREDICT)}
"""Types of tasks, and the runs of each."""
DEFAULT_BUNDLE = "cardiac_cine_unet_reconstruction"
"""Bundle of a list that names none and lies in no bundle's folder."""
OVERRIDES = ("overrides", TRAIN, PREDICT)
"""Keys of a task that hold keys of a bundle's configuration."""


def read_task_list(
    path: Path,
    *,
    out: Path | None = None,
    data: Path | None = None,
    only: Sequence[str] = (),
    shipped: bool = False,
    mail_by_default: bool = False,
) -> TaskList:
    """Read a file of tasks; relative paths in it start at the current folder.

    Args:
        path: YAML or JSON file.
        out: folder for the results, instead of the list's `output_dir`.
        data: folder of data sets by name.
        only: names of the tasks to do; all if empty.
        shipped: True to leave trainings out and predict with the bundle's shipped weights; results go to the subfolder
            `shipped`.
        mail_by_default: True to send notices where the file does not say.

    Raises:
        ValueError: something in the file cannot be run; the message names the file, the task and what to do.
    """
    content = read_list(path)
    output_dir = (out or Path(content.get("output_dir", f"out/{path.stem}"))).resolve()
    sets = {
        name: read_data_set(name, entry, data, output_dir, f"{path}: data: {name}")
        for name, entry in content.get("data", {}).items()
    }
    mail = content.get("mail", mail_by_default)
    own = str(path.parent) if (path.parent / "configs" / "metadata.json").is_file() else DEFAULT_BUNDLE
    defaults = {"mail": mail, "bundle": own, **content.get("defaults", {})}
    reader = _Reader(path, output_dir / "shipped" if shipped else output_dir, sets, defaults, shipped)
    for entry in content["tasks"]:
        for end, values in entry.get("each", {"": {}}).items():
            overrides = {**entry.get("overrides", {}), **values}
            reader.read({**entry, "name": f"{entry['name']}_{end}" if end else entry["name"], "overrides": overrides})
    reader.check_defaults_used()
    if unknown := [name for name in only if name not in reader.names]:
        raise ValueError(f"{path}: --only: no task {unknown[0]}, expected some of {', '.join(reader.names)}")
    selected = [task for task in reader.tasks if not only or task.name in only]
    for task in selected:
        if task.data is not None and task.data.missing:
            if task.trains or not task.data.entry.get("optional", False):
                raise ValueError(
                    f"{path}: task {task.name}: data {task.data.name}: nothing in {task.data.missing}; put there: "
                    f"{task.data.source}; or give the folder of data sets as --data"
                )
            reader.left_out[task.name] = f"{task.data.missing} is not there"
    selected = [task for task in selected if task.name not in reader.left_out]
    copies = {target: BUNDLES / source for target, source in content.get("copies", {}).items()}
    if missing := [source for source in copies.values() if not source.is_file()]:
        raise ValueError(f"{path}: copies: expected a file of the repository, got {missing[0]}; correct it")
    return TaskList(
        path,
        content,
        reader.out,
        content.get("rank_by", "ssim"),
        mail,
        sets,
        tuple(reader.tasks),
        tuple(selected),
        reader.left_out,
        copies,
    )


@dataclass
class _Reader:
    """Reader of tasks from their entries, each with those before it known."""

    path: Path
    out: Path
    sets: Mapping[str, DataSet]
    defaults: Mapping[str, Any]
    shipped: bool
    names: list[str] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    given: dict[str, dict[str, str]] = field(default_factory=dict)  # training to file to shipped file

    def read(self, entry: Mapping[str, Any]) -> None:
        """Read the next task."""
        name, where = entry["name"], f"{self.path}: task {entry['name']}"
        # some file systems do not distinguish folders a and A
        if name.casefold() in [other.casefold() for other in self.names]:
            raise ValueError(f"{where}: an earlier task is called {name} too; give it another name")
        self.names.append(name)
        merged = {"type": "train_and_predict", **self.defaults, **entry}
        kinds = TYPES[merged["type"]]
        if unused := [key for key in (TRAIN, PREDICT) if key in entry and key not in kinds]:
            raise ValueError(
                f"{where}: {unused[0]}: a task of type {merged['type']} has no such run; remove it or change the type"
            )
        if "yields" in entry and TRAIN not in kinds:
            raise ValueError(f"{where}: yields: a prediction writes no weights; remove it")
        yields = merged.get("yields", {}) if TRAIN in kinds else {}
        weights = merged.get("weights", {})
        if isinstance(weights, str):
            weights = {WEIGHTS_KEY[kinds[0]]: weights}
        if self.shipped and TRAIN in kinds:
            self.given[name] = {file: target for target, file in yields.items()}
            if PREDICT not in kinds or not yields:
                return
            kinds, weights, yields = (PREDICT,), {WEIGHTS_KEY[PREDICT]: next(iter(yields))}, {}
        try:
            bundle = find_bundle(merged["bundle"])
        except ValueError as error:
            raise ValueError(f"{where}: bundle: {error}") from None
        if merged.get("data") not in (None, *self.sets):
            known = ", ".join(self.sets) or "none"
            raise ValueError(f"{where}: data: expected one of {known}, got {merged['data']!r}; add it to `data`")
        data = self.sets[merged["data"]] if "data" in merged else None
        files = {key: self._file(text, bundle, f"{where}: weights: {key}") for key, text in weights.items()}
        if self.shipped and (absent := [file for file, _ in files.values() if not file.is_file()]):
            self.left_out[name] = f"{absent[0]} is not shipped"
            return
        needs = tuple(dict.fromkeys(need.name for _, need in files.values() if need is not None))
        further = {key: str(file) for key, (file, _) in files.items()}
        if data is not None:
            further["dataset_dir"] = str(data.path)
        # results are of other weights when the training behind them, or the content of a file, is another one
        made_by = {
            key: _digest(file.read_bytes() if need is None else json.dumps(need.runs[0].definition).encode())
            for key, (file, need) in files.items()
        }
        definition = {"data": data and data.identity, "weights": weights, "made_by": made_by}
        runs = self._runs(entry, merged, kinds, bundle, further, {k: v for k, v in definition.items() if v}, where)
        task = Task(name, bundle, runs, self.out / name, merged["mail"], data, weights, needs, yields)
        for run in runs:
            if own := [key for key in run.overrides if top_key(key) in task.places(run)]:
                raise ValueError(f"{where}: {own[0]} is set for each task, see output_dir; remove it")
        self.tasks.append(task)

    def _runs(
        self,
        entry: Mapping[str, Any],
        merged: Mapping[str, Any],
        kinds: Sequence[str],
        bundle: Path,
        further: Mapping[str, str],
        definition: Mapping[str, Any],
        where: str,
    ) -> tuple[Run, ...]:
        """Return the runs of a task, each with the overrides that its configuration knows: defaults, then its own."""
        names = {kind: _config_names(merged.get("config"), kind, merged["type"], bundle, where) for kind in kinds}
        configs = {kind: tuple(find_config(name, bundle, where) for name in names[kind]) for kind in kinds}
        known = {kind: known_keys(configs[kind], where) for kind in kinds}
        every_file = [path for paths in configs.values() for path in paths]
        for part, values in (("overrides", entry.get("overrides", {})), ("weights", further)):
            check_known(values, set().union(*known.values()), every_file, f"{where}: {part}")
        runs = []
        for kind in kinds:
            check_known(entry.get(kind, {}), known[kind], configs[kind], f"{where}: {kind}")
            parts = [(one, part) for one in (self.defaults, entry) for part in ("overrides", kind)]
            own = {key: value for one, part in parts for key, value in one.get(part, {}).items()}
            own = {key: value for key, value in own.items() if top_key(key) in known[kind]}
            if twice := [key for key in further if key in own]:
                raise ValueError(f"{where}: {twice[0]} follows from `weights` or `data` too; remove it from overrides")
            whole = {"bundle": bundle.name, "config": names[kind], "overrides": own, **definition}
            given = {key: value for key, value in further.items() if top_key(key) in known[kind]}
            runs.append(Run(kind, configs[kind], {**own, **given}, whole))
        return tuple(runs)

    def check_defaults_used(self) -> None:
        """Refuse a default that no task's configuration knows: it is misspelt."""
        runs = [run for task in self.tasks for run in task.runs]
        for part in OVERRIDES if not self.shipped else ():
            used = {key for run in runs if part in ("overrides", run.kind) for key in run.overrides}
            if unused := [key for key in self.defaults.get(part, {}) if key not in used]:
                raise ValueError(
                    f"{self.path}: defaults: {part}: unknown key {unused[0]!r}, no task has it in its configuration; "
                    "correct it"
                )

    def _file(self, text: str, bundle: Path, where: str) -> tuple[Path, Task | None]:
        """Return the file that a text under `weights` means, and the earlier training that writes it."""
        first, _, file = text.partition("/")
        if first in self.given:
            if file not in self.given[first]:
                raise ValueError(f"{where}: {text} is not among the `yields` of {first}, so it is not shipped; add it")
            return bundle / self.given[first][file], None
        trainings = {task.name: task for task in self.tasks if task.trains}
        if first in trainings and file:
            return trainings[first].folder / "models" / file, trainings[first]
        if text.startswith("models/") and (self.shipped or (bundle / text).is_file()):
            return bundle / text, None
        path = Path(text).resolve()
        owner = next((task for task in trainings.values() if task.folder in path.parents), None)
        if owner is None and not path.is_file():
            raise ValueError(
                f"{where}: expected TASK/FILE of an earlier training ({', '.join(trainings) or 'none'}), "
                f"models/NAME.pt of the bundle or the path of a file, got {text!r}; correct it"
            )
        return path, owner


def _digest(content: bytes) -> str:
    """Return twelve digits that change with the content."""
    return sha256(content).hexdigest()[:12]


def _config_names(config: Any, run: str, kind: str, bundle: Path, where: str) -> list[str]:
    """Return the names of a run's configurations, as they are given or by default."""
    if isinstance(config, dict):
        config = config.get(run)
    elif config is not None and len(TYPES[kind]) > 1:
        raise ValueError(
            f"{where}: config: expected `train: ...` and `predict: ...` for a task of type {kind}, got {config!r}; "
            "say which run it is for"
        )
    if config is None:
        if run == TRAIN:
            return ["train.json"]
        has_evaluation = (bundle / "configs" / "evaluate.json").is_file()
        return ["inference.json", "evaluate.json"] if has_evaluation else ["inference.json"]
    return [config] if isinstance(config, str) else config
