"""Measurement of what `docs/results.csv` holds: the evaluations and comparisons of a bundle's recipe.

An evaluation is a prediction of the recipe with the shipped weights. A comparison, under `comparisons` of the recipe,
gives what an evaluation cannot: methods without a network, and the perceptual distance.

    comparisons:
      - {name: compare_8x, data: knee, entries: [tv, model_paper@paper], perceptual_weights: BUNDLE/models/FILE.pt,
         overrides: {accelerations: [8]}}

An entry is a baseline of `python -m tools compare`, or the stem of a file in `models/` with a variant of the bundle's
configuration.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from tools.compare import compare_entries
from tools.docs.pivot import as_text
from tools.docs.results import (
    COLUMNS,
    FILE,
    NO_WEIGHTS,
    SPEED,
    digest,
    disagreements,
    read_results,
    replace_rows,
    rows_of_evaluation,
    write_results,
)
from tools.run.process import LOG, run_bundle
from tools.run.reader import read_task_list
from tools.run.records import locked
from tools.run.status import interruptible, short_path, write_line
from tools.run.task_list import PREDICT, Task, TaskList
from tools.zoo.layout import BUNDLES, read_json

RECIPE = "recipe.yaml"
SPEED_STEP = {"_target_": "tools.docs.speed.note_speed", "evaluator": "@evaluator", "output_dir": "@output_dir"}
"""Step after the run of an evaluation."""
_MASKS = ("mask_family", "degradation_name")
_OPTIONS = ("mask#options", "degradation#options")
_RATES = ("sampling_rate", "accelerations", "n_spokes", "upscale")


def measure_bundle(
    bundle: Path, out: Path, data: Path | None, only: Sequence[str] = (), fresh: bool = False, device: str = "cpu"
) -> list[str]:
    """Measure what is missing in `results.csv`, or belongs to other weights; each as soon as it is done is written.

    Args:
        bundle: folder of the bundle.
        out: folder for the results of the evaluations.
        data: folder of the data sets by their names.
        only: names of evaluations and comparisons; all if empty.
        fresh: True to measure rows of the present weights again, too.
        device: device of the networks.
    """
    job = read_task_list(bundle / RECIPE, out=out, data=data, shipped=True)
    comparisons = {entry["name"]: entry for entry in job.content.get("comparisons", [])}
    tasks = {task.name: task for task in job.selected}
    if unknown := [name for name in only if name not in tasks and name not in comparisons]:
        known = ", ".join([*tasks, *comparisons])
        left_out = "".join(f"; {name}: {reason}" for name, reason in job.left_out.items() if name == unknown[0])
        raise ValueError(f"--only: {bundle.name} has no evaluation {unknown[0]}, but {known}{left_out}")
    lines, failed = [f"{name}: left out, {reason}" for name, reason in job.left_out.items()], []
    first = {task.predicts_with: name for name, task in reversed(tasks.items())}
    with locked(out) as lock, interruptible():
        for name in [*tasks, *comparisons]:
            old = read_results(bundle) if (bundle / FILE).is_file() else pd.DataFrame(columns=list(COLUMNS))
            if (only and name not in only) or (not fresh and _is_current(old, name, bundle)):
                continue
            write_line(f"{bundle.name}: {name}")
            try:
                if name in tasks:
                    # in the first evaluation of its weights, and wherever rows of the speed would be lost
                    weights = tasks[name].predicts_with
                    timed = weights is None or name == first[weights] or _has_speed(old, name)
                    timing = {"+run": [SPEED_STEP]} if timed else {}
                    new = _evaluated(tasks[name], {"device": device, **timing}, lock)
                else:
                    new = _compared(comparisons[name], bundle, job, out, device)
            except (ValueError, OSError) as error:
                failed.append(f"{name}: {error}")
                write_line(f"{bundle.name}: {failed[-1]}")
                continue
            sys.stderr.write("".join(f"warning: {line}\n" for line in disagreements(old, new)))
            write_results(bundle, replace_rows(old, new))
            lines.append(f"measured {name}: {len(new)} rows")
    if failed:
        raise ValueError("; ".join([*failed, "the same command tries them again"]))
    return lines


def _is_current(frame: pd.DataFrame, name: str, bundle: Path) -> bool:
    """Return whether there are rows of an evaluation, all of the weights in `models/`."""
    rows = frame[(frame["evaluation"] == name) & (frame["weights"] != NO_WEIGHTS)]
    rows = rows[["weights", "sha256"]].drop_duplicates()
    return bool((frame["evaluation"] == name).any()) and all(
        (path := bundle / "models" / row.weights).is_file() and digest(path) == row.sha256 for row in rows.itertuples()
    )


def _has_speed(frame: pd.DataFrame, name: str) -> bool:
    return bool(((frame["evaluation"] == name) & (frame["protocol"] == SPEED)).any())


def _evaluated(task: Task, further: Mapping[str, Any], lock: TextIO) -> pd.DataFrame:
    """Run an evaluation with further keys of the configuration; return its rows."""
    if task.data is not None:
        task.data.make()
    run, folder = task.runs[-1], task.folder / PREDICT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    overrides = {**run.overrides, **further, **task.places(run)}
    end = run_bundle(task.bundle, run.configs, overrides, task.folder, run.kind, lock=lock)
    if end.error:
        raise ValueError(f"{end.error} (log in {short_path(task.folder / LOG)})")
    keys = {"evaluation": task.name, "data": task.data.name if task.data else ""}
    return rows_of_evaluation(folder, task.bundle, task.predicts_with, **keys, **setting_of(run.configs, run.overrides))


def _compared(entry: Mapping[str, Any], bundle: Path, job: TaskList, out: Path, device: str) -> pd.DataFrame:
    """Run a comparison; return its rows. Entries whose weights are not shipped are left out."""
    data, overrides, folder = job.data[entry["data"]], entry.get("overrides", {}), out / entry["name"]
    data.make()
    texts = []
    for text in entry["entries"]:
        stem, at, variant = text.partition("@")
        weights = bundle / "models" / f"{stem}.pt"
        if weights.is_file():
            texts.append(f"{stem}={bundle}{at}{variant}:{weights}")
        elif not stem.startswith("model"):
            texts.append(text)
    shutil.rmtree(folder, ignore_errors=True)
    perceptual = entry.get("perceptual_weights", "")
    compare_entries(
        data.path,
        texts,
        folder,
        measure_like="" if any(f"={bundle}" in text for text in texts) else str(bundle),
        perceptual_weights=str(BUNDLES / perceptual) if perceptual else "",
        n_cases=1,
        **{"device": device, **overrides},
    )
    setting = setting_of([bundle / "configs" / "inference.json"], overrides)
    return rows_of_evaluation(folder, bundle, None, evaluation=entry["name"], data=data.name, **setting)


def setting_of(files: Sequence[Path], overrides: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns `mask` and `rate` of an evaluation from its configuration files and what changes them.

    A file of a mask has its name and no rate; options stand behind the name of a mask or a degradation.
    """
    config: dict[str, Any] = {}
    for content in (*map(read_json, files), overrides):
        config |= content
    if config.get("mask#file"):
        return {"mask": Path(str(config["mask#file"])).name.strip("'\" "), "rate": ""}
    mask = next((str(config[key]) for key in _MASKS if key in config), "")
    options: Mapping[str, Any] = next((config[key] for key in _OPTIONS if isinstance(config.get(key), Mapping)), {})
    words = [mask, *(f"{name}={as_text(value)}" for name, value in options.items())]
    rate = next((config[key] for key in _RATES if key in config), "")
    rates = rate if isinstance(rate, list) else [rate]
    return {"mask": " ".join(filter(None, words)), "rate": ",".join(map(as_text, rates))}
