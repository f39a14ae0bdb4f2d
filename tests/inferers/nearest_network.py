"""A network whose result is known for any image, and the run that a bundle makes of it."""

from __future__ import annotations

from pathlib import Path

import torch
from ignite.engine import Events
from monai.data import Dataset
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn

from common.data import find_images
from common.data.loading import evaluation_loader
from common.inferers import FileInferer, prepare_file


class Nearest(nn.Module):
    """Each pixel repeated ``upscale`` times along each axis; it sees nothing beside its pixel."""

    def __init__(self, upscale: int, spatial_dims: int = 2) -> None:
        super().__init__()
        self.upscale = upscale
        self.spatial_dims = spatial_dims

    def halo(self) -> int:
        return 0

    def forward(self, image: Tensor) -> Tensor:
        for axis in range(2, image.ndim):
            image = image.repeat_interleave(self.upscale, axis)
        return image


def enlarge_files(folder: Path, inferer: FileInferer, network: nn.Module, handlers: list | None = None) -> list[Path]:
    """Run what a bundle's ``inference.json`` does."""
    outputs: list[Path] = []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=evaluation_loader(Dataset(find_images(folder))),
        network=network,
        prepare_batch=prepare_file,
        inferer=inferer,
        val_handlers=handlers,
        decollate=False,
    )
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output["pred"]))
    evaluator.run()
    return outputs
