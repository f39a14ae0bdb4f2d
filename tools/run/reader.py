"""Reader of files of tasks: everything is checked before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tools.run.reading import check_known, find_config, merged, read_list, top_key
from tools.run.task_list import PREDICT, TRAIN, WEIGHTS_KEY, DataSet, Run, Task, TaskList
from tools.zoo.layout import BUNDLES, find_bundle

TYPES = {"train": (TRAIN,), "predict": (PREDICT,), "train_and_predict": (TRAIN, PREDICT)}
"""Types of tasks, and the runs of each."""
DEFAULT_BUNDLE = "cardiac_cine_unet_reconstruction"
"""Bundle of a list that names none and lies in no bundle's folder."""


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
    sets: dict[str, DataSet] = {}
    for name, entry in content.get("data", {}).items():
        sets[name] = _data_set(name, entry, data, output_dir, sets, f"{path}: data: {name}")
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
    selected = []
    for task in (task for task in reader.tasks if not only or task.name in only):
        if task.data is None or not task.data.missing:
            selected.append(task)
        elif task.data.entry.get("optional", False) and not task.trains:
            reader.left_out[task.name] = f"{task.data.missing} is not there"
        else:
            raise ValueError(
                f"{path}: task {task.name}: data {task.data.name}: nothing in {task.data.missing}; put there: "
                f"{task.data.entry.get('source', 'measured data')}; or give the folder of data sets as --data"
            )
    copies = {target: BUNDLES / source for target, source in content.get("copies", {}).items()}
    if missing := [source for source in copies.values() if not source.is_file()]:
        raise ValueError(f"{path}: copies: expected a file of the repository, got {missing[0]}; correct it")
    return TaskList(path, content, reader.out, mail, sets, reader.tasks, selected, reader.left_out, copies)


