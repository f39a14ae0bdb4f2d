"""Ignite handler: the ejection fraction of each simulated heart, measured in its reconstruction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from common.errors import DataError, file_errors
from common.handlers.cases import cases_of, measured_case
from common.handlers.volume_report import VolumeReport
from common.metrics.case import Case
from ignite.engine import Events
from monai.engines.workflow import Workflow
from numpy.typing import NDArray
from scripts.ejection_fraction import ejection_fraction, pool_areas_mm2, segment_blood_pool

FloatArray = NDArray[np.float64]

PROTOCOL = "ejection_fraction"
SIMULATOR, TRUTH, ALIASED, RECONSTRUCTION = "simulator", "truth", "aliased", "reconstruction"


class Contour(NamedTuple):
    """Known contour of the left ventricle in one slice of a simulated heart.

    Attributes:
        area_mm2: area of the left ventricle's blood pool, ``(frames,)``.
        center_px: row and column of its centre, ``(frames, 2)``.
        pixel_size_mm: side of a pixel, or height and width; 1 where the file does not say.
    """

    area_mm2: FloatArray
    center_px: FloatArray
    pixel_size_mm: float | FloatArray


class EjectionFractionReport(VolumeReport):
    """Write the ejection fraction of each simulated heart: known, and segmented in three images.

    ``ejection_fraction.csv`` has a row per file and method: ``simulator``, from the known areas; ``truth``, segmented
    in the true series, whose error is the segmentation's own; ``aliased``, in the network's input; ``view_shared``,
    where that is measured k-space, in what can be had of it without a network; ``reconstruction``. The columns are the
    fraction (none where it cannot be measured), its error, that is its difference from the simulator's, and the part of
    frames without a plausible pool, ``frames_missed``. All methods take the slices that were evaluated. The centre of
    the pool is the simulator's for all, so that finding the heart is no part of the task. See
    :mod:`scripts.ejection_fraction`.

    For an evaluator that decollates: per item, ``engine.state.output`` has "image" (aliased magnitudes
    ``(1, height, width, frames)``, or the measurement, see :func:`~common.metrics.series_without_network`), "pred" and
    "label" ``(1 or 2, height, width, frames)``, label perhaps None; ``engine.state.batch`` has "path" and "slice".
    Files without the data sets ``lv_area_mm2`` and ``lv_center_px`` are passed over.

    Args:
        output_dir: folder of the file; made if need be.
        filename: name of the file. Not written where no heart is a simulated one.
    """

    def __init__(self, output_dir: str | Path, filename: str = "ejection_fraction.csv") -> None:
        super().__init__(output_dir, filename)
        self._areas: dict[str, dict[int, dict[str, FloatArray]]] = {}

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator."""
        super().attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)

    def _start(self, engine: Workflow) -> None:
        self._areas = {}

    def _collect(self, engine: Workflow) -> None:
        cases = cases_of(engine, measured_case)
        for position, where in enumerate(engine.state.batch):
            path, index = str(where["path"]), int(where["slice"])
            contour = read_contour(path, index)
            if contour is not None:
                self._areas.setdefault(path, {})[index] = _slice_areas(cases[position], contour)

    def _rows(self) -> list[dict[str, Any]]:
        return [row for path, slices in self._areas.items() for row in _heart_rows(path, slices.values())]

    def _line(self, rows: list[dict[str, Any]]) -> str:
        if not rows:
            return f"ejection fraction: no simulated heart among the files, so {self.path.name} is not written"
        methods = [method for method in dict.fromkeys(row["method"] for row in rows) if method != SIMULATOR]
        errors = "; ".join(f"{method} {_mean_error(rows, method)}" for method in reversed(methods))
        n = len({row["file"] for row in rows})
        return f"ejection fraction: mean absolute error over {n} hearts in points: {errors} ({self.path})"


def read_contour(path: str | Path, index: int) -> Contour | None:
    """Read the known contour of the left ventricle in a slice; None if the file is not one of the simulator.

    Raises:
        DataError: the data sets are there, and not of this slice or not of one length.
    """
    path = Path(path)
    if not (path.is_file() and h5py.is_hdf5(path)):
        return None
    with file_errors(path, "a simulated heart"), h5py.File(path, "r") as file:
        if "lv_area_mm2" not in file or "lv_center_px" not in file:
            return None
        areas, centers = (np.asarray(file[name], np.float64) for name in ("lv_area_mm2", "lv_center_px"))
        size = file.attrs.get("pixel_size_mm", 1.0)
    if areas.ndim != 2 or centers.shape != (*areas.shape, 2) or not 0 <= index < len(areas):
        raise DataError(
            f"{path}: expected lv_area_mm2 [slices, frames] and lv_center_px [slices, frames, 2] with slice {index}, "
            f"got {list(areas.shape)} and {list(centers.shape)}; make the data set again"
        )
    return Contour(areas[index], centers[index], np.asarray(size, np.float64))


def _slice_areas(case: Case, contour: Contour) -> dict[str, FloatArray]:
    """Method to areas ``(frames,)`` in mm2, NaN where there is no pool."""
    areas = {SIMULATOR: contour.area_mm2}
    truth = {} if case.target is None else {TRUTH: case.target}
    for method, series in {**truth, **case.methods}.items():
        if series.shape[-1] != len(contour.area_mm2):
            raise DataError(
                f"{case.path}: expected {len(contour.area_mm2)} frames, as lv_area_mm2 has, got {series.shape[-1]} in "
                f"the series ({method}); evaluate whole series"
            )
        pools = segment_blood_pool(series.cpu().numpy(), contour.center_px)
        areas[method] = pool_areas_mm2(pools, contour.pixel_size_mm)
    return areas


def _heart_rows(path: str, slices: Iterable[Mapping[str, FloatArray]]) -> list[dict[str, Any]]:
    parts = list(slices)
    shared = [method for method in parts[0] if all(method in part for part in parts)]
    areas = {method: np.stack([part[method] for part in parts]) for method in shared}
    known = ejection_fraction(areas[SIMULATOR])
    rows = []
    for method, values in areas.items():
        found = ejection_fraction(values)
        measured = {} if math.isnan(found) else {"ejection_fraction": found, "error": found - known}
        missed = float(np.isnan(values).mean())
        rows.append({"protocol": PROTOCOL, "file": path, "method": method, **measured, "frames_missed": missed})
    return rows


def _mean_error(rows: list[dict[str, Any]], method: str) -> str:
    of_method = [row for row in rows if row["method"] == method]
    measured = [abs(values["error"]) for values in of_method if "error" in values]
    missed = f" ({len(of_method) - len(measured)} not measured)" if len(measured) < len(of_method) else ""
    return f"{100 * np.mean(measured):.1f}{missed}" if measured else "not measured"
