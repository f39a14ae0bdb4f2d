"""State of a training on disk: written atomically, restored exactly."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from common.data.loading import ResumableSampler
from common.engines.folder_lock import folder_lock
from common.engines.gan_trainer import GanTrainer
from common.engines.termination import Termination
from common.errors import DataError, require_at_least
from common.io.atomic import remove_temporaries
from common.io.torch_file import DamagedFileError, load_torch, save_torch
from common.networks.weights import read_weights
from ignite.engine import Events
from monai.engines.workflow import Workflow
from torch import nn

logger = logging.getLogger("recon")
_FIELDS = {"iteration", "epoch_length", "discriminator_step_count", "best", "kept", "random"}


class TrainingCheckpoint:
    """Saves all that a :class:`~common.engines.gan_trainer.GanTrainer` needs to go on as if never stopped.

    Networks, moving average, optimisers, loss scalers, random states, iteration, the validator's best metric, and what
    handlers keep in ``trainer.state`` under names they add to Ignite's ``trainer.state_dict_user_keys`` (numbers,
    strings, tensors, containers of them). A damaged newest file falls back to the one before, with a warning, and older
    files are removed only when a newer one has been read back. At SIGTERM or Ctrl-C the trainer finishes its iteration,
    in the last one of an epoch the validation too, saves, and ends the process.

    Args:
        directory: folder of the files ``checkpoint_<iteration>.pt``, of one training at a time.
        every_iterations: interval within an epoch; an epoch's end is always saved.
        keep: number of newest files kept.
        validator: MONAI evaluator whose ``best_metric`` is kept, or ``None``.
        weights_dir: folder of the weights that the training writes, of one training at a time too.

    Raises:
        ValueError: for an interval or a number of files below 1.
    """

    def __init__(
        self,
        directory: str | Path,
        every_iterations: int = 500,
        keep: int = 2,
        validator: Workflow | None = None,
        weights_dir: str | Path | None = None,
    ) -> None:
        require_at_least(1, every_iterations=every_iterations, keep=keep)
        self.directory = Path(directory)
        self.every_iterations = every_iterations
        self.keep = keep
        self.validator = validator
        self.folders = {self.directory.resolve(), Path(directory if weights_dir is None else weights_dir).resolve()}
        self.termination = Termination()

    @contextmanager
    def running(self) -> Iterator[Termination]:
        """Open the context of a training: it has its folders for itself, and ends at a signal when its state is saved.

        Raises:
            DataError: if another training has one of the folders, or it cannot be written.
        """
        if dist.is_available() and dist.is_initialized() and dist.get_rank() > 0:
            yield self.termination
            return
        with ExitStack() as stack:
            for folder in sorted(self.folders):
                stack.enter_context(folder_lock(folder))
            stack.enter_context(self.termination)
            remove_temporaries(self.directory, "checkpoint_*.pt")
            yield self.termination

    def attach(self, trainer: GanTrainer) -> None:
        """Save at intervals and at the end of epochs; attach after the handlers whose effect is to be kept."""
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._save_within_epoch)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.termination.end)

    def save(self, trainer: GanTrainer) -> None:
        """Write the present state and remove old ones; in a group of processes the first one writes.

        Raises:
            DataError: if it cannot be written, or is not read back as it was written; older files stay then.
        """
        if trainer.state.rank != 0:
            return
        path = self.directory / f"checkpoint_{trainer.state.iteration:09d}.pt"
        save_torch(self._state(trainer), path)
        load_torch(path)
        files = self._files()
        now = files.index(path)
        for old in (*files[:now], *files[now + self.keep :]):  # what seems newer was damaged, or not restored
            old.unlink()

    def restore(self, trainer: GanTrainer) -> bool:
        """Load the newest state that is not damaged into a trainer.

        Returns:
            True if there is a checkpoint.

        Raises:
            DataError: if all checkpoints are damaged, or one is no state of a training.
            ValueError: if the state belongs to another network, data set size or batch size.
        """
        files = self._files()
        for path in files:
            try:
                state = load_torch(path)
            except DamagedFileError:
                logger.warning(f"{path}: damaged, going back to the one before")
                continue
            self._load(trainer, state, path)
            return True
        if files:
            raise DataError(
                f"{self.directory}: all {len(files)} checkpoints are damaged; bring a copy back, or remove the folder "
                "to train from the beginning, which replaces the weights of before"
            )
        return False

    def _save_within_epoch(self, trainer: GanTrainer) -> None:
        within = trainer.state.iteration % trainer.state.epoch_length
        # an epoch's end is saved after its validation; the gradients inside an accumulated step are not saved
        due = self.termination.asked is not None or trainer.state.iteration % self.every_iterations == 0
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
        if not isinstance(state, dict) or not state.keys() >= _FIELDS:
            raise DataError(f"{path}: expected the state of a training, got another file of torch; remove it")
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
        except torch.OutOfMemoryError:
            raise
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
            if name in state["kept"]:  # else it is new to this training
                setattr(trainer.state, name, state["kept"][name])
        _set_random_states(state["random"])


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load a plain state dict, in place; half precision on disk becomes the network's own.

    Args:
        network: network that receives the weights.
        path: path of a ``.pt`` file.

    Returns:
        the network.

    Raises:
        FileNotFoundError: without such a file.
        DataError: if the file is damaged or holds more than weights.
        ValueError: if it belongs to another network.
    """
    path, state = Path(path), read_weights(path)
    try:
        network.load_state_dict(state)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(_mismatch(path, error)) from None
    return network


def _mismatch(path: Path, error: Exception) -> str:
    detail = " ".join(str(error).split())
    excerpt = detail if len(detail) < 300 else detail[:300] + " ..."
    return f"{path}: does not fit this configuration; use the width it was trained with, or another file ({excerpt})"


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
