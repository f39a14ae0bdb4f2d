"""Ignite handler: rank correlation of the deviation of samples and the error of a reconstruction, by volume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from common.handlers.save_reconstructions import magnitude_array
from common.handlers.volume_parts import VolumeParts
from common.handlers.volume_report import VolumeReport
from common.metrics.protocol_metric import image_from_channels
from ignite.engine import Events
from monai.engines.workflow import Workflow
from scripts.calibration import rank_correlation, tissue_mask
from torch import Tensor


class HallucinationReport(VolumeReport):
    """Write how well the deviation of samples from the image ranks its true error, over the tissue of each volume.

    ``hallucination.csv`` has, over all tissue pixels of a volume: Spearman's rank correlation of the deviation and the
    error ``|image - target|``, both of complex images, ``spearman``; the same with the error of the magnitudes,
    ``||image| - |target||``, which is what a picture shows, ``spearman_magnitude``; the mean deviation and the mean
    error (complex) in image units: a deviation much below the error claims too much certainty; and the fraction of
    pixels that count as tissue. Where a volume's target has no phase, ``spearman`` too is that of the magnitudes. See
    :mod:`scripts.calibration`.

    For an evaluator that decollates: per item, ``engine.state.output`` has "pred" and "label" (real, imaginary) and
    "std" ``(1, height, width)``, see :class:`~common.transforms.SplitSamplesd`; ``engine.state.batch`` has "path",
    "slice" and "n_slices". Items without "std" or label are left out.

    Args:
        output_dir: folder of the file; made if need be.
        filename: name of the file.
    """

    def __init__(self, output_dir: str | Path, filename: str = "hallucination.csv") -> None:
        super().__init__(output_dir, filename)
        self._volumes = VolumeParts()
        self._done: list[dict[str, Any]] = []

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
            parts = {name: _complex_array(images[key]) for name, key in (("target", "label"), ("image", "pred"))}
            parts["std"] = magnitude_array(images["std"])
            volumes = self._volumes.add(where["path"], int(where["slice"]), int(where["n_slices"]), parts)
            if volumes:
                self._done.append(_row(str(where["path"]), **volumes))

    def _rows(self) -> list[dict[str, Any]]:
        self._volumes.finish()
        return self._done

    def _line(self, rows: list[dict[str, Any]]) -> str:
        judged = [row for row in rows if not math.isnan(row["spearman"])]
        values = [row["spearman"] for row in judged]
        magnitudes = [row["spearman_magnitude"] for row in judged]
        if not values:
            return (
                "hallucination map: not judged, since no volume has a target, tissue and samples that differ"
                f"{'' if rows else f', so {self.path.name} is not written'}"
            )
        return (
            "hallucination map: Spearman correlation of deviation and error over tissue "
            f"{np.mean(values):.3f} on average, {min(values):.3f} to {max(values):.3f} over {len(values)} volumes; "
            f"error of magnitudes {np.mean(magnitudes):.3f} ({self.path})"
        )


def _row(path: str, target: np.ndarray, image: np.ndarray, std: np.ndarray) -> dict[str, Any]:
    magnitude_error = np.abs(np.abs(image) - np.abs(target))
    error = np.abs(image - target) if target.imag.any() else magnitude_error
    tissue = tissue_mask(np.abs(target))
    values = {
        "spearman": rank_correlation(std, error, tissue),
        "spearman_magnitude": rank_correlation(std, magnitude_error, tissue),
        "mean_std": float(std[tissue].mean()) if tissue.any() else math.nan,
        "mean_error": float(error[tissue].mean()) if tissue.any() else math.nan,
        "tissue_fraction": float(tissue.mean()),
    }
    return {"protocol": "tissue", "file": path, "method": "reconstruction", **values}


def _complex_array(channels: Tensor) -> np.ndarray:
    return image_from_channels(channels[None])[0].cpu().numpy()
