"""Ignite handlers that show evaluated cases: as PNG figures, and as images in TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
from common.errors import require_at_least
from common.figures.index import PanelIndex, Place
from common.figures.scales import distant_frames, error_scale_of, moving_row, planes, reference_of, std_scale_of
from common.handlers.cases import MakeCase, cases_of, measured_case, place_of
from common.io.disk import disk_errors
from common.metrics.case import Case, require_slice_protocol
from common.metrics.protocols import get_protocol
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

MAX_CASES = 8
"""Most pictures of a run by default."""


def spread_places(engine: Engine, n: int) -> list[Place]:
    """Return up to `n` cases, spread evenly over the data, whatever part of them this process evaluates.

    Args:
        engine: evaluator whose data set is a list of items with "path" and "slice", or has such a list as `data`.
        n: largest number of cases.
    """
    dataset: Any = cast("DataLoader[Any]", engine.state.dataloader).dataset
    return _spread([place_of(item) for item in getattr(dataset, "data", dataset)], n)


def extreme_places(gains: Mapping[Place, float], n: int) -> list[Place]:
    """Return the `n` cases of the smallest and the `n` of the largest gain; all of them where there are fewer."""
    ordered = sorted(gains, key=lambda place: (gains[place], place))
    return ordered if len(ordered) <= 2 * n else [*ordered[:n], *ordered[len(ordered) - n :]]


class PanelHandler:
    """Draw cases at the end of an evaluation: the best, the worst, and further ones spread evenly over it.

    A figure per case: mask, zero-filled, reconstruction, target and the two error maps, which have one scale in all
    figures; see :func:`common.figures.case_figure`. :class:`common.figures.PanelIndex` names the files and keeps the
    images for a report. Where the output has samples, the reconstruction is their mean; one sample is drawn too, and
    the standard deviation, in a scale of its own that all figures share. See :mod:`common.handlers.cases` for what the
    evaluator's items hold. In a group of processes each draws cases that it has evaluated; the files are those of one
    process.

    Args:
        output_dir: folder of the figures; made if need be.
        max_cases: most figures of a run; None: 8, of cases with a target alone.
        protocol: protocol of the PSNR and SSIM under the panels; not one of volumes.
        n_extremes: number of the best and of the worst cases, by PSNR gain over the baseline, among these; cases whose
            gain is not finite are passed over.
        n_samples: number of samples of the standard deviation, for its heading.
        make: function that makes a case of an item.
        zoom: enlargement of the parts in the second row, see :func:`common.figures.case_figure`.
    """

    def __init__(
        self,
        output_dir: str | Path,
        max_cases: int | None = None,
        protocol: str = "magnitude_slice",
        n_extremes: int = 2,
        n_samples: int | None = None,
        make: MakeCase = measured_case,
        zoom: int = 1,
    ) -> None:
        require_at_least(1, max_cases=1 if max_cases is None else max_cases)
        require_at_least(0, n_extremes=n_extremes)
        self.output_dir = Path(output_dir)
        self.max_cases = MAX_CASES if max_cases is None else max_cases
        self.needs_target = max_cases is None
        self.protocol = require_slice_protocol(get_protocol(protocol))
        self.n_extremes = min(n_extremes, self.max_cases // 2)
        self.n_samples = n_samples
        self.make = make
        self.zoom = zoom
        self._planned: list[Place] = []
        self._gains: dict[Place, float] = {}
        self._cases: dict[Place, Case] = {}

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _start(self, engine: Engine) -> None:
        self._planned, self._gains, self._cases = spread_places(engine, self.max_cases), {}, {}

    def _collect(self, engine: Engine) -> None:
        cases = cases_of(engine, self.make)
        for position, (place, with_target) in enumerate(zip(cases.places, cases.with_target, strict=True)):
            if self.n_extremes and with_target and math.isfinite(gain := cases[position].gain(self.protocol)):
                gains = {**self._gains, place: gain}
                self._gains = {extreme: gains[extreme] for extreme in extreme_places(gains, self.n_extremes)}
            if place in self._gains or (place in self._planned and (with_target or not self.needs_target)):
                self._cases[place] = cases[position].on_cpu()
        wanted = {*self._gains, *self._planned}
        self._cases = {place: case for place, case in self._cases.items() if place in wanted}

    def _draw(self, engine: Engine) -> None:
        parts = _gather((self._gains, list(self._cases)))
        chosen = extreme_places({place: gain for gains, _ in parts for place, gain in gains.items()}, self.n_extremes)
        kept = {place for _, places in parts for place in places}
        further = [place for place in self._planned if place in kept and place not in chosen]
        chosen += _spread(further, max(0, self.max_cases - len(chosen)))
        drawn = [self._cases[place] for place in sorted(chosen) if place in self._cases]
        for case in drawn:
            case.n_samples = self.n_samples
        scales = _gather((error_scale_of(drawn), std_scale_of(drawn)))
        index = PanelIndex.of(chosen, self.protocol.name, *map(max, zip(*scales, strict=True)))
        index.draw(drawn, self.output_dir, self.zoom)
        notes = [*filter(None, _gather(index.notes))]
        if notes and idist.get_rank() == 0:
            index.notes.update(notes[0])
            index.write(self.output_dir)
        self._gains, self._cases = {}, {}  # the images are not needed any more


class TensorBoardPanelHandler:
    """Log, at each validation, a grid of images: mask, zero-filled, reconstruction, target, error times five.

    A row per case, all in the window [0, 1], the same cases each time; of a series one of its two most distant frames,
    and below it a row of pixels over time. The step is the evaluator's epoch, which MONAI's ``ValidationHandler`` sets
    to the trainer's. The first process logs the cases of all.

    Args:
        log_dir: folder of the TensorBoard files; a writer is opened at the first image.
        n_cases: rows of the grid.
        tag: name of the image in TensorBoard.
        make: function that makes a case of an item.
    """

    ERROR_GAIN = 5

    def __init__(
        self,
        log_dir: str | Path,
        n_cases: int = 4,
        tag: str = "validation/mask_zero-filled_reconstruction_target_error-x5",
        make: MakeCase = measured_case,
    ) -> None:
        require_at_least(1, n_cases=n_cases)
        self.log_dir = Path(log_dir)
        self.tag = tag
        self.n_cases = n_cases
        self.make = make
        self._writer: SummaryWriter | None = None
        self._planned: list[Place] = []
        self._rows: dict[Place, list[np.ndarray]] = {}

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._log)

    def close_with(self, trainer: Engine) -> None:
        """Close the file when `trainer` has finished."""
        trainer.add_event_handler(Events.COMPLETED, self.close)

    def close(self) -> None:
        """Close the file; a later validation opens another."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _start(self, engine: Engine) -> None:
        self._planned, self._rows = spread_places(engine, self.n_cases), {}

    def _collect(self, engine: Engine) -> None:
        cases = cases_of(engine, self.make)
        self._rows |= {
            place: self._row(cases[position]) for position, place in enumerate(cases.places) if place in self._planned
        }

    def _row(self, case: Case) -> list[np.ndarray]:
        images = planes(_finite(case))
        images.pop("std", None)
        reconstruction = images[case.reconstruction]
        reference = reference_of(case, images)
        target = images.setdefault("target", np.zeros_like(reconstruction))
        error = self.ERROR_GAIN * np.abs(reconstruction - target) if case.target is not None else target
        panels = [*images.values(), error]
        if case.series:
            frame, row = distant_frames(reference)[-1], moving_row(reference)
            panels = [_frame_over_profile(panel, frame, row) for panel in panels]
        return [panel.clip(0, 1) for panel in panels]

    def _log(self, engine: Engine) -> None:
        rows = {place: row for part in _gather(self._rows) for place, row in part.items()}
        if not rows or idist.get_rank() > 0:
            return
        with disk_errors(self.log_dir):
            if self._writer is None:
                self._writer = SummaryWriter(str(self.log_dir))
            grid = _grid([rows[place] for place in self._planned if place in rows])
            self._writer.add_image(self.tag, grid, engine.state.epoch, dataformats="HW")
            self._writer.flush()


