"""Ignite handlers that show evaluated cases: as PNG panels, and as images in TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
import torch
from common.figures import RECONSTRUCTION, CaseImages, error_scale_of, slice_protocol, std_scale_of
from common.io.disk import disk_errors
from common.metrics import Protocol
from common.metrics.protocol_metric import image_from_channels
from common.operators.measurement import unpack_coils
from common.operators.zero_filled import zero_filled_image
from common.panel_files import PanelIndex
from ignite.engine import Engine, Events
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

ZERO_FILLED, MEAN, SAMPLE = "zero-filled", "mean", "sample"


class CasePicker:
    """Picks up to `max_cases` slices, spread evenly over a run of an evaluator that decollates."""

    def __init__(self, max_cases: int) -> None:
        if max_cases < 1:
            raise ValueError(f"the number of cases to show must be 1 or more, got {max_cases}; leave the handler out")
        self.max_cases = max_cases
        self.restart()

    def restart(self) -> None:
        """Forget the run before."""
        self._seen = self._picked = 0

    def pick(self, engine: Engine, cases: list[CaseImages]) -> Iterator[CaseImages]:
        """Those of the batch's cases that are to be shown."""
        done = (engine.state.iteration - 1) % (engine.state.epoch_length or 1) + 1
        # how many there will be is known only roughly: batches end with their file
        expected = self._seen + len(cases) * ((engine.state.epoch_length or 1) - done + 1)
        for case in cases:
            if self._picked < self.max_cases and self._seen * self.max_cases >= self._picked * expected:
                self._picked += 1
                yield case
            self._seen += 1


class ExtremeCases:
    """Keeps the cases with the largest and the smallest PSNR gain of the reconstruction over the baseline.

    Cases without a target, and those whose gain is not finite, are passed over.

    Args:
        n: how many of either.
        protocol: of the PSNR.
        baseline: name of the method that is gained over.
    """

    def __init__(self, n: int, protocol: Protocol, baseline: str) -> None:
        if n < 0:
            raise ValueError(f"the number of best and worst cases must be 0 or more, got {n}")
        self.n = n
        self.protocol = protocol
        self.baseline = baseline
        self.cases: list[tuple[float, CaseImages]] = []

    def add(self, case: CaseImages) -> None:
        """Look at a case."""
        if case.target is None or self.n == 0:
            return
        baseline, reconstruction = (
            self.protocol.evaluate(torch.as_tensor(image)[None], torch.as_tensor(case.target)[None], ["psnr"])["psnr"]
            for image in (case.methods[self.baseline], case.methods[case.reconstruction])
        )
        if math.isfinite(gain := float(reconstruction - baseline)):
            self.cases = self._extremes([*self.cases, (gain, case)])

    def of_all_processes(self) -> list[CaseImages]:
        """Those kept here that are extreme among the cases of all processes; call it on every process."""
        parts = _gather([(gain, (case.path, case.slice_index)) for gain, case in self.cases])
        chosen = {where for _, where in self._extremes([entry for part in parts for entry in part])}
        return [case for _, case in self.cases if (case.path, case.slice_index) in chosen]

    def _extremes(self, entries: list[tuple[float, Any]]) -> list[tuple[float, Any]]:
        ordered = sorted(entries, key=lambda entry: entry[0])
        return ordered if len(ordered) <= 2 * self.n else [*ordered[: self.n], *ordered[-self.n :]]


