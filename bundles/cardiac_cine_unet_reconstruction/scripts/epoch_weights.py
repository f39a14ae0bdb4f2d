"""Handler that keeps the weights of each validation, named after its metric."""

from __future__ import annotations

from pathlib import Path

from common.handlers import save_weights
from ignite.engine import Events
from monai.engines.workflow import Workflow
from torch import nn


class EpochWeights:
    """Writes a plain state dict after every validation: ``epoch_007_ssim_0.8931.pt``.

    The file of an epoch that is trained again, after a kill for instance, replaces that of before.

    Args:
        network: network whose weights are kept, commonly the moving average.
        directory: folder of the files; made if need be.
        metric: name of one of the evaluator's metrics; four digits of it are in the name.
        half: True stores floating-point weights as float16, half the size.

    Raises:
        ValueError: at the first validation, if the metric is not one.
    """

    def __init__(self, network: nn.Module, directory: str | Path, metric: str = "ssim", half: bool = False) -> None:
        self.network = network
        self.directory = Path(directory)
        self.metric = metric
        self.half = half

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator that a training validates with; only the first process of a group writes."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Workflow) -> None:
        """Write the weights of this validation."""
        value = validated(engine, self.metric)
        if engine.state.rank != 0:
            return
        path = self.directory / f"epoch_{engine.state.epoch:03d}_{self.metric}_{value:#.4g}.pt"
        save_weights(self.network, path, self.half)
        for old in self.directory.glob(f"epoch_{engine.state.epoch:03d}_{self.metric}_*.pt"):
            if old != path:
                old.unlink()


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
