"""Ignite handler: the metrics of each evaluated slice, beside those of its zero-filled image, in a CSV file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import torch
from common.metrics.protocol_metric import image_from_channels
from common.metrics.protocols import Protocol, get_protocol
from common.metrics.report import write_csv
from common.metrics.table import MetricTable
from common.operators.zero_filled import zero_filled_image
from ignite.engine import Engine, Events
from torch import Tensor

MAX_GROUPS = 8
"""Largest number of rates that have a table each; measured k-space may have another rate in each file."""


class CaseTableHandler:
    """Write the metrics of every slice, rows ``zero_filled`` and ``reconstruction``, and log their table.

    Where the files were sampled at several rates, a table of each rate is logged.

    For an evaluator that decollates (MONAI's default). Per item, ``engine.state.output`` has "image" (the
    measurement, of one coil or several, see :func:`~common.operators.pack_measurement`), "pred" and "label" (real,
    imaginary), and ``engine.state.batch`` has "path", "slice" and perhaps "rate", see
    :func:`~common.transforms.acquire.note_sampling`. Items whose label is None are left out. The
    zero-filled image is cropped to the label.

    Args:
        output_dir: where the file goes; made if need be.
        protocols: protocols or their names; volume protocols need the slices file by file, see ``MetricTable``.
        filename: of the CSV file, all protocols in one. With no label in the data it is not written.
        further: keys of the output with further images (real, imaginary), such as "sample": a row each, of that name,
            where an item has them.
    """

    baseline = "zero_filled"
    """Row that the others are compared with."""

    def __init__(
        self,
        output_dir: str | Path,
        protocols: Sequence[str | Protocol] = ("magnitude_slice",),
        filename: str = "metrics.csv",
        further: Sequence[str] = (),
    ) -> None:
        self.path = Path(output_dir) / filename
        chosen = [protocols] if isinstance(protocols, str) else protocols
        self.protocols = [get_protocol(one) if isinstance(one, str) else one for one in chosen]
        self.further = [further] if isinstance(further, str) else list(further)
        self.tables: list[MetricTable] = []
        self._rates: dict[str, float] = {}
        self._logger = logging.getLogger("recon")

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self._rates = {}
        self.tables = [MetricTable(protocol, baseline=self.baseline) for protocol in self.protocols]

    def _add_batch(self, engine: Engine) -> None:
        batch = cast("list[dict[str, Any]]", engine.state.batch)
        self._rates |= {str(item["path"]): item["rate"] for item in batch if "rate" in item}
        cases = [case for case in _cases(engine.state.batch, engine.state.output) if case["label"] is not None]
        # files differ in size: stack the neighbours of one size, in order, so that volumes stay together
        for _, neighbours in groupby(cases, key=lambda case: [(key, case[key].shape) for key in self._keys(case)]):
            self._add_stack(list(neighbours))

    def _keys(self, case: dict[str, Any]) -> list[str]:
        """Of the images of a case."""
        return ["image", "pred", "label", *(key for key in self.further if key in case)]

    def _add_stack(self, cases: list[dict[str, Any]]) -> None:
        paths, slices = [str(case["path"]) for case in cases], [int(case["slice"]) for case in cases]
        images = {key: _stack(case[key] for case in cases) for key in self._keys(cases[0])}
        target = image_from_channels(images["label"])
        rows = {**self._baselines(images["image"], target), "reconstruction": image_from_channels(images["pred"])}
        rows |= {key: image_from_channels(images[key]) for key in self.further if key in images}
        self._add_rows(paths, slices, rows, target)

    def _add_rows(self, paths: list[str], slices: list[int], rows: dict[str, Tensor], target: Tensor) -> None:
        """Measure the images of each row, of cases of one size."""
        for table in self.tables:
            for row, image in rows.items():
                table.add_batch(paths, slices, row, image, target)

    def _baselines(self, measured: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Row to images ``(batch, height, width)``, of what was measured ``(batch, channels, ...)``."""
        return {"zero_filled": zero_filled_image(measured, target.shape[1:])}

    def _finish(self, engine: Engine) -> None:
        for table in self.tables:
            table.gather()
        parts = cast("list[dict[str, float]]", idist.all_gather(self._rates))
        rates = {path: rate for part in parts for path, rate in part.items()}
        if idist.get_rank() > 0:
            return
        rows = [row._replace(rate=rates.get(row.path)) for table in self.tables for row in table.rows()]
        if not rows:
            self._logger.info("no case has a target image, so %s is not written", self.path.name)
            return
        write_csv(self.path, rows)
        for table in self.tables:
            self._log(table, rates)
        self._logger.info("a value per case is in %s", self.path)

    def _log(self, table: MetricTable, rates: Mapping[str, float]) -> None:
        """Log the table, that of each rate where files were sampled at several."""
        different = sorted(set(rates.values()), reverse=True)
        if not 1 < len(different) <= MAX_GROUPS:
            self._logger.info("%s", table.format())
            return
        for rate in different:
            files = [path for path, its in rates.items() if its == rate]
            self._logger.info("rate %.4g, acceleration %.4g: %s", rate, 1 / rate, table.of_files(files).format())


def _cases(batch: Any, output: Any) -> list[dict[str, Any]]:
    """Merge the batch's "path" and "slice" with the output's images, item by item."""
    if not isinstance(batch, list) or not isinstance(output, list) or len(batch) != len(output):
        raise ValueError(
            "a table of metrics expects the evaluator's batch and output as lists of one length, got "
            f"{type(batch).__name__} and {type(output).__name__}; build the evaluator with decollate=True"
        )
    for kind, items, keys in (("batch", batch, ("path", "slice")), ("output", output, ("image", "pred"))):
        for item in items:
            if missing := [key for key in keys if key not in item]:
                raise ValueError(
                    f"a table of metrics expects {list(keys)} in each item of the {kind}, missing {missing}, got "
                    f"{sorted(map(str, item))}; let the data set, or the evaluator's output, carry them"
                )
    return [
        {"label": None, **images, "path": where["path"], "slice": where["slice"]}
        for where, images in zip(batch, output, strict=True)
    ]


def _stack(images: Iterable[Tensor]) -> Tensor:
    return torch.stack([image.as_subclass(Tensor) for image in images])
