"""What must travel of a training: weights, histories, curves, measured values, and the recipe as it was run."""

from __future__ import annotations

import csv
import inspect
import json
import math
import os
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from common.io.atomic import atomic_path
from common.io.torch_file import save_torch
from common.networks.weights import read_weights
from tools.curves import curves, read_column
from tools.results import read_metrics, summaries
from tools.tasks.task_list import METRICS_FILE
from tools.training.recipe import Step
from tools.training.work import DONE, NOT_BEGUN, Training
from tools.zoo.layout import bundle_version, read_json
from tools.zoo.package import LARGE_FILE_BYTES

PACKAGES = ("monai", "torch", "pytorch-ignite", "numpy")
CURVES = ("psnr", "ssim")
CALLS_FILE = "calls.json"


class Packed(NamedTuple):
    """What was packed.

    Attributes:
        folder: where.
        weights: shipped file to what it is, as in `metrics.json`.
        refused: a line for each file of weights that is too large, or is not there.
    """

    folder: Path
    weights: dict[str, dict[str, Any]]
    refused: list[str]

    def describe(self) -> list[str]:
        """Lines for the reader: each file with its size, and the sum."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        sizes = {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in files}
        lines = [f"    {size / 2**20:6.2f} MB  {name}{self._note(name)}" for name, size in sizes.items()]
        return [f"packed in {self.folder}:", *lines, f"    {sum(sizes.values()) / 2**20:6.2f} MB  in all"]

    def _note(self, name: str) -> str:
        weights = self.weights.get(name, {"finished": True})
        return "" if weights["finished"] else f"  (step {weights['step']} is unfinished)"


def pack(training: Training) -> Packed:
    """Write `packed/` anew from what is there; weights that are too large are left out."""
    folder, new = training.out / "packed", training.out / ".packed"
    shutil.rmtree(new, ignore_errors=True)
    (new / "models").mkdir(parents=True)
    weights, refused = _pack_weights(training, new)
    histories = [step for step in training.recipe.steps if _history(step).is_file()]
    for step in histories:
        shutil.copyfile(_history(step), new / f"history_{step.name}.csv")
    _draw_curves(histories, new / "curves.png")
    _write_json(new / "metrics.json", {**_measured(training, new), "weights": weights})
    _write_json(new / "recipe.json", _as_run(training))
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return Packed(folder, weights, refused)


def install(packed: Packed, bundle: Path) -> list[str]:
    """Copy weights of finished steps into a bundle; lines that say which, and which not."""
    lines = []
    for target, weights in packed.weights.items():
        if weights["finished"]:
            with atomic_path(bundle / target) as temporary:
                shutil.copyfile(packed.folder / target, temporary)
            lines.append(f"installed {bundle / target}")
        else:
            lines.append(f"not installed: {target}, step {weights['step']} is unfinished")
    return lines


def _pack_weights(training: Training, folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Files of the last step that has them, as float16."""
    found: dict[str, tuple[Step, Path]] = {}
    refused = []
    for step in training.recipe.steps:
        for target, file in step.yields.items():
            path = step.task.folder / "models" / file
            if path.is_file():
                found[target] = (step, path)
            elif training.is_done(step):
                there = ", ".join(sorted(other.name for other in path.parent.glob("*.pt"))) or "none"
                refused.append(f"{target}: step {step.name} left no {file}, only {there}; correct its yields")
    weights: dict[str, dict[str, Any]] = {}
    for target, (step, path) in found.items():
        _write_half(path, folder / target)
        size = (folder / target).stat().st_size
        if size > LARGE_FILE_BYTES:
            refused.append(f"{target}: {_too_large(step, path, size)}")
            (folder / target).unlink()
            continue
        finished = training.is_done(step)
        weights[target] = {"step": step.name, "file": path.name, "finished": finished, "bytes": size}
    for target, path in training.recipe.copies.items():
        shutil.copyfile(path, folder / target)
        source = f"{path.parents[1].name}/models/{path.name}"
        weights[target] = {"copy_of": source, "finished": True, "bytes": path.stat().st_size}
    return weights, refused


def _write_half(path: Path, target: Path) -> None:
    state = read_weights(path)
    save_torch({name: value.half() if value.is_floating_point() else value for name, value in state.items()}, target)


