"""Handler that keeps the weights of each validation, named after its metric."""

from __future__ import annotations

import math
import re
from pathlib import Path

from common.handlers.best_model import save_weights
from ignite.engine import Events
from monai.engines.workflow import Workflow
from torch import nn


class EpochWeights:
    """Writes a plain state dict after every validation: ``epoch_007_ssim_0.8931.pt``.

    The file of an epoch that is trained again, after a kill say, replaces that of before. What is best is read from
    the names of the files, so a resumed training keeps count.

    Args:
        network: network whose weights are kept, commonly the moving average.
        directory: folder of the files; made if need be.
        metric: name among the evaluator's metrics; four digits of it are in the name.
        keep: number of files kept, the best by the metric, of equal ones the earlier; ``None`` keeps all.
        half: store floating-point weights as float16, half the size.
        lower_is_better: for an error, such as ``mse``.

    Raises:
        ValueError: for ``keep`` below 1; at the first validation, if the metric is not one.
    """

    def __init__(
        self,
        network: nn.Module,
        directory: str | Path,
        metric: str = "ssim",
        keep: int | None = None,
        half: bool = False,
        lower_is_better: bool = False,
    ) -> None:
        if keep is not None and keep < 1:
            raise ValueError(f"keep must be 1 or more, or None for all epochs, got {keep}")
        self.network = network
        self.directory = Path(directory)
        self.metric = metric
        self.keep = keep
        self.half = half
        self.lower_is_better = lower_is_better

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator that a training validates with; only the first process of a group writes."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Workflow) -> None:
        """Write the weights of this validation, and drop those that are not among the best."""
        value = validated(engine, self.metric)
        if engine.state.rank != 0:
            return
        path = self.directory / f"epoch_{engine.state.epoch:03d}_{self.metric}_{value:#.4g}.pt"
        save_weights(self.network, path, self.half)
        for old in self.directory.glob(f"epoch_{engine.state.epoch:03d}_{self.metric}_*.pt"):
            if old != path:
                old.unlink()
        if self.keep is not None:
            for worse in self.ranked()[self.keep :]:
                worse.unlink()

    def ranked(self) -> list[Path]:
        """Return the files there are, best first."""
        name = re.compile(rf"epoch_(\d+)_{re.escape(self.metric)}_(.+)\.pt")
        found = [(match, path) for path in self.directory.iterdir() if (match := name.fullmatch(path.name))]

        def rank(entry: tuple[re.Match[str], Path]) -> tuple[float, int]:
            epoch, value = int(entry[0][1]), float(entry[0][2])
            loss = value if self.lower_is_better else -value
            return math.inf if math.isnan(loss) else loss, epoch

        return [path for _, path in sorted(found, key=rank)]


def validated(engine: Workflow, metric: str) -> float:
    """Return a metric of the validation just run.

    Raises:
        ValueError: if the evaluator has no such metric.
    """
    if metric not in engine.state.metrics:
        raise ValueError(
            f"expected a metric of the validation ({', '.join(map(str, engine.state.metrics)) or 'it has none'}), got "
            f"{metric!r}; add it to the evaluator's metrics, or name another"
        )
    return float(engine.state.metrics[metric])
