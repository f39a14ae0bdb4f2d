"""Handlers: what an inference and an evaluation write, and the baseline that they measure."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from ignite.engine import Events
from monai.engines.workflow import Workflow
from monai.transforms.utils import scale_affine
from torch import Tensor

from common.data import SliceReader, VolumeAssembler, atomic_path, open_slices
from common.data.files import split_suffix
from common.metrics import MetricTable
from common.operators.degradation import resize

logger = logging.getLogger("recon")


def bicubic_and_label(output: Sequence[Mapping[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """``output_transform`` that measures the baseline: enlarged inputs in place of predictions."""
    labels = [item["label"] for item in output]
    sizes = [label.shape[1:] for label in labels]
    return [resize(item["image"][None], size)[0] for item, size in zip(output, sizes, strict=True)], labels


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
    stored = volume.astype(np.float64) * reader.scale
    if split_suffix(reader.path)[1].lower() not in (".nii", ".nii.gz"):
        reader.stack.write(stored, path)
        return
    source: Any = nibabel.load(reader.path)
    array = np.moveaxis(stored, 0, -1).astype(np.float32)
    old_size = (reader.height, reader.width, reader.n_slices)
    header = source.header.copy()
    header.set_data_dtype(np.float32)
    nibabel.save(type(source)(array, source.affine @ scale_affine(old_size, array.shape), header), path)


class SuperResolutionTable:
    """Write the metrics of every slice, rows ``bicubic`` and ``reconstruction``, and log their table.

    Args:
        output_dir: where ``metrics.csv`` goes; made if need be.
        protocol: name of a per-slice protocol.
    """

    def __init__(self, output_dir: str | Path, protocol: str = "magnitude_slice") -> None:
        self.path = Path(output_dir) / "metrics.csv"
        self.table = MetricTable(protocol)

    def attach(self, engine: Workflow) -> None:
        """Register on an evaluator that decollates, for one run."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _add_batch(self, engine: Workflow) -> None:
        enlarged, labels = bicubic_and_label(engine.state.output)
        for where, images, baseline, label in zip(
            engine.state.batch, engine.state.output, enlarged, labels, strict=True
        ):
            for row, image in (("bicubic", baseline), ("reconstruction", images["pred"])):
                self.table.add(str(where["path"]), int(where["slice"]), row, image[0], label[0])

    def _finish(self, engine: Workflow) -> None:
        self.table.gather()
        if engine.state.rank == 0:
            self.table.write_csv(self.path)
            logger.info(self.table.format())
            logger.info(f"a value per case is in {self.path}")