def _too_large(step: Step, path: Path, size: int) -> str:
    width = _setting(step, "width")
    smaller = 4 * int((width or 0) * math.sqrt(LARGE_FILE_BYTES / size) / 4)
    way_out = f"a width of {smaller} fits, this has {width}" if smaller else "train a smaller network"
    return (
        f"{size / 2**20:.1f} MB as float16 from step {step.name}, and {LARGE_FILE_BYTES / 2**20:.0f} MB are the most "
        f"that is shipped; {way_out}; the weights are in {path}"
    )


def _setting(step: Step, key: str) -> int | None:
    content: dict[str, Any] = {}
    for path in step.run.configs:
        content |= read_json(path)
    value = (content | step.run.overrides).get(key)
    return value if isinstance(value, int) else None


def _history(step: Step) -> Path:
    return step.task.folder / step.run.kind / "history.csv"


def _draw_curves(steps: list[Step], path: Path) -> None:
    """Of the steps whose validations measure PSNR, and so of images."""
    drawn: dict[str, Path] = {}
    columns = list(CURVES)
    for step in steps:
        having = [column for column in CURVES if _has_values(_history(step), column)]
        if CURVES[0] in having:
            drawn[step.name] = _history(step).parent
            columns = [column for column in columns if column in having]
    if drawn:
        inspect.unwrap(curves)([f"{name}={folder}" for name, folder in drawn.items()], columns, str(path))


def _has_values(path: Path, column: str) -> bool:
    try:
        read_column(path, column)
    except ValueError:
        return False
    return True


def _measured(training: Training, folder: Path) -> dict[str, Any]:
    """Values of the steps' last validations, and of the evaluations by protocol, row and metric."""
    bundle = training.recipe.bundle
    evaluations = {one.name: _evaluation(training, one, folder) for one in training.recipe.evaluations}
    for one in training.recipe.left_out:
        evaluations[one.name] = {"status": f"left out, without {one.data.path.name}"}
    return {
        "bundle": bundle.name,
        "version": bundle_version(bundle),
        "steps": {step.name: _step(training, step) for step in training.recipe.steps},
        "evaluations": evaluations,
    }


def _step(training: Training, step: Step) -> dict[str, Any]:
    standing = training.standing(step)
    found: dict[str, Any] = {"status": standing.status, "seconds": round(standing.seconds, 1)}
    if _history(step).is_file() and standing.status != NOT_BEGUN:
        with _history(step).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        validated = [row for row in rows if row.get(CURVES[0]) or row.get("accuracy")]
        found["epochs"] = int(rows[-1]["epoch"]) if rows else 0
        found["last_validation"] = (
            {name: _number(value) for name, value in validated[-1].items()} if validated else None
        )
    return found


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _evaluation(training: Training, one: Step, folder: Path) -> dict[str, Any]:
    """Its values, and copies of its tables; none if it was not made, or its weights have changed since."""
    standing = training.standing(one)
    found: dict[str, Any] = {"status": standing.status, **one.run.definition}
    if standing.status != DONE:
        return found
    results = one.task.folder / one.run.kind
    for table in sorted(results.glob("*.csv")):
        target = folder / "evaluations" / one.name / table.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(table, target)
    found["protocols"] = {
        protocol: {
            row: {metric: asdict(summary) for metric, summary in metrics.items()}
            for row, metrics in summaries(values).items()
        }
        for protocol, values in read_metrics(results / METRICS_FILE).items()
    }
    return found


def _as_run(training: Training) -> dict[str, Any]:
    """The recipe with what ran it, call by call."""
    steps = {step.name: round(training.standing(step).seconds, 1) for step in training.recipe.steps}
    return {"recipe": training.recipe.content, "seconds": steps, "calls": _calls(training)}


def _calls(training: Training) -> list[dict[str, Any]]:
    """The calls before and this one, which is noted."""
    path = training.out / CALLS_FILE
    before = read_json(path)["calls"] if path.is_file() else []
    call = {
        "device": device_name(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "seconds": {name: round(seconds, 1) for name, seconds in training.seconds.items()},
    }
    calls = [*before, call] if training.seconds else before
    _write_json(path, {"calls": calls})
    return calls


def device_name() -> str:
    """Of the device that bundles choose: the first GPU of CUDA, else the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_finite(content), indent=2) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
