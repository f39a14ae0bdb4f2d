"""Ignite handler: residual of reconstructions to the measured k-space, volume by volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from common.handlers.volume_report import VolumeReport
from common.metrics.kspace_residual import kspace_residual
from common.metrics.protocol_metric import image_from_channels
from common.operators.samples import N_CHANNELS, split_samples
from monai.engines.utils import IterationEvents
from monai.engines.workflow import Workflow
from torch import Tensor


class KspaceResidualReport(VolumeReport):
    """Write the relative residual ``|M F S x - y| / |y|`` of reconstructions, and of samples where there are some.

    The largest and the mean over the slices of a volume, or the series of a file, rows "reconstruction" (of samples:
    their mean) and "sample" of ``kspace_residual.csv``. See :func:`common.metrics.kspace_residual.kspace_residual`.

    Images are taken as the network leaves them, before postprocessing, which may crop them: "image" of the evaluator's
    output is the measurement, "pred" real and imaginary part, or what a
    :class:`~common.inferers.SamplingInferer` gives. Networks of magnitudes, whose input has one channel, are left out.
    The residuals of an item are put into the output as "kspace_residual" ``(1 or 2,)``.

    Args:
        output_dir: folder of the file; made if need be.
        filename: name of the file.
    """

    def __init__(self, output_dir: str | Path, filename: str = "kspace_residual.csv") -> None:
        super().__init__(output_dir, filename)
        self._values: dict[str, list[list[float]]] = {}

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator."""
        super().attach(engine)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._measure)

    def _start(self, engine: Workflow) -> None:
        self._values = {}

    def _measure(self, engine: Workflow) -> None:
        output = engine.state.output
        pred = output["pred"].as_subclass(Tensor)
        mean_std_sample = split_samples(pred) if pred.shape[1] == N_CHANNELS else (pred,)
        measurement = output["image"].as_subclass(Tensor)
        if measurement.shape[1] == 1:
            return
        residuals = [kspace_residual(image_from_channels(one), measurement) for one in mean_std_sample[::2]]
        output["kspace_residual"] = torch.stack(residuals, dim=1)
        for path, values in zip(engine.state.batch["path"], output["kspace_residual"].tolist(), strict=True):
            self._values.setdefault(str(path), []).append(values)

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for path, slices in self._values.items():
            for method, values in zip(("reconstruction", "sample"), zip(*slices, strict=True), strict=False):
                columns = {"max": max(values), "mean": sum(values) / len(values), "n_slices": float(len(values))}
                rows.append({"protocol": "kspace_residual", "file": path, "method": method, **columns})
        return rows

    def _line(self, rows: list[dict[str, Any]]) -> str:
        if not rows:
            return f"no reconstruction of measured k-space, so {self.path.name} is not written"
        parts = []
        for method in dict.fromkeys(row["method"] for row in rows):
            values = [row for row in rows if row["method"] == method]
            n_slices = sum(one["n_slices"] for one in values)
            mean = sum(one["mean"] * one["n_slices"] for one in values) / n_slices
            parts.append(f"{method} at most {max(one['max'] for one in values):.2g}, mean {mean:.2g}")
        n_volumes = len({row["file"] for row in rows})
        return f"k-space residual |M F S x - y| / |y| over {n_volumes} files: {'; '.join(parts)} ({self.path})"