def _data_set(
    name: str, entry: dict[str, Any], data: Path | None, out: Path, before: Mapping[str, DataSet], where: str
) -> DataSet:
    """Read a data set from its entry; several sets at once are some of those before it.

    A measured set is looked for in `data`, else in the current folder. A synthetic one that `data` does not have is
    made in the folder `out/data`.
    """
    root = (data or Path()).resolve()
    if "sets" in entry:
        if unknown := [part for part in entry["sets"] if part not in before]:
            raise ValueError(f"{where}: sets: expected names of sets above it, got {unknown[0]!r}; correct it")
        return DataSet(name, root, entry, tuple(before[part] for part in entry["sets"]))
    if "make" not in entry:
        return DataSet(name, root / entry["folder"], entry)
    from common.phantoms.sets import SETS  # takes PyTorch's seconds, which lists of measured data need not wait for

    if entry["make"] not in SETS:
        raise ValueError(f"{where}: make: expected one of {', '.join(SETS)}, got {entry['make']!r}; correct it")
    known = [*SETS[entry["make"]].defaults, "seed"]
    if unknown := [key for key in entry.get("options", {}) if key not in known]:
        raise ValueError(f"{where}: options: unknown key {unknown[0]!r}; {entry['make']} has {', '.join(known)}")
    folder = data if data is not None and (data / name).is_dir() else out / "data"
    pores = entry.get("options", {}).get("pores")
    return DataSet(name, (folder / name).resolve(), entry, pores=root / pores if pores else None)


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
        merged_entry = {"type": "train_and_predict", **self.defaults, **entry}
        kinds = TYPES[merged_entry["type"]]
        if unused := [key for key in (TRAIN, PREDICT) if key in entry and key not in kinds]:
            raise ValueError(
                f"{where}: {unused[0]}: a task of type {merged_entry['type']} has no such run; remove it or change the "
                "type"
            )
        if "yields" in entry and TRAIN not in kinds:
            raise ValueError(f"{where}: yields: a prediction writes no weights; remove it")
        yields = merged_entry.get("yields", {}) if TRAIN in kinds else {}
        weights = merged_entry.get("weights", {})
        if isinstance(weights, str):
            weights = {WEIGHTS_KEY[kinds[0]]: weights}
        if self.shipped and TRAIN in kinds:
            self.given[name] = {file: target for target, file in yields.items()}
            if PREDICT not in kinds or not yields:
                return
            kinds, weights, yields = (PREDICT,), {WEIGHTS_KEY[PREDICT]: next(iter(yields))}, {}
        try:
            bundle = find_bundle(merged_entry["bundle"])
        except ValueError as error:
            raise ValueError(f"{where}: bundle: {error}") from None
        if merged_entry.get("data") not in (None, *self.sets):
            known = ", ".join(self.sets) or "none"
            raise ValueError(f"{where}: data: expected one of {known}, got {merged_entry['data']!r}; add it to `data`")
        data = self.sets[merged_entry["data"]] if "data" in merged_entry else None
        files = {key: self._file(text, bundle, f"{where}: weights: {key}") for key, text in weights.items()}
        if self.shipped and (absent := [file for file, _ in files.values() if not file.is_file()]):
            self.left_out[name] = f"{absent[0]} is not shipped"
            return
        needs = tuple(dict.fromkeys(need.name for _, need in files.values() if need is not None))
        further: dict[str, Any] = {key: str(file) for key, (file, _) in files.items()}
        if data is not None:
            further["dataset_dir"] = data.dataset_dir
        # results are of other weights when the training behind them, or the content of a file, is another one
        made_by = {
            key: _digest(file.read_bytes() if need is None else json.dumps(need.runs[0].definition).encode())
            for key, (file, need) in files.items()
        }
        definition = {"data": data and data.identity, "weights": weights, "made_by": made_by}
        names = {kind: _config_names(merged_entry, kind, bundle, where) for kind in kinds}
        runs = self._runs(entry, names, bundle, further, {k: v for k, v in definition.items() if v}, where)
        task = Task(name, bundle, runs, self.out / name, merged_entry["mail"], data, weights, needs, yields)
        for run in runs:
            if own := [key for key in run.overrides if top_key(key) in task.places(run)]:
                raise ValueError(f"{where}: {own[0]} is set for each task, see output_dir; remove it")
        self.tasks.append(task)

    def _runs(
        self,
        entry: Mapping[str, Any],
        names: Mapping[str, list[str]],
        bundle: Path,
        further: Mapping[str, str],
        definition: Mapping[str, Any],
        where: str,
    ) -> tuple[Run, ...]:
        """Return the runs of a task, each with the overrides that its configuration knows: defaults, then its own."""
        configs = {kind: tuple(find_config(name, bundle, where) for name in names[kind]) for kind in names}
        contents = {}
        for kind, paths in configs.items():
            try:
                contents[kind] = merged(paths)
            except ValueError as error:
                raise ValueError(f"{where}: config: {error}") from None
            if "run" not in contents[kind]:
                raise ValueError(
                    f"{where}: config: {' and '.join(path.name for path in paths)} cannot run alone, without a key "
                    "`run`; put the file that it changes before it: [inference.json, ...]"
                )
        whole = {key: value for content in contents.values() for key, value in content.items()}
        every_file = [path for paths in configs.values() for path in paths]
        for part, values in (("overrides", entry.get("overrides", {})), ("weights", further)):
            check_known(values, whole, every_file, f"{where}: {part}")
        runs = []
        for kind, content in contents.items():
            check_known(entry.get(kind, {}), content, configs[kind], f"{where}: {kind}")
            known = {top_key(key) for key in content}
            parts = [one.get(part, {}) for one in (self.defaults, entry) for part in ("overrides", kind)]
            own = {key: value for part in parts for key, value in part.items() if top_key(key) in known}
            if twice := [key for key in further if key in own]:
                raise ValueError(f"{where}: {twice[0]} follows from `weights` or `data` too; remove it from overrides")
            given = {key: value for key, value in further.items() if top_key(key) in known}
            described = {"bundle": bundle.name, "config": names[kind], "overrides": own, **definition}
            runs.append(Run(kind, configs[kind], {**own, **given}, described))
        return tuple(runs)

    def check_defaults_used(self) -> None:
        """Refuse a default that no task's configuration knows: it is misspelt."""
        runs = [run for task in self.tasks for run in task.runs]
        for part in ("overrides", TRAIN, PREDICT) if not self.shipped else ():
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
    return sha256(content).hexdigest()[:12]


def _config_names(entry: Mapping[str, Any], run: str, bundle: Path, where: str) -> list[str]:
    """Return the names of a run's configurations, as they are given or by default."""
    config = entry.get("config")
    if isinstance(config, dict):
        config = config.get(run)
    elif config is not None and len(TYPES[entry["type"]]) > 1:
        raise ValueError(
            f"{where}: config: expected `train: ...` and `predict: ...` for a task of type {entry['type']}, got "
            f"{config!r}; say which run it is for"
        )
    if config is None:
        if run == TRAIN:
            return ["train.json"]
        has_evaluation = (bundle / "configs" / "evaluate.json").is_file()
        return ["inference.json", "evaluate.json"] if has_evaluation else ["inference.json"]
    return [config] if isinstance(config, str) else config
