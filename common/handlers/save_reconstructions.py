"""Ignite handler that writes reconstructions file by file, in the format of the input."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common.data.reader import SliceReader, open_slices
from common.data.writers import output_path, write_volume
from common.handlers.volume_parts import VolumeParts
from common.metrics.protocol_metric import image_from_channels
from ignite.engine import Events
from monai.engines.workflow import Workflow

logger = logging.getLogger("recon")


class SaveReconstructions:
    """Collects slices to volumes and writes each as ``<stem>_recon<suffix>`` once its last slice has come.

    For an evaluator that decollates: per item ``engine.state.output`` has "pred" (real, imaginary), and
    ``engine.state.batch`` has "path", "slice" and "n_slices". Magnitudes are written, in stored units, with the
    geometry of the input; see :func:`common.data.writers.write_volume`.

    Args:
        output_dir: folder of the files; made if need be.
        options: those of :func:`common.data.reader.open_slices` that the data was read with.
    """

    def __init__(self, output_dir: str | Path, **options: Any) -> None:
        self.output_dir = Path(output_dir)
        self.options = options
        self._volumes = VolumeParts()

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Workflow) -> None:
        self._volumes = VolumeParts()

    def _add_batch(self, engine: Workflow) -> None:
        for where, images in zip(engine.state.batch, engine.state.output, strict=True):
            path = Path(where["path"])
            volumes = self._volumes.add(path, int(where["slice"]), int(where["n_slices"]), self._images(images))
            if volumes:
                self.output_dir.mkdir(parents=True, exist_ok=True)
                self._write(open_slices(path, **self.options), volumes)

    def _images(self, images: dict[str, Any]) -> dict[str, np.ndarray]:
        """Images ``[height, width]`` of an item of the output to keep, by name."""
        return {"reconstruction": magnitude_array(images["pred"])}

    def _write(self, like: SliceReader, volumes: dict[str, np.ndarray]) -> None:
        """Write the volumes of a file, by the names of their slices."""
        write_volume(volumes["reconstruction"], like, output_path(like.path, self.output_dir))

    def _finish(self, engine: Workflow) -> None:
        self._volumes.finish()
        if engine.state.rank == 0:
            logger.info(f"reconstructions are in {self.output_dir}")


def magnitude_array(channels: torch.Tensor) -> np.ndarray:
    """Magnitude ``[height, width]`` of network channels ``(2 or 1, height, width)``."""
    return image_from_channels(channels[None])[0].abs().cpu().numpy()
