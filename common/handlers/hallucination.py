"""Ignite handler: whether the spread of samples shows where a reconstruction is wrong, volume by volume."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from ignite.engine import Events
from monai.engines.workflow import Workflow

from common.handlers.save_reconstructions import magnitude_array
from common.handlers.volume_parts import VolumeParts
from common.handlers.volume_report import VolumeReport
from common.metrics.calibration import rank_correlation, tissue_mask
from common.metrics.report import CaseRow


class HallucinationReport(VolumeReport):
    """Write how well the standard deviation of samples ranks the true error, over the tissue of each volume.

    ``hallucination.csv`` has Spearman's rank correlation of the standard deviation and the error
    ``||mean| - |target||`` of all tissue pixels of a volume; means of both over these pixels, in image units: a
    deviation much below the error claims too much certainty; and the fraction of pixels that count as tissue. See
    :mod:`common.metrics.calibration`.

    For an evaluator that decollates: per item, ``engine.state.output`` has "pred" and "label" (real, imaginary) and
    "std" ``(1, height, width)``, see :class:`~common.transforms.SplitSamplesd`; ``engine.state.batch`` has "path",
    "slice" and "n_slices". Items without "std" or label are left out.

    Args:
        output_dir: where the file goes; made if need be.
        filename: of the file.
    """

    def __init__(self, output_dir: str | Path, filename: str = "hallucination.csv") -> None:
        super().__init__(output_dir, filename)
        self._volumes = VolumeParts()
        self._done: list[CaseRow] = []

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator."""
        super().attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)

    def _start(self, engine: Workflow) -> None:
        self._volumes = VolumeParts()
        self._done = []

    def _collect(self, engine: Workflow) -> None:
        for where, images in zip(engine.state.batch, engine.state.output, strict=True):
            if images.get("std") is None or images.get("label") is None:
                continue
            target = magnitude_array(images["label"])
            parts = {
                "target": target,
                "error": np.abs(magnitude_array(images["pred"]) - target),
                "std": magnitude_array(images["std"]),
            }
            volumes = self._volumes.add(where["path"], int(where["slice"]), int(where["n_slices"]), parts)
            if volumes:
                self._done.append(_row(str(where["path"]), **volumes))

    def _rows(self) -> list[CaseRow]:
        self._volumes.finish()
        return self._done

    def _line(self, rows: list[CaseRow]) -> str:
        values = [row.values["spearman"] for row in rows if not math.isnan(row.values["spearman"])]
        if not values:
            return (
                "hallucination map: not judged, since no volume has a target, tissue and samples that differ"
                f"{'' if rows else f', so {self.path.name} is not written'}"
            )
        return (
            "hallucination map: Spearman correlation of standard deviation and error over tissue "
            f"{np.mean(values):.3f} on average, {min(values):.3f} to {max(values):.3f} over {len(values)} volumes "
            f"({self.path})"
        )


def _row(path: str, target: np.ndarray, error: np.ndarray, std: np.ndarray) -> CaseRow:
    tissue = tissue_mask(target)
    values = {
        "spearman": rank_correlation(std, error, tissue),
        "mean_std": float(std[tissue].mean()) if tissue.any() else math.nan,
        "mean_error": float(error[tissue].mean()) if tissue.any() else math.nan,
        "tissue_fraction": float(tissue.mean()),
    }
    return CaseRow("tissue", path, None, "reconstruction", values)
