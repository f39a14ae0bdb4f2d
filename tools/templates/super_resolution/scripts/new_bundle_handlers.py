"""Handler: what an inference writes."""

import logging
from pathlib import Path
from typing import Any

from common.data import VolumeAssembler, open_slices, write_volume
from common.io import split_suffix
from ignite.engine import Events
from monai.engines.workflow import Workflow

logger = logging.getLogger("recon")


class SaveSuperResolved:
    """Writes each file as ``<stem>_x<upscale><suffix>``, in stored units, once its last slice has come.

    Args:
        output_dir: where the files go; made if need be.
        upscale: ratio of the sizes.
        options: of :func:`common.data.open_slices`, as the data was read.
    """

    def __init__(self, output_dir: str | Path, upscale: int, **options: Any) -> None:
        self.output_dir = Path(output_dir)
        self.upscale = upscale
        self.options = options
        self._volumes = VolumeAssembler()

    def attach(self, engine: Workflow) -> None:
        """Register on an evaluator that decollates."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _add_batch(self, engine: Workflow) -> None:
        for where, images in zip(engine.state.batch, engine.state.output, strict=True):
            path, image = Path(where["path"]), images["pred"][0].cpu().numpy()
            volume = self._volumes.add(path, int(where["slice"]), int(where["n_slices"]), image)
            if volume is not None:
                stem, suffix = split_suffix(path)
                output = self.output_dir / f"{stem}_x{self.upscale}{suffix}"
                write_volume(volume, open_slices(path, **self.options), output, upscale=self.upscale)

    def _finish(self, engine: Workflow) -> None:
        self._volumes.finish()
        logger.info(f"enlarged images are in {self.output_dir}")
