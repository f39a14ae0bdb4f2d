"""The command `python -m tools train NAME`."""

from __future__ import annotations

import math
from pathlib import Path

from tools.command import command
from tools.tasks.records import Records, locked
from tools.tasks.running import interruptible, say
from tools.training.recipe import Recipe, read_recipe
from tools.training.work import Progress, TimeLimitError, Training, check_recipe_unchanged
from tools.zoo.layout import ROOT, find_bundle


@command
def train(
    name: str,
    recipe: str = "",
    hours: float | None = None,
    out: str = "",
    data: str = "",
    check: bool = False,
    install: bool = False,
) -> str | None:
    """Train the weights that a bundle ships, by its recipe, and pack what must travel.

    At the time limit the training that runs is ended once its state is saved; the same command goes on there, on
    this machine or on another one that has OUT. Finished steps are left out, and their weights usable all the time, in
    OUT/packed.

    Args:
        name: of the bundle.
        recipe: JSON; recipes/NAME.json if not given.
        hours: limit of this call, all steps together; none if not given.
        out: folder of the training; out/train/NAME if not given.
        data: folder of data sets by name, the real ones of the recipe; synthetic ones that it has not are made in
            OUT/data.
        check: only read the recipe, and say what would be run.
        install: copy packed weights of finished steps into the bundle.
    """
    bundle = find_bundle(str(name))
    if hours is not None and (isinstance(hours, bool) or not isinstance(hours, int | float) or not hours > 0):
        raise ValueError(f"--hours: expected a number above 0, got {hours!r}; 0.5 is half an hour")
    path = Path(str(recipe)) if recipe else ROOT / "recipes" / f"{bundle.name}.json"
    folder = Path(str(out) if out else f"out/train/{bundle.name}").resolve()
    content = read_recipe(path, str(bundle), folder, Path(str(data)).resolve() if data else None)
    if check:
        return _checked(content, folder)
    with locked(folder) as lock, interruptible():
        training = Training(content, folder, lock, Progress(bundle.name, math.inf if hours is None else hours))
        _train(training, install)
    return None


def _checked(recipe: Recipe, folder: Path) -> str:
    if (folder / Records.FILE).is_file():
        check_recipe_unchanged(recipe, Records(folder))
    left_out = [f"evaluation {one.name}: left out, {one.data.path} is not there" for one in recipe.left_out]
    copies = [f"copy: {target} of {path.parents[1].name}" for target, path in recipe.copies.items()]
    data = [data_set.describe() for data_set in recipe.data.values()]
    steps = [step.describe() for step in (*recipe.steps, *recipe.evaluations)]
    return "\n".join([*data, *steps, *left_out, *copies, f"into {folder}"])


def _train(training: Training, installs: bool) -> None:
    """Run, then pack, whatever has ended the run."""
    for one in training.recipe.left_out:
        say(f"evaluation {one.name}: left out, {one.data.path} is not there")
    try:
        training.run()
    except TimeLimitError:
        unfinished = [step.name for step in training.recipe.steps if not training.is_done(step)]
        left = f"left: {', '.join(unfinished)}" if unfinished else "evaluations are left"
        say(f"time is up, {left}; the same command goes on from here")
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        _pack(training, installs)
        raise
    refused = _pack(training, installs)
    if training.failed or refused:
        again = ["the same command tries again"] if training.failed else []
        raise ValueError("; ".join([*training.failed, *refused, *again]))


def _pack(training: Training, installs: bool) -> list[str]:
    """Pack, and say what; a line for each file of weights that was refused."""
    from tools.training import packing  # takes PyTorch's seconds and memory, here for as long as a training runs

    packed = packing.pack(training)
    say("\n".join(packed.describe()))
    if installs:
        say("\n".join(packing.install(packed, training.recipe.bundle)))
    return packed.refused
