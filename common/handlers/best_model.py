"""Handler that keeps the weights of the best validation."""

from pathlib import Path

from common.io.atomic import remove_temporaries
from common.io.torch_file import save_torch
from ignite.engine import Events
from monai.engines.workflow import Workflow
from torch import nn


class BestModel:
    """Writes a plain state dict whenever a MONAI evaluator's key metric is the best so far.

    The best metric itself lives in the evaluator and is restored by
    :class:`~common.engines.checkpoint.TrainingCheckpoint`, so a resumed training does not overwrite a better model.

    Args:
        network: network whose weights are kept, commonly the moving average.
        path: file, replaced atomically.
        half: True stores floating-point weights as float16, half the size; ``load_state_dict`` takes them back.
    """

    def __init__(self, network: nn.Module, path: str | Path, half: bool = False) -> None:
        self.network = network
        self.path = Path(path)
        self.half = half

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator that has a key metric."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Workflow) -> None:
        """Write, if this was the best validation and this the first process."""
        if engine.state.rank == 0 and engine.state.best_metric_epoch == engine.state.epoch:
            save_weights(self.network, self.path, half=self.half)


def save_weights(network: nn.Module, path: str | Path, half: bool = False) -> None:
    """Write a network's state dict atomically; ``half`` stores floating-point weights as float16."""
    state = {
        name: (value.half() if half and value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    remove_temporaries(Path(path).parent, Path(path).name)
    save_torch(state, path)
