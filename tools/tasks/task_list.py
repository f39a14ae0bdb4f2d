"""What a list of tasks says: read whole and checked before anything runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.tasks.configurations import check_known, find_config, known_keys, top_key
from tools.tasks.strict_yaml import read_yaml
from tools.zoo.layout import find_bundle

TRAIN, PREDICT = "train", "predict"
TYPES = {"train": (TRAIN,), "predict": (PREDICT,), "train_and_predict": (TRAIN, PREDICT)}
"""Of tasks, and the runs that each is."""
METRICS_FILE = "metrics.csv"
"""What an evaluation writes into its `output_dir`."""
DEFAULT_BUNDLE = "cardiac_cine_unet_reconstruction"
WEIGHTS_KEY = {TRAIN: "initial_weights", PREDICT: "checkpoint"}
"""Key of a bundle's configuration that takes the `weights` of a task, by its first run."""
HIGHER_IS_BETTER = {
    "psnr": True,
    "ssim": True,
    **dict.fromkeys(("mse", "nmse", "nrmse", "mae", "perceptual", "piqe"), False),
}
"""Metrics that tasks can be ranked by."""
LIST_KEYS = ("output_dir", "rank_by", "mail", "defaults", "tasks")
TASK_KEYS = ("name", "type", "bundle", "config", "overrides", "train", "predict", "weights", "mail")
OVERRIDES = ("overrides", "train", "predict")
"""Keys of a task that hold keys of a bundle's configuration."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,99}")
RESERVED = ("tasks.json", "ranking.csv", "ranking.md")
"""Files beside the folders of the tasks."""


@dataclass(frozen=True)
class Run:
    """One process of a task.

    Attributes:
        kind: "train" or "predict".
        configs: configuration files, each over the one before.
        overrides: keys of the configuration to values.
        definition: what makes a run another one when it is changed, as JSON holds it; places do not.
    """

    kind: str
    configs: tuple[Path, ...]
    overrides: dict[str, Any]
    definition: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A folder of results and the runs that fill it.

    Attributes:
        name: of the task, and of its folder.
        bundle: root of the bundle.
        runs: training, prediction or both.
        folder: for its weights, results and log.
        mail: whether it sends notices.
    """

    name: str
    bundle: Path
    runs: tuple[Run, ...]
    folder: Path
    mail: bool

    def places(self, run: Run) -> dict[str, str]:
        """What a run is told on top of its overrides. A prediction alone has the bundle's own weights."""
        places = {"bundle_root": str(self.bundle), "output_dir": str(self.folder / run.kind)}
        return places if self.runs[0].kind == PREDICT else {**places, "ckpt_dir": str(self.folder / "models")}


@dataclass(frozen=True)
class TaskList:
    """A file of tasks.

    Attributes:
        path: of the file.
        output_dir: for the folders of the tasks; absolute.
        rank_by: metric.
        mail: whether start and end of the whole are told.
        tasks: in their order.
    """

    path: Path
    output_dir: Path
    rank_by: str
    mail: bool
    tasks: tuple[Task, ...]


def read_task_list(path: Path, mail_by_default: bool = False) -> TaskList:
    """Read a file of tasks; relative paths in it start at the current folder.

    Args:
        path: the YAML file.
        mail_by_default: whether notices are sent where the file does not say.

    Raises:
        ValueError: for anything in it that cannot be run, with the file, the task and a way out.
    """
    content = read_yaml(path)
    _check_keys(content, LIST_KEYS, str(path))
    found = {
        "output_dir": content.get("output_dir", f"out/{path.stem}"),
        "rank_by": content.get("rank_by", "ssim"),
        "defaults": content.get("defaults", {}),
    }
    if not isinstance(found["output_dir"], str) or not found["output_dir"]:
        raise ValueError(f"{path}: output_dir: expected a folder, got {found['output_dir']!r}; give its path")
    if not isinstance(found["rank_by"], str) or found["rank_by"] not in HIGHER_IS_BETTER:
        raise ValueError(f"{path}: rank_by: expected one of {', '.join(HIGHER_IS_BETTER)}, got {found['rank_by']!r}")
    mail = content.get("mail", mail_by_default)
    _check_flag(mail, f"{path}: mail")
    _check_task_keys(found["defaults"], f"{path}: defaults", without=("name",))
    entries = content.get("tasks")
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: tasks: expected a list of at least one task, got {entries!r}; add `- name: ...`")
    output_dir = Path(found["output_dir"]).resolve()
    tasks: list[Task] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: task {number}"
        _check_task_keys(entry, where)
        name = _name(entry.get("name"), [task.name for task in tasks], where)
        defaults = {"mail": mail, **found["defaults"]}
        tasks.append(_task(name, entry, defaults, output_dir, tasks, f"{path}: task {name}"))
    _check_defaults_used(found["defaults"], tasks, f"{path}: defaults")
    return TaskList(path, output_dir, found["rank_by"], mail, tuple(tasks))


