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
from tools.run.task_list import PREDICT, TRAIN
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
        sizes = {path.relative_to(self.folder).as_posix(): path.stat().st_size / 2**20 for path in files}
        notes = {
            name: f"  (task {one['task']} is unfinished)" for name, one in self.weights.items() if not one["finished"]
        }
        lines = [f"    {size:6.2f} MB  {name}{notes.get(name, '')}" for name, size in sizes.items()]
        lines.append(f"    {sum(sizes.values()):6.2f} MB  in all")
        return [f"packed in {self.folder}:", *lines, *(f"not packed: {line}" for line in self.refused)]


def pack(work: Job) -> Packed:
    """Write `packed/` in the output folder anew from what is there."""
    out = work.job.output_dir
    folder, new = out / "packed", out / ".packed"
    shutil.rmtree(new, ignore_errors=True)
    (new / "models").mkdir(parents=True)
    weights, refused = _pack_weights(work, new)
    files = {name: out / name for name in (Records.FILE, "ranking.csv", "ranking.md")}
    for task in work.job.tasks:
        files[f"history_{task.name}.csv"] = task.folder / TRAIN / "history.csv"
        if task.predicts and work.is_done(task):
            found = [*(task.folder / PREDICT).glob("*.csv"), *(task.folder / PREDICT).glob("run.json")]
            files |= {f"evaluations/{task.name}/{file.name}": file for file in found}
    for name, file in files.items():
        if file.is_file():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, new / name)
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
    weights: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    for task in work.job.tasks:
        finished = work.is_done(task, task.runs[0])
        for target, file in task.yields.items():
            path = task.folder / "models" / file
            if path.is_file():
                state = read_weights(path)
                half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
                save_torch(half, folder / target)
                weights[target] = {"task": task.name, "finished": finished}
                refused.pop(target, None)
                if (size := (folder / target).stat().st_size) > LARGE_FILE_BYTES:
                    del weights[target]
                    (folder / target).unlink()
                    refused[target] = (
                        f"{target}: {size / 2**20:.1f} MB as float16 from task {task.name}, and at most "
                        f"{LARGE_FILE_BYTES / 2**20:.0f} MB are shipped; train a smaller network; the weights are in "
                        f"{path}"
                    )
            elif finished:
                there = ", ".join(sorted(other.name for other in path.parent.glob("*.pt"))) or "none"
                refused[target] = f"{target}: task {task.name} left no {file}, only {there}; correct its yields"
    for target, path in work.job.copies.items():
        shutil.copyfile(path, folder / target)
        weights[target] = {"copy_of": f"{path.parents[1].name}/models/{path.name}", "finished": True}
    return weights, list(refused.values())
