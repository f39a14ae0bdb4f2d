"""Ignite handlers that show evaluated cases: as PNG figures, and as images in TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
from common.figures.index import PanelIndex
from common.figures.scales import distant_frames, error_scale_of, moving_row, planes, reference_of, std_scale_of
from common.handlers.cases import MakeCase, cases_of, measured_case
from common.io.disk import disk_errors
from common.metrics.case import Case, require_slice_protocol
from common.metrics.protocols import Protocol, get_protocol
from ignite.engine import Engine, Events
from torch.utils.tensorboard import SummaryWriter

MAX_CASES = 8
"""Most pictures of a run by default."""


class CasePicker:
    """Picks positions of up to `max_cases` items, spread evenly over a run of an evaluator."""

    def __init__(self, max_cases: int) -> None:
        self.max_cases = max_cases
        self._seen = self._picked = 0

    def pick(self, engine: Engine, n_items: int) -> list[int]:
        """Positions of the items of this batch that are to be shown."""
        done = (engine.state.iteration - 1) % (engine.state.epoch_length or 1) + 1
        # the number of all items is known only roughly: batches end with their file
        expected = self._seen + n_items * ((engine.state.epoch_length or 1) - done + 1)
        chosen = []
        for position in range(n_items):
            if self._picked < self.max_cases and self._seen * self.max_cases >= self._picked * expected:
                self._picked += 1
                chosen.append(position)
            self._seen += 1
        return chosen


class ExtremeCases:
    """Keeps the cases with the largest and the smallest PSNR gain of the reconstruction over the baseline.

    Cases without a target, and those whose gain is not finite, are passed over.

    Args:
        n: number of either.
        protocol: protocol of the PSNR.
    """

    def __init__(self, n: int, protocol: Protocol) -> None:
        if n < 0:
            raise ValueError(f"the number of best and worst cases must be 0 or more, got {n}")
        self.n = n
        self.protocol = protocol
        self._cases: list[tuple[float, Case]] = []

    def add(self, case: Case) -> None:
        """Look at a case; it is kept on the CPU."""
        if case.target is None or self.n == 0 or not math.isfinite(gain := case.gain(self.protocol)):
            return
        kept = self._extremes([*self._cases, (gain, case)])
        self._cases = [(value, one.on_cpu() if one is case else one) for value, one in kept]

    def of_all_processes(self) -> list[Case]:
        """Those kept here that are extreme among the cases of all processes; call it on every process."""
        parts = _gather([(gain, _place(case)) for gain, case in self._cases])
        chosen = {place for _, place in self._extremes([entry for part in parts for entry in part])}
        return [case for _, case in self._cases if _place(case) in chosen]

    def _extremes(self, entries: list[tuple[float, Any]]) -> list[tuple[float, Any]]:
        ordered = sorted(entries, key=lambda entry: entry[0])
        return ordered if len(ordered) <= 2 * self.n else [*ordered[: self.n], *ordered[-self.n :]]


class PanelHandler:
    """Draw cases at the end of an evaluation: the best, the worst, and further ones spread evenly over it.

    A figure per case: mask, zero-filled, reconstruction, target and the two error maps, which have one scale in all
    figures; see :func:`common.figures.case_figure`. :class:`common.figures.PanelIndex` names the files and keeps the
    images for a report. Where the output has samples, the reconstruction is their mean; one sample is drawn too, and
    the standard deviation, in a scale of its own that all figures share. See :mod:`common.handlers.cases` for what the
    evaluator's items hold. In a group of processes each draws cases it has evaluated.

    Args:
        output_dir: folder of the figures; made if need be.
        max_cases: most figures per process and run; None: 8, of cases with a target alone.
        protocol: protocol of the PSNR and SSIM under the panels; not one of volumes.
        n_extremes: number of the best and of the worst cases, by PSNR gain over the baseline, among these.
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
        if max_cases is not None and max_cases < 1:
            raise ValueError(f"the number of cases to show must be 1 or more, got {max_cases}; leave the handler out")
        self.output_dir = Path(output_dir)
        self.max_cases = MAX_CASES if max_cases is None else max_cases
        self.needs_target = max_cases is None
        self.protocol = require_slice_protocol(get_protocol(protocol))
        self.n_extremes = min(n_extremes, self.max_cases // 2)
        self.n_samples = n_samples
        self.make = make
        self.zoom = zoom
        self._restart()

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._restart)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _restart(self) -> None:
        self._picker = CasePicker(self.max_cases)
        self._spread: list[Case] = []
        self._extremes = ExtremeCases(self.n_extremes, self.protocol)

    def _collect(self, engine: Engine) -> None:
        cases = cases_of(engine, self.make)
        with_target = cases.with_target
        usable = [position for position, has in enumerate(with_target) if has or not self.needs_target]
        self._spread += [cases[usable[place]].on_cpu() for place in self._picker.pick(engine, len(usable))]
        for position in usable:
            if self.n_extremes and with_target[position]:
                self._extremes.add(cases[position])

    def _draw(self, engine: Engine) -> None:
        chosen = {_place(case): case for case in self._extremes.of_all_processes()}
        further = [case for case in self._spread if _place(case) not in chosen]
        room = max(0, self.max_cases - len(chosen))
        chosen |= {_place(case): case for case in _spread(further, room)}
        for case in chosen.values():
            case.n_samples = self.n_samples
        drawn = list(chosen.values())
        parts = _gather((list(chosen), error_scale_of(drawn), std_scale_of(drawn)))
        places, error_scales, std_scales = zip(*parts, strict=True)
        index = PanelIndex.of(
            [place for part in places for place in part], self.protocol.name, max(error_scales), max(std_scales)
        )
        index.draw(drawn, self.output_dir, self.zoom)
        if index.pictures and idist.get_rank() == 0:
            index.write(self.output_dir)
        self._restart()  # the images are not needed any more


class TensorBoardPanelHandler:
    """Log, at each validation, a grid of images: mask, zero-filled, reconstruction, target, error times five.

    A row per case, all in the window [0, 1], the same cases each time; of a series one of its two most distant frames,
    and below it a row of pixels over time. The step is the evaluator's epoch, which MONAI's ``ValidationHandler`` sets
    to the trainer's. Only the first process logs.

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
        if n_cases < 1:
            raise ValueError(f"the number of cases to show must be 1 or more, got {n_cases}; leave the handler out")
        self.log_dir = Path(log_dir)
        self.tag = tag
        self.n_cases = n_cases
        self.make = make
        self._writer: SummaryWriter | None = None
        self._start()

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator."""
        if idist.get_rank() > 0:
            return
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

    def _start(self) -> None:
        self._picker = CasePicker(self.n_cases)
        self._rows: list[list[np.ndarray]] = []

    def _collect(self, engine: Engine) -> None:
        cases = cases_of(engine, self.make)
        self._rows += [self._row(cases[position]) for position in self._picker.pick(engine, len(cases))]

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
        if not self._rows:
            return
        with disk_errors(self.log_dir):
            if self._writer is None:
                self._writer = SummaryWriter(str(self.log_dir))
            self._writer.add_image(self.tag, _grid(self._rows), engine.state.epoch, dataformats="HW")
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


def _spread(cases: Sequence[Case], n: int) -> list[Case]:
    n = min(n, len(cases))
    return [cases[number * len(cases) // n] for number in range(n)]


def _place(case: Case) -> tuple[str, int]:
    return case.path, case.slice_index


def _gather(item: list[Any] | tuple[Any, ...]) -> list[Any]:
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