def _finite(case: Case) -> Case:
    """The case with 0 where a method is not finite: a training that fails is still to be seen."""
    case = case.on_cpu()
    case.methods = {name: image.nan_to_num(0.0) for name, image in case.methods.items()}
    return case


def _frame_over_profile(series: np.ndarray, frame: int, row: int) -> np.ndarray:
    """A frame ``(height, width)``, and below it a row of its pixels over time, downwards and about half as high."""
    height, _, n_frames = series.shape
    profile = series[row].T.repeat(max(1, round(height / 2 / n_frames)), axis=0)
    return np.concatenate([series[..., frame], profile])


def _spread(places: Sequence[Place], n: int) -> list[Place]:
    n = min(n, len(places))
    return [places[number * len(places) // n] for number in range(n)]


def _gather(item: Any) -> list[Any]:
    """The item of each process, by rank."""
    return cast("list[Any]", idist.all_gather(item))


def _grid(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Panels in rows and columns, two pixels apart; smaller ones are padded to the largest."""
    height, width = (max(panel.shape[axis] for row in rows for panel in row) + 2 for axis in (0, 1))
    return np.vstack(
        [
            np.hstack([np.pad(panel, ((0, height - panel.shape[0]), (0, width - panel.shape[1]))) for panel in row])
            for row in rows
        ]
    )