class PanelHandler:
    """Draw cases at the end of an evaluation: those spread evenly over it, the best and the worst.

    A figure per case: mask, zero-filled, reconstruction, target and the two error maps, which have one scale in all
    figures; the names of the files and their index are `common.panel_files.PanelIndex`'s. Until the end the cases are
    kept in memory, about 2 MB for 256 x 256. Where the output has samples, the reconstruction is their mean; one sample
    is drawn too, and the standard deviation, in a scale of its own that all figures share.

    The evaluator decollates: per item, `engine.state.output` has "image" (the measurement, of one coil or several),
    "pred" and "label" (real, imaginary; label may be None), perhaps "std" (1, height, width) and "sample" (see
    `common.transforms.SplitSamplesd`), and `engine.state.batch` has "path" and "slice". The zero-filled image is
    cropped to "pred". In a group of processes each draws cases it has evaluated.

    Args:
        output_dir: folder of the figures; made if need be.
        max_cases: figures per process and run, spread over its slices.
        protocol: per-slice protocol of the PSNR and SSIM under the panels.
        n_extremes: how many of the best and how many of the worst cases, by PSNR gain over zero-filled, are drawn
            besides.
        n_samples: of what the standard deviation is, for its heading.
    """

    baseline = ZERO_FILLED
    """Name of the method that the gain is over."""

    def __init__(
        self,
        output_dir: str | Path,
        max_cases: int = 8,
        protocol: str = "magnitude_slice",
        n_extremes: int = 3,
        n_samples: int | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.n_samples = n_samples
        self.protocol = slice_protocol(protocol)
        self.n_extremes = n_extremes
        self._picker = CasePicker(max_cases)
        self._spread: list[CaseImages] = []
        self._extremes = ExtremeCases(n_extremes, self.protocol, self.baseline)

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _start(self, engine: Engine) -> None:
        self._picker.restart()
        self._spread = []
        self._extremes = ExtremeCases(self.n_extremes, self.protocol, self.baseline)

    def _case(self, where: dict[str, Any], images: dict[str, Any]) -> CaseImages:
        """An item of the batch and its output as what is drawn."""
        return measured_case(where, images, self.n_samples)

    def _scales(self, cases: Sequence[CaseImages]) -> tuple[float, float]:
        """Ends of the scales of the errors and of the standard deviations, in image units."""
        return error_scale_of(cases), std_scale_of(cases)

    def _write(self, index: PanelIndex, cases: Sequence[CaseImages]) -> None:
        """Write the figures."""
        index.draw(cases, self.output_dir)

    def _collect(self, engine: Engine) -> None:
        cases = cases_of(engine, self._case)
        self._spread.extend(self._picker.pick(engine, cases))
        for case in cases:
            self._extremes.add(case)

    def _draw(self, engine: Engine) -> None:
        chosen = {(case.path, case.slice_index): case for case in (*self._spread, *self._extremes.of_all_processes())}
        drawn = list(chosen.values())
        parts = _gather((list(chosen), *self._scales(drawn)))
        places, error_scales, std_scales = zip(*parts, strict=True)
        index = PanelIndex.of(
            [where for part in places for where in part], self.protocol.name, max(error_scales), max(std_scales)
        )
        self._write(index, drawn)
        if index.pictures and idist.get_rank() == 0:
            index.write(self.output_dir)
        self._start(engine)  # the images are not needed any more


class TensorBoardPanelHandler:
    """Log, at each validation, a grid of images: mask, zero-filled, reconstruction, target, error times five.

    A row per case, all in the window [0, 1], the same cases each time. The step is the evaluator's epoch, which MONAI's
    ``ValidationHandler`` sets to the trainer's. Only the first process logs.

    Args:
        log_dir: of the TensorBoard files; a writer is opened at the first image.
        n_cases: rows of the grid.
        tag: name of the image in TensorBoard.
    """

    ERROR_GAIN = 5

    def __init__(
        self,
        log_dir: str | Path,
        n_cases: int = 4,
        tag: str = "validation/mask_zero-filled_reconstruction_target_error-x5",
    ) -> None:
        self.log_dir = Path(log_dir)
        self.tag = tag
        self._picker = CasePicker(n_cases)
        self._rows: list[list[np.ndarray]] = []
        self._writer: SummaryWriter | None = None

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

    def _start(self, engine: Engine) -> None:
        self._picker.restart()
        self._rows = []

    def _collect(self, engine: Engine) -> None:
        cases = cases_of(engine, self._case)
        self._rows.extend(self._row(case) for case in self._picker.pick(engine, cases))

    def _case(self, where: dict[str, Any], images: dict[str, Any]) -> CaseImages:
        """An item of the batch and its output as what is drawn."""
        return measured_case(where, images)

    def _row(self, case: CaseImages) -> list[np.ndarray]:
        methods = {name: torch.as_tensor(image).abs() for name, image in case.methods.items()}
        reconstruction = methods[case.reconstruction]
        black = torch.zeros_like(reconstruction)
        target = black if case.target is None else torch.as_tensor(case.target).abs()
        error = black if case.target is None else self.ERROR_GAIN * (reconstruction - target).abs()
        mask = [] if case.mask is None else [torch.as_tensor(case.mask)]
        panels = (*mask, *methods.values(), target, error)
        return [panel.float().nan_to_num(0.0).clamp(0, 1).numpy() for panel in panels]

    def _log(self, engine: Engine) -> None:
        if not self._rows:
            return
        with disk_errors(Path(self.log_dir)):
            if self._writer is None:
                self._writer = SummaryWriter(str(self.log_dir))
            self._writer.add_image(self.tag, _grid(self._rows), engine.state.epoch, dataformats="HW")
            self._writer.flush()


def cases_of(engine: Engine, case: Callable[[dict[str, Any], dict[str, Any]], CaseImages]) -> list[CaseImages]:
    """The batch just evaluated, each of its items as `case` makes it of the item and its output."""
    batch, output = engine.state.batch, engine.state.output
    if not isinstance(batch, list) or not isinstance(output, list):
        raise ValueError(
            "panels need the evaluator's batch and output as lists of items, got "
            f"{type(batch).__name__} and {type(output).__name__}; build the evaluator with decollate=True"
        )
    return [case(where, images) for where, images in zip(batch, output, strict=True)]


def measured_case(where: dict[str, Any], images: dict[str, Any], n_samples: int | None = None) -> CaseImages:
    """A reconstruction of measured k-space, on the CPU; ``n_samples`` is what "std" is of, if it is known."""
    measurement, pred = on_cpu(images["image"])[None], on_cpu(images["pred"])
    _, mask, _ = unpack_coils(measurement)
    label, std = images.get("label"), images.get("std")
    methods = {ZERO_FILLED: zero_filled_image(measurement, pred.shape[1:])[0]}
    methods[RECONSTRUCTION if std is None else MEAN] = image_from_channels(pred[None])[0]
    if "sample" in images:
        methods[SAMPLE] = image_from_channels(on_cpu(images["sample"])[None])[0]
    return CaseImages(
        path=str(where["path"]),
        slice_index=int(where["slice"]),
        mask=mask[0, 0],
        methods=methods,
        target=None if label is None else image_from_channels(on_cpu(label)[None])[0],
        std=None if std is None else on_cpu(std)[0],
        n_samples=n_samples,
        reconstruction=RECONSTRUCTION if std is None else MEAN,
    )


def _gather(item: list[Any] | tuple[Any, ...]) -> list[Any]:
    """The item of each process, by rank."""
    return cast("list[Any]", idist.all_gather(item))


def on_cpu(image: Tensor) -> Tensor:
    """A plain tensor of the values, for pictures."""
    return image.detach().cpu().as_subclass(Tensor)


def _grid(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Panels in rows and columns, two pixels apart; smaller ones are padded to the largest."""
    height, width = (max(panel.shape[axis] for row in rows for panel in row) + 2 for axis in (0, 1))
    return np.vstack(
        [
            np.hstack([np.pad(panel, ((0, height - panel.shape[0]), (0, width - panel.shape[1]))) for panel in row])
            for row in rows
        ]
    )
