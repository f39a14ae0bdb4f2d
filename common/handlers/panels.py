"""Ignite handlers that show evaluated cases: as PNG panels, and as images in TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from common.data.files import split_suffix
from common.figures import case_figure, save_figure, slice_protocol
from common.metrics.protocol_metric import image_from_channels
from common.operators.fourier import ifft2c
from common.operators.measurement import unpack_measurement


class PanelCase(NamedTuple):
    """One evaluated slice, on the CPU; images `(height, width)`, complex or real."""

    path: str
    slice_index: int
    mask: Tensor
    zero_filled: Tensor
    reconstruction: Tensor
    target: Tensor | None


class CasePicker:
    """Picks up to `max_cases` slices, spread evenly over a run of an evaluator that decollates.

    Per item, `engine.state.output` has "image" (the measurement: real k-space, imaginary k-space, mask), "pred" and
    "label" (real, imaginary; label may be None), and `engine.state.batch` has "path" and "slice".
    """

    def __init__(self, max_cases: int) -> None:
        if max_cases < 1:
            raise ValueError(f"the number of cases to show must be 1 or more, got {max_cases}; leave the handler out")
        self.max_cases = max_cases
        self.restart()

    def restart(self) -> None:
        """Forget the run before."""
        self._seen = self._picked = 0

    def pick(self, engine: Engine) -> Iterator[PanelCase]:
        """Cases to show of the batch just evaluated."""
        batch, output = engine.state.batch, engine.state.output
        if not isinstance(batch, list) or not isinstance(output, list):
            raise ValueError(
                "panels need the evaluator's batch and output as lists of items, got "
                f"{type(batch).__name__} and {type(output).__name__}; build the evaluator with decollate=True"
            )
        done = (engine.state.iteration - 1) % (engine.state.epoch_length or 1) + 1
        # how many there will be is known only roughly: batches end with their file
        expected = self._seen + len(batch) * ((engine.state.epoch_length or 1) - done + 1)
        for where, images in zip(batch, output, strict=True):
            if self._picked < self.max_cases and self._seen * self.max_cases >= self._picked * expected:
                self._picked += 1
                yield _panel_case(where, images)
            self._seen += 1


class PanelHandler:
    """Write a figure per case: mask, zero-filled, reconstruction, target and the two error maps.

    Files are called `<stem>_<slice>.png`, after the data file; of two data files with one stem, the second's have
    `_2` in their names. In a group of processes each writes the cases it evaluates.

    Args:
        output_dir: folder of the figures; made if need be.
        max_cases: figures per process and run, spread over its slices.
        protocol: per-slice protocol of the PSNR and SSIM under the panels.
    """

    def __init__(self, output_dir: str | Path, max_cases: int = 8, protocol: str = "magnitude_slice") -> None:
        self.output_dir = Path(output_dir)
        self.protocol = slice_protocol(protocol).name
        self._picker = CasePicker(max_cases)
        self._paths: dict[str, list[str]] = {}

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _start(self, engine: Engine) -> None:
        self._picker.restart()
        self._paths = {}

    def _draw(self, engine: Engine) -> None:
        for case in self._picker.pick(engine):
            figure = case_figure(
                case.mask,
                case.zero_filled,
                case.reconstruction,
                case.target,
                title=f"{Path(case.path).name}, slice {case.slice_index}",
                protocol=self.protocol,
            )
            save_figure(figure, self.output_dir / self._file_name(case))

    def _file_name(self, case: PanelCase) -> str:
        stem = split_suffix(case.path)[0]
        paths = self._paths.setdefault(stem, [])
        if case.path not in paths:
            paths.append(case.path)
        number = paths.index(case.path) + 1
        return f"{stem}_{case.slice_index}.png" if number == 1 else f"{stem}_{number}_{case.slice_index}.png"


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
        self._rows.extend(self._row(case) for case in self._picker.pick(engine))

    def _row(self, case: PanelCase) -> list[np.ndarray]:
        zero_filled, reconstruction = case.zero_filled.abs(), case.reconstruction.abs()
        black = torch.zeros_like(reconstruction)
        target = black if case.target is None else case.target.abs()
        error = black if case.target is None else self.ERROR_GAIN * (reconstruction - target).abs()
        panels = (case.mask, zero_filled, reconstruction, target, error)
        return [panel.float().nan_to_num(0.0).clamp(0, 1).numpy() for panel in panels]

    def _log(self, engine: Engine) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._writer = SummaryWriter(str(self.log_dir))
        self._writer.add_image(self.tag, _grid(self._rows), engine.state.epoch, dataformats="HW")
        self._writer.flush()


def _panel_case(where: dict[str, Any], images: dict[str, Any]) -> PanelCase:
    kspace, mask = unpack_measurement(_on_cpu(images["image"])[None].float())
    label = images.get("label")
    return PanelCase(
        path=str(where["path"]),
        slice_index=int(where["slice"]),
        mask=mask[0, 0],
        zero_filled=ifft2c(kspace)[0, 0],
        reconstruction=image_from_channels(_on_cpu(images["pred"])[None])[0],
        target=None if label is None else image_from_channels(_on_cpu(label)[None])[0],
    )


def _on_cpu(image: Tensor) -> Tensor:
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
