"""Writes what an evaluator reconstructs, file by file, in the format that came in."""

import logging
from pathlib import Path
from typing import Any

from ignite.engine import Events
from monai.engines.workflow import Workflow

from common.data.assembler import VolumeAssembler
from common.data.readers import open_slices
from common.data.writers import output_path, write_volume
from common.metrics.protocol_metric import image_from_channels

logger = logging.getLogger("recon")


class SaveReconstructions:
    """Collects slices to volumes and writes each as ``<stem>_recon<suffix>`` once its last slice has come.

    For an evaluator that decollates: per item ``engine.state.output`` has "pred" (real, imaginary), and
    ``engine.state.batch`` has "path", "slice" and "n_slices". Magnitudes are written, in stored units, with the
    geometry of the input; see :func:`common.data.writers.write_volume`.

    Args:
        output_dir: where the files go; made if need be.
        options: of :func:`common.data.readers.open_slices`, as the data was read.
    """

    def __init__(self, output_dir: str | Path, **options: Any) -> None:
        self.output_dir = Path(output_dir)
        self.options = options
        self._volumes = VolumeAssembler()

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Workflow) -> None:
        self._volumes = VolumeAssembler()

    def _add_batch(self, engine: Workflow) -> None:
        for where, images in zip(engine.state.batch, engine.state.output, strict=True):
            magnitude = image_from_channels(images["pred"][None])[0].abs().cpu().numpy()
            path = Path(where["path"])
            volume = self._volumes.add(path, int(where["slice"]), int(where["n_slices"]), magnitude)
            if volume is not None:
                self.output_dir.mkdir(parents=True, exist_ok=True)
                write_volume(volume, open_slices(path, **self.options), output_path(path, self.output_dir))

    def _finish(self, engine: Workflow) -> None:
        self._volumes.finish()
        if engine.state.rank == 0:
            logger.info(f"reconstructions are in {self.output_dir}")
