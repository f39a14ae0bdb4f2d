"""Log of a training: a line an epoch, a table, TensorBoard curves, a progress bar on a terminal."""

import csv
import logging
import sys
import time
from pathlib import Path
from typing import Any

from common.engines.gan_trainer import GanTrainer
from common.inferers.progress import duration
from common.io.atomic import atomic_path, remove_temporaries
from common.io.disk import disk_errors
from ignite.engine import Events
from ignite.handlers import ProgressBar
from monai.engines.workflow import Workflow
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger("recon")

_KEPT = "training_log"  # in trainer.state: sum and count of each loss term in the present epoch


class TrainingLog:
    """Logs the mean of every loss term of an epoch, the learning rate, and the metrics of its validation.

    Writes ``history.csv``, a row an epoch, and TensorBoard scalars, and logs a line with the time to go. The sums of an
    unfinished epoch are part of the checkpoint, so that a resumed training writes the table of an uninterrupted one.
    Attach after the handler that validates.

    Args:
        output_dir: folder of ``history.csv`` and the TensorBoard files.
        validator: MONAI evaluator whose metrics belong to the epoch, or ``None``.

    Raises:
        DataError: during the training, if a file cannot be written; DiskFullError if the disk is full.
    """

    def __init__(self, output_dir: str | Path, validator: Workflow | None = None) -> None:
        self.output_dir = Path(output_dir)
        self.validator = validator
        self.rows: list[dict[str, Any]] = []
        self._writer: SummaryWriter | None = None
        self._started = 0.0
        self._epochs_before = 0
        self._validated: dict[str, float] | None = None

    def attach(self, engine: Workflow) -> None:
        """Attach to a :class:`~common.engines.gan_trainer.GanTrainer`; only the first process logs."""
        if engine.state.rank != 0:
            return
        setattr(engine.state, _KEPT, {})
        engine.state_dict_user_keys.append(_KEPT)
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, self._keep_metrics)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)
        engine.add_event_handler(Events.COMPLETED, self._close)
        if sys.stderr.isatty():
            ProgressBar(desc="epoch", persist=False).attach(engine)

    def _start(self, engine: Workflow) -> None:
        self._started = time.monotonic()
        self._epochs_before = engine.state.epoch
        path = self.output_dir / "history.csv"
        if path.is_file():
            with path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= engine.state.epoch]
        remove_temporaries(self.output_dir, path.name)
        with disk_errors(self.output_dir):
            self._writer = SummaryWriter(str(self.output_dir), purge_step=engine.state.epoch + 1)

    def _keep_metrics(self, validator: Workflow) -> None:
        self._validated = {name: value for name, value in validator.state.metrics.items() if isinstance(value, float)}

    def _add(self, engine: Workflow) -> None:
        output, kept = engine.state.output, getattr(engine.state, _KEPT)
        for name, value in (output[0] if isinstance(output, list) else output).items():
            if name.startswith("loss"):
                plain = value.as_subclass(Tensor) if isinstance(value, Tensor) else value
                total, count = kept.get(str(name), (0.0, 0))
                kept[str(name)] = (total + plain, count + 1)

    def _write(self, engine: GanTrainer) -> None:
        losses = {name: float(total) / count for name, (total, count) in getattr(engine.state, _KEPT).items()}
        setattr(engine.state, _KEPT, {})
        metrics, self._validated = self._validated or {}, None
        rate = engine.optimizer.param_groups[0]["lr"]
        row = {"epoch": engine.state.epoch, "phase": engine.phase.name, "learning_rate": rate, **losses, **metrics}
        self.rows.append(row)
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with atomic_path(self.output_dir / "history.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        if self._writer is not None:
            with disk_errors(self.output_dir):
                for name, value in {"learning_rate": rate, **losses}.items():
                    self._writer.add_scalar(f"train/{name}", value, engine.state.epoch)
                for name, value in metrics.items():
                    self._writer.add_scalar(f"validation/{name}", value, engine.state.epoch)
                self._writer.flush()
        logger.info(self._line(engine, losses, metrics))

    def _line(self, engine: GanTrainer, losses: dict[str, float], metrics: dict[str, float]) -> str:
        done, total = engine.state.epoch, engine.state.max_epochs
        to_go = (time.monotonic() - self._started) / (done - self._epochs_before) * (total - done)
        values = "  ".join(f"{name} {value:.4g}" for name, value in {**losses, **metrics}.items())
        return f"epoch {done}/{total} [{engine.phase.name}]  {values}  about {duration(to_go)} to go"

    def _close(self, engine: Workflow) -> None:
        if self._writer is not None:
            self._writer.close()
