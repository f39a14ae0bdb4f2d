"""The state of a training on disk: written atomically, restored exactly."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common.data.loading import ResumableSampler
from common.engines.gan_trainer import GanTrainer
from common.engines.termination import Termination
from common.io.atomic import atomic_path
from common.networks.weights import read_weights
from ignite.engine import Events
from monai.engines.workflow import Workflow
from torch import nn

logger = logging.getLogger("recon")


class TrainingCheckpoint:
    """Saves all that a :class:`~common.engines.gan_trainer.GanTrainer` needs to go on as if never stopped.

    Networks, moving average, optimisers, loss scalers, random states, iteration, the validator's best metric, and what
    handlers keep in ``trainer.state`` under names they add to Ignite's ``trainer.state_dict_user_keys`` (numbers,
    strings, containers of them). A damaged newest file falls back to the one before, with a warning. At SIGTERM the
    trainer finishes its iteration, in the last one of an epoch the validation too, saves, and ends the process.

    Args:
        directory: holds ``checkpoint_<iteration>.pt``; made when first needed.
        every_iterations: interval within an epoch; an epoch's end is always saved.
        keep: number of newest files kept.
        validator: MONAI evaluator whose ``best_metric`` is kept, or ``None``.
    """

    def __init__(
        self, directory: str | Path, every_iterations: int = 500, keep: int = 2, validator: Workflow | None = None
    ) -> None:
        if every_iterations < 1 or keep < 1:
            raise ValueError(f"expected every_iterations and keep of at least 1, got {every_iterations=}, {keep=}")
        self.directory = Path(directory)
        self.every_iterations = every_iterations
        self.keep = keep
        self.validator = validator
        self.termination = Termination()

    def attach(self, trainer: GanTrainer) -> None:
        """Save at intervals and at the end of epochs; attach after the handlers whose effect is to be kept."""
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._save_within_epoch)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.termination.end)

    def save(self, trainer: GanTrainer) -> None:
        """Write the state of now; in a group of processes the first one writes."""
        if trainer.state.rank != 0:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"checkpoint_{trainer.state.iteration:09d}.pt"
        with atomic_path(path) as temporary:
            torch.save(self._state(trainer), temporary)
        files = self._files()
        now = files.index(path)
        for old in (*files[:now], *files[now + self.keep :]):  # what seems newer was damaged, or not restored
            old.unlink()

    def restore(self, trainer: GanTrainer) -> bool:
        """Load the newest readable state into a trainer.

        Returns:
            whether there was one.

        Raises:
            ValueError: if a readable state belongs to another network, data set size or batch size.
        """
        for path in self._files():
            try:
                state = torch.load(path, map_location=trainer.state.device, weights_only=True)
            except Exception as error:  # torch.load raises many kinds for a damaged file
                logger.warning(f"{path}: damaged, going back to the one before ({type(error).__name__})")
                continue
            self._load(trainer, state, path)
            return True
        return False

    def _save_within_epoch(self, trainer: GanTrainer) -> None:
        within = trainer.state.iteration % trainer.state.epoch_length
        # an epoch's end is saved after its validation; the gradients inside an accumulated step are not saved
        due = self.termination.asked or trainer.state.iteration % self.every_iterations == 0
        if due and within and within % trainer.accumulation_steps == 0:
            self.save(trainer)
            self.termination.end(trainer)

    def _files(self) -> list[Path]:
        return sorted(self.directory.glob("checkpoint_*.pt"), reverse=True)

    @staticmethod
    def _parts(trainer: GanTrainer) -> dict[str, Any]:
        parts = {
            "network": trainer.network,
            "optimizer": trainer.optimizer,
            "generator_scaler": trainer.generator_scaler,
            "discriminator": trainer.discriminator,
            "discriminator_optimizer": trainer.discriminator_optimizer,
            "discriminator_scaler": trainer.discriminator_scaler,
            "ema": trainer.ema,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _state(self, trainer: GanTrainer) -> dict[str, Any]:
        best = None
        if self.validator is not None:
            best = {"metric": float(self.validator.state.best_metric), "epoch": self.validator.state.best_metric_epoch}
        return {
            "iteration": trainer.state.iteration,
            "epoch_length": trainer.state.epoch_length,
            "discriminator_step_count": trainer.discriminator_step_count,
            "best": best,
            "kept": {name: getattr(trainer.state, name) for name in trainer.state_dict_user_keys},
            "random": _random_states(),
            **{name: part.state_dict() for name, part in self._parts(trainer).items()},
        }

    def _load(self, trainer: GanTrainer, state: dict[str, Any], path: Path) -> None:
        length = trainer.state.epoch_length
        if state["epoch_length"] != length:
            raise ValueError(
                f"{path}: expected {length} iterations per epoch, got {state['epoch_length']}: the data set or the "
                "batch size changed; go on with the old ones, or choose another output_dir"
            )
        parts = self._parts(trainer)
        differing = [name for name in parts if name not in state]
        try:
            for name in parts.keys() - differing:
                parts[name].load_state_dict(state[name])
        except (RuntimeError, ValueError) as error:
            raise ValueError(_mismatch(path, error)) from error
        if differing:
            raise ValueError(f"{path}: holds no {', '.join(differing)}; choose another output_dir for it")
        trainer.discriminator_step_count = state["discriminator_step_count"]
        trainer.state.iteration = state["iteration"]
        trainer.state.epoch = state["iteration"] // length
        loader: Any = trainer.data_loader
        if isinstance(getattr(loader, "sampler", None), ResumableSampler):
            loader.sampler.skip((state["iteration"] % length) * loader.batch_size)
        if self.validator is not None and state["best"] is not None:
            self.validator.state.best_metric = state["best"]["metric"]
            self.validator.state.best_metric_epoch = state["best"]["epoch"]
        for name in trainer.state_dict_user_keys:
            if name in state.get("kept", {}):  # else it is new to this training
                setattr(trainer.state, name, state["kept"][name])
        _set_random_states(state["random"])


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load a plain state dict, in place; half precision on disk becomes the network's own.

    Args:
        network: receives the weights.
        path: ``.pt`` file.

    Returns:
        the network.

    Raises:
        FileNotFoundError: without such a file.
        ValueError: if the file is damaged, holds more than weights, or belongs to another network.
    """
    path, state = Path(path), read_weights(path)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(_mismatch(path, error)) from None
    return network


def _mismatch(path: Path, error: Exception) -> str:
    detail = " ".join(str(error).split())
    shown = detail if len(detail) < 300 else detail[:300] + " ..."
    return f"{path}: does not fit this configuration; use the width it was trained with, or another file ({shown})"


def _random_states() -> dict[str, Any]:
    numpy_state: Any = np.random.get_state()
    _, keys, position, has_gauss, cached = numpy_state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "python": random.getstate(),
    }


def _set_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"].cpu())
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
    keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state(("MT19937", keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    random.setstate(states["python"])
