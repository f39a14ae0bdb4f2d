"""Handler: what an inference writes."""

import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from ignite.engine import Events
from monai.engines.workflow import Workflow
from monai.transforms.utils import scale_affine

from common.data import SliceReader, VolumeAssembler, atomic_path, open_slices
from common.data.files import split_suffix

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
                with atomic_path(self.output_dir / f"{stem}_x{self.upscale}{suffix}") as temporary:
                    _write(volume, open_slices(path, **self.options), temporary)

    def _finish(self, engine: Workflow) -> None:
        self._volumes.finish()
        logger.info(f"enlarged images are in {self.output_dir}")


def _write(volume: np.ndarray, reader: SliceReader, path: Path) -> None:
    """Write in the format that came; NIfTI with the new spacing, PNG and TIFF with the old pixel density."""
    stored = volume.astype(np.float64) * reader.scale + reader.offset
    if split_suffix(reader.path)[1].lower() not in (".nii", ".nii.gz"):
        reader.stack.write(stored, path)
        return
    source: Any = nibabel.load(reader.path)
    array = np.moveaxis(stored, 0, -1).astype(np.float32)
    old_size = (reader.height, reader.width, reader.n_slices)
    header = source.header.copy()
    header.set_data_dtype(np.float32)
    nibabel.save(type(source)(array, source.affine @ scale_affine(old_size, array.shape), header), path)