def _check_keys(mapping: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    if unknown := [key for key in mapping if key not in known]:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; expected {', '.join(known)}")


def _check_flag(value: Any, where: str) -> None:
    if not isinstance(value, bool):  # not repeated: it may be settings, with a password in them
        raise ValueError(f"{where}: expected true or false; where e-mail goes is told by --mail or RECON_SMTP_HOST ...")


def _check_task_keys(entry: Any, where: str, without: Sequence[str] = ()) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected `key: value` lines, got {entry!r}; write them below it, indented")
    _check_keys(entry, [key for key in TASK_KEYS if key not in without], where)
    for key in OVERRIDES:
        values = entry.get(key, {})
        if not isinstance(values, dict) or not all(isinstance(one, str) for one in values):
            raise ValueError(f"{where}: {key}: expected keys of a configuration and values, got {values!r}")
        try:
            json.dumps(values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {key}: expected values that JSON holds: {error}; quote them") from None


def _check_defaults_used(defaults: Mapping[str, Any], tasks: Sequence[Task], where: str) -> None:
    """A task leaves out defaults that its bundle does not know, but one that all leave out is misspelt."""
    for part in OVERRIDES:
        taken = {key for task in tasks for run in task.runs if part in ("overrides", run.kind) for key in run.overrides}
        if unused := [key for key in defaults.get(part, {}) if key not in taken]:
            raise ValueError(
                f"{where}: {part}: unknown key {unused[0]!r}, no task has it in its configuration; correct it"
            )


def _name(name: Any, taken: Sequence[str], where: str) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in RESERVED:
        raise ValueError(
            f"{where}: name: expected the name of a folder (letters, digits, . _ + = -, first a letter or digit, up to "
            f"100, none of {', '.join(RESERVED)}), got {name!r}; quote a number"
        )
    # folders of some file systems do not tell a from A
    if name.casefold() in [other.casefold() for other in taken]:
        raise ValueError(f"{where}: an earlier task is called {name} too; give it another name")
    return name


def _task(
    name: str,
    entry: Mapping[str, Any],
    defaults: Mapping[str, Any],
    output_dir: Path,
    before: Sequence[Task],
    where: str,
) -> Task:
    """A task from its own keys over the defaults."""
    merged = {**defaults, **entry}
    kind = merged.get("type", "train_and_predict")
    if not isinstance(kind, str) or kind not in TYPES:
        raise ValueError(f"{where}: type: expected {', '.join(TYPES)}, got {kind!r}; choose one")
    kinds = TYPES[kind]
    if unused := [other for other in (TRAIN, PREDICT) if other in entry and other not in kinds]:
        raise ValueError(f"{where}: {unused[0]}: a task of type {kind} has no such run; remove it or change the type")
    _check_flag(merged["mail"], f"{where}: mail")
    bundle_name = merged.get("bundle", DEFAULT_BUNDLE)
    try:
        bundle = find_bundle(str(bundle_name))
    except ValueError as error:
        raise ValueError(f"{where}: bundle: {error}") from None
    names = {run: _config_names(merged.get("config"), run, kind, bundle, where) for run in kinds}
    configs = {run: tuple(find_config(config, bundle, where) for config in names[run]) for run in kinds}
    keys = {run: known_keys(configs[run], where) for run in kinds}
    overrides = _overrides(entry, defaults, keys, configs, where)
    weights = _weights(merged.get("weights"), before, where)
    if weights:
        key = WEIGHTS_KEY[kinds[0]]
        check_known({key: weights}, keys[kinds[0]], configs[kinds[0]], f"{where}: weights")
        if key in overrides[kinds[0]]:
            raise ValueError(f"{where}: weights: {key} is among the overrides too; keep one of them")
        overrides[kinds[0]][key] = weights
    definitions = {run: _definition(bundle_name, names[run], overrides[run]) for run in kinds}
    if weights:  # relative to the current folder in the definition too, so that the whole can be moved
        overrides[kinds[0]][key] = str(Path(weights).resolve())
    runs = tuple(Run(run, configs[run], overrides[run], definitions[run]) for run in kinds)
    task = Task(name, bundle, runs, output_dir / name, merged["mail"])
    for one in runs:
        if own := [key for key in one.overrides if top_key(key) in task.places(one)]:
            raise ValueError(
                f"{where}: {own[0]} is set by the task list, for a folder each; remove it, and see output_dir"
            )
    return task


def _definition(bundle: str, configs: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """As it is once JSON has held it."""
    return json.loads(json.dumps({"bundle": bundle, "config": configs, "overrides": overrides}))


def _config_names(config: Any, run: str, kind: str, bundle: Path, where: str) -> list[str]:
    """Names of a run's configurations, as they are given or by default."""
    if isinstance(config, dict):
        _check_keys(config, (TRAIN, PREDICT), f"{where}: config")
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
    names = [config] if isinstance(config, str) else config
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{where}: config: expected a file or a list of files, got {config!r}; for example train.json")
    return names


def _overrides(
    entry: Mapping[str, Any],
    defaults: Mapping[str, Any],
    keys: Mapping[str, set[str]],
    configs: Mapping[str, Sequence[Path]],
    where: str,
) -> dict[str, dict[str, Any]]:
    """Overrides of each run that its configuration knows: the defaults, then those of the task."""
    everywhere = [path for paths in configs.values() for path in paths]
    check_known(entry.get("overrides", {}), set().union(*keys.values()), everywhere, f"{where}: overrides")
    found = {}
    for run, known in keys.items():
        check_known(entry.get(run, {}), known, configs[run], f"{where}: {run}")
        merged = {
            key: value
            for one in (defaults, entry)
            for part in ("overrides", run)
            for key, value in one.get(part, {}).items()
        }
        found[run] = {key: value for key, value in merged.items() if top_key(key) in known}
    return found


def _weights(weights: Any, before: Sequence[Task], where: str) -> str | None:
    """The path of a file that is there, or that an earlier task of the list will write."""
    if weights is None:
        return None
    if not isinstance(weights, str) or not weights:
        raise ValueError(f"{where}: weights: expected the path of a file, got {weights!r}; correct it")
    path = Path(weights).resolve()
    if not path.is_file() and not any(task.folder in path.parents for task in before):
        raise ValueError(f"{where}: weights: no file {weights}, and none of an earlier task; correct the path")
    return weights
