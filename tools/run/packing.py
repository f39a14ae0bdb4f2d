"""Packed results of a list: weights to ship, histories, tables of evaluations, ranking and record, a few megabytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from common.io.atomic import atomic_path
from common.io.torch_file import save_torch
from common.networks.weights import read_weights
from tools.run.job import Job
from tools.run.records import Records
from tools.run.task_list import PREDICT, TRAIN, Task
from tools.zoo.package import LARGE_FILE_BYTES


class Packed(NamedTuple):
    """Content of a packed folder.

    Attributes:
        folder: the folder.
        weights: shipped file to its task, or the file it is a copy of, and whether the training is finished.
        refused: a line for each file of weights that is too large or missing.
    """

    folder: Path
    weights: dict[str, dict[str, Any]]
    refused: list[str]

    def describe(self) -> list[str]:
        """Return lines for the reader: each file with its size, the sum, and what was refused."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        sizes = {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in files}
        notes = {
            name: f"  (task {one['task']} is unfinished)" for name, one in self.weights.items() if not one["finished"]
        }
        lines = [f"    {size / 2**20:6.2f} MB  {name}{notes.get(name, '')}" for name, size in sizes.items()]
        lines.append(f"    {sum(sizes.values()) / 2**20:6.2f} MB  in all")
        return [f"packed in {self.folder}:", *lines, *(f"not packed: {line}" for line in self.refused)]


def pack(work: Job) -> Packed:
    """Write `packed/` in the output folder anew from what is there."""
    out = work.job.output_dir
    folder, new = out / "packed", out / ".packed"
    shutil.rmtree(new, ignore_errors=True)
    (new / "models").mkdir(parents=True)
    weights, refused = _pack_weights(work, new)
    for task in work.job.tasks:
        history = task.folder / TRAIN / "history.csv"
        if history.is_file():
            shutil.copyfile(history, new / f"history_{task.name}.csv")
        if task.runs[-1].kind == PREDICT and work.is_done(task):
            (new / "evaluations" / task.name).mkdir(parents=True)
            for file in [*(task.folder / PREDICT).glob("*.csv"), *(task.folder / PREDICT).glob("run.json")]:
                shutil.copyfile(file, new / "evaluations" / task.name / file.name)
    for name in (Records.FILE, "ranking.csv", "ranking.md"):
        if (out / name).is_file():
            shutil.copyfile(out / name, new / name)
    record = {"list": work.job.content, "weights": weights}
    (new / "recipe.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return Packed(folder, weights, refused)


def install(packed: Packed, bundle: Path) -> list[str]:
    """Copy weights of finished trainings into a bundle; return lines that say which, and which not."""
    lines = []
    for target, one in packed.weights.items():
        if one["finished"]:
            with atomic_path(bundle / target) as temporary:
                shutil.copyfile(packed.folder / target, temporary)
            lines.append(f"installed {bundle / target}")
        else:
            lines.append(f"not installed: {target}, task {one['task']} is unfinished")
    return lines


def _pack_weights(work: Job, folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Write the shipped files as float16, each of the last task that has it."""
    found: dict[str, tuple[Task, Path]] = {}
    refused = []
    for task in work.job.tasks:
        for target, file in task.yields.items():
            path = task.folder / "models" / file
            if path.is_file():
                found[target] = (task, path)
            elif work.is_done(task, task.runs[0]):
                there = ", ".join(sorted(other.name for other in path.parent.glob("*.pt"))) or "none"
                refused.append(f"{target}: task {task.name} left no {file}, only {there}; correct its yields")
    weights: dict[str, dict[str, Any]] = {}
    for target, (task, path) in found.items():
        state = read_weights(path)
        half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
        save_torch(half, folder / target)
        size = (folder / target).stat().st_size
        if size > LARGE_FILE_BYTES:
            refused.append(
                f"{target}: {size / 2**20:.1f} MB as float16 from task {task.name}, and at most "
                f"{LARGE_FILE_BYTES / 2**20:.0f} MB are shipped; train a smaller network; the weights are in {path}"
            )
            (folder / target).unlink()
        else:
            weights[target] = {"task": task.name, "finished": work.is_done(task, task.runs[0])}
    for target, path in work.job.copies.items():
        shutil.copyfile(path, folder / target)
        weights[target] = {"copy_of": f"{path.parents[1].name}/models/{path.name}", "finished": True}
    return weights, refused
