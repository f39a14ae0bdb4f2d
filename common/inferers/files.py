"""From files to files inside of MONAI's evaluators."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common.errors import DataError, joined_errors
from common.inferers.group import Group
from common.inferers.streaming import StreamingInferer
from common.inferers.tile_network import TileNetwork
from common.io import DiskFullError, IntensityRange, format_of, output_suffix, split_suffix
from ignite.engine import Events
from monai.engines.workflow import Workflow
from monai.inferers import Inferer
from torch import nn

logger = logging.getLogger("recon")


def prepare_file(
    batchdata: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
) -> tuple[Path, None]:
    """The ``prepare_batch`` of an evaluator whose inferer is a :class:`FileInferer`.

    Args:
        batchdata: batch of one item of :func:`~common.data.find_images`, ``{"path": [...]}``.
        device: not used, as are the others: nothing is read here.
        non_blocking: not used.
        kwargs: not used.

    Returns:
        the path, and no target.
    """
    paths = batchdata["path"]
    if len(paths) != 1:
        raise ValueError(f"expected a batch of one file, got {len(paths)}; set batch_size to 1")
    return Path(paths[0]), None


class FileInferer(Inferer):
    """Enlarges file after file with a :class:`~common.inferers.StreamingInferer`; the "prediction" is the new file.

    For a ``SupervisedEvaluator`` with :func:`prepare_file`, ``amp=False`` and ``decollate=False`` over a data set of
    :func:`~common.data.find_images`. The output of ``scan.nii.gz`` at upscale 4 is ``<output_dir>/scan_x4.nii.gz``.

    A file that cannot be enlarged ends the run with one line that names it. As a handler of the evaluator too
    (``"val_handlers": ["@inferer", ...]``) it logs the line, goes on with the next file, and ends the run with all of
    them after the last one; a full disk ends it at once. The same run again keeps whole outputs of the same input,
    weights and options, resumes an unfinished one, and makes all others anew; the log says which. Beside each output
    ``<output>.json`` keeps what it was made of. An output that is a folder (Zarr, slices) is not replaced but refused.

    Args:
        output_dir: made if missing; not where the inputs are.
        suffix: format of the outputs, one of ``common.io.SUFFIXES`` that is written; "" is a folder of slices;
            ``None``: the format of the input.
        source_options: options of :func:`~common.io.open_source`, such as ``shape`` and ``dtype`` of raw files.
        tile_size, intensity_range: options of :class:`~common.inferers.StreamingInferer`.
        shared: True if the processes of a group share the tiles; every process is given all files then.
    """

    def __init__(
        self,
        output_dir: Path | str,
        suffix: str | None = None,
        source_options: Mapping[str, Any] | None = None,
        tile_size: int | Sequence[int] | None = None,
        intensity_range: IntensityRange = "auto",
        shared: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.suffix = suffix
        self.source_options = dict(source_options or {})
        self._enlarge = StreamingInferer(tile_size, intensity_range, record=True, shared=shared)
        self._made: dict[Path, Path] = {}
        self._goes_on = False
        self._errors: list[str] = []

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator, to go on after a file that cannot be enlarged."""
        self._goes_on = True
        engine.add_event_handler(Events.STARTED, self._errors.clear)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def __call__(self, inputs: Path | str, network: nn.Module) -> Path | None:  # type: ignore[override]
        """Enlarge one file.

        Args:
            inputs: its path, or that of a folder that is one volume.
            network: network that enlarges.

        Returns:
            the path of the output; ``None`` for a file that cannot be enlarged, of a run that goes on.

        Raises:
            DataError: naming the file, see :class:`~common.inferers.StreamingInferer`; two inputs of one output.
            ValueError: for an ``output_dir`` whose outputs would be inputs of the next run, or options that do not
                fit.
        """
        path = Path(inputs)
        try:
            return self._one(path, network)
        except DiskFullError:
            raise
        except (DataError, OSError) as error:
            if not self._goes_on:
                raise
            logger.error(f"{error}")
            self._errors.append(str(error))
            return None

    def _one(self, path: Path, network: nn.Module) -> Path:
        output = self.output_dir / self._name(path, network)
        self._check_place(path, output)
        try:
            return self._enlarge(path, network, output, **self.source_options)
        except (ValueError, FileNotFoundError) as error:
            if str(path) in str(error) or str(output) in str(error):
                raise
            raise type(error)(f"{path}: {error}") from error

    def _finish(self, engine: Workflow) -> None:
        parts = Group(shared=True).gather(self._errors)
        errors = list(dict.fromkeys(error for part in parts for error in part))
        if errors:
            raise joined_errors(errors, "could not be enlarged")

    def _name(self, path: Path, network: nn.Module) -> str:
        stem, suffix = split_suffix(path)
        if path.is_dir() and not suffix and (found := format_of(path)) and found.suffixes == (".zarr",):
            suffix = ".zarr"
        written = output_suffix(suffix) if self.suffix is None else self.suffix
        if self.suffix is None and written != suffix:
            logger.info(f"{path}: {suffix} is read and not written, so the output is {written}")
        upscale = TileNetwork(network).upscale
        return f"{stem}_x{upscale}{written}"

    def _check_place(self, path: Path, output: Path) -> None:
        folder = path.absolute().parent.resolve()
        if folder == self.output_dir.resolve():
            raise ValueError(
                f"output_dir {self.output_dir} is where the inputs are, {folder}: the next run would take its outputs "
                "for inputs; choose one elsewhere"
            )
        other = self._made.setdefault(output, path)
        if other != path:
            raise DataError(f"{path} and {other}: both would become {output}; rename one, or leave --output_suffix out")
