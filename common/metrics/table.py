"""A table of metric values: a row per case and method, gathered over processes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from common.metrics.protocols import Protocol, get_protocol
from common.metrics.report import CaseRow, format_summaries, write_csv
from common.metrics.statistics import Summary, paired_difference, summarise
from torch import Tensor

Case = tuple[str, int | None]  # path and slice; None for the whole volume


class MetricTable:
    """Collect metric values by one protocol: ``add`` ..., ``gather()``, then read.

    With a volume protocol the slices are kept (on the CPU) until their volume is complete: in one process
    until a slice of another file comes, so slices must come file by file; with several processes, which
    each see some slices of each file, until ``gather``.

    Args:
        protocol: a protocol or its name.
        metrics: which of its metrics; None for all.
        baseline: name of the row that the others are compared with; None for the first that is added.
        n_bootstrap: resamples for the intervals.
        seed: of the resampling.
    """

    def __init__(
        self,
        protocol: str | Protocol,
        metrics: Iterable[str] | None = None,
        baseline: str | None = None,
        n_bootstrap: int = 1000,
        seed: int = 0,
    ) -> None:
        self.protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
        self.metrics = self.protocol.metrics if metrics is None else self.protocol.require(metrics)
        self.baseline = baseline
        self.n_bootstrap = n_bootstrap
        self.seed = seed
        self._values: dict[str, dict[Case, dict[str, float]]] = {}  # row name, case, metric
        self._open: dict[tuple[str, str], dict[int, tuple[Tensor, Tensor]]] = {}  # (row, path), slice
        self._device = torch.device("cpu")

    def add(self, path: str, slice_index: int, row: str, prediction: Tensor, target: Tensor) -> None:
        """Add one slice, ``(height, width)``; else as :meth:`add_batch`."""
        self.add_batch([path], [slice_index], row, prediction[None], target[None])

    def add_batch(
        self, paths: Sequence[str], slice_indices: Sequence[int], row: str, prediction: Tensor, target: Tensor
    ) -> None:
        """Add slices.

        Args:
            paths: file of each slice.
            slice_indices: index of each slice in its file.
            row: the method's name: "zero_filled", "reconstruction" ...
            prediction: complex or real, as the protocol takes it: ``(batch, height, width)``, say.
            target: the same shape.

        Raises:
            ValueError: if a slice was added before, or its volume is already complete; and as
                ``Protocol.evaluate``.
        """
        if not len(paths) == len(slice_indices) == len(prediction):
            raise ValueError(
                f"expected a path and a slice index for each of {len(prediction)} slices, got {len(paths)} paths "
                f"and {len(slice_indices)} indices"
            )
        values = self._values.setdefault(row, {})
        if self.protocol.scope == "volume":
            self._device = prediction.device
            for path, index, image, reference in zip(paths, slice_indices, prediction, target, strict=True):
                self._add_to_volume(path, index, row, image, reference)
            return
        results = self.protocol.evaluate(prediction, target, self.metrics)
        columns = {metric: result.tolist() for metric, result in results.items()}
        for position, case in enumerate(zip(paths, slice_indices, strict=True)):
            if case in values:
                raise ValueError(f"slice {case[1]} of {case[0]} was added to row {row!r} before; add each slice once")
            values[case] = {metric: column[position] for metric, column in columns.items()}

    def _add_to_volume(self, path: str, index: int, row: str, prediction: Tensor, target: Tensor) -> None:
        if (path, None) in self._values[row]:
            raise ValueError(
                f"slice {index} of {path} came after the volume was closed; load files one after the other, unshuffled"
            )
        if _world_size() == 1:
            for other_row, other_path in list(self._open):
                if other_row == row and other_path != path:
                    self._close((other_row, other_path), self._open.pop((other_row, other_path)))
        slices = self._open.setdefault((row, path), {})
        if index in slices:
            raise ValueError(f"slice {index} of {path} was added to row {row!r} before; add each slice once")
        slices[index] = (prediction.detach().cpu(), target.detach().cpu())

    def _close(self, key: tuple[str, str], slices: dict[int, tuple[Tensor, Tensor]]) -> None:
        row, path = key
        if len(sizes := {tuple(image.shape) for pair in slices.values() for image in pair}) > 1:
            raise ValueError(f"a volume needs slices of one size, got {sorted(sizes)} in {path} (row {row!r})")
        prediction, target = (
            torch.stack([slices[index][part] for index in sorted(slices)]).to(self._device) for part in (0, 1)
        )
        results = self.protocol.evaluate(prediction, target, self.metrics)
        self._values[row][path, None] = {metric: result.item() for metric, result in results.items()}

    def gather(self) -> None:
        """Complete open volumes and merge the tables of all processes; call it on every process.

        Afterwards all hold the same table, ordered by file and slice, whatever their number. A slice that
        several processes have seen (samplers repeat some to even out the batches) counts once: the
        lowest rank's.
        """
        rank, world_size = (dist.get_rank(), _world_size()) if _world_size() > 1 else (0, 1)
        row_names = dict.fromkeys(name for names in _all_gather(list(self._values)) for name in names)
        for name in row_names:
            self._values.setdefault(name, {})
        keys = sorted({key for keys in _all_gather(list(self._open)) for key in keys})
        for position, key in enumerate(keys):  # one volume at a time travels, and each process computes its share
            parts = _all_gather(self._open.pop(key, {}))
            if position % world_size == rank:
                self._close(key, {index: pair for part in reversed(parts) for index, pair in part.items()})
        parts = _all_gather(self._values)
        self._values = {
            name: {case: values for part in reversed(parts) for case, values in part.get(name, {}).items()}
            for name in row_names
        }

    def rows(self) -> list[CaseRow]:
        """All rows, ordered by file, slice, and method in the order of addition.

        Raises:
            RuntimeError: if volumes are still open.
        """
        if self._open:
            raise RuntimeError(f"{len(self._open)} volumes of the table are not complete; call gather() first")
        cases = {case for values in self._values.values() for case in values}
        return [
            CaseRow(self.protocol.name, path, index, name, values[path, index])
            for path, index in sorted(cases, key=lambda case: (case[0], -1 if case[1] is None else case[1]))
            for name, values in self._values.items()
            if (path, index) in values
        ]

    def of_files(self, paths: Collection[str]) -> MetricTable:
        """Return a table of the cases of some files.

        Args:
            paths: the files.
        """
        part = MetricTable(self.protocol, self.metrics, self.baseline, self.n_bootstrap, self.seed)
        part._values = {
            name: {case: row for case, row in values.items() if case[0] in paths}
            for name, values in self._values.items()
        }
        return part

    def summary(self) -> dict[str, dict[str, Summary]]:
        """Row name to metric to summary."""
        return {
            name: {
                metric: summarise(_column(values.values(), metric), n_bootstrap=self.n_bootstrap, seed=self.seed)
                for metric in self.metrics
            }
            for name, values in self._by_method().items()
        }

    def differences(self) -> dict[str, dict[str, Summary]]:
        """Row name to metric to summary of the row minus the baseline, over the cases that both have."""
        by_method = self._by_method()
        baseline_name = self._baseline_of(by_method)
        baseline = by_method.get(baseline_name, {})
        result = {}
        for name, values in by_method.items():
            if name != baseline_name and (cases := [case for case in values if case in baseline]):
                result[name] = {
                    metric: paired_difference(
                        _column([values[case] for case in cases], metric),
                        _column([baseline[case] for case in cases], metric),
                        n_bootstrap=self.n_bootstrap,
                        seed=self.seed,
                    )
                    for metric in self.metrics
                }
        return result

    def _baseline_of(self, rows: Mapping[str, Any]) -> str:
        return next(iter(rows), "") if self.baseline is None else self.baseline

    def _by_method(self) -> dict[str, dict[Case, dict[str, float]]]:
        """The rows as method, case, metric; cases in order, so that resampling does not depend on the processes."""
        by_method: dict[str, dict[Case, dict[str, float]]] = {name: {} for name in self._values}
        for row in self.rows():
            by_method[row.method][row.path, row.slice_index] = row.values
        return {name: values for name, values in by_method.items() if values}

    def write_csv(self, path: str | Path) -> None:
        """Write all rows; see :func:`common.metrics.report.write_csv`. One process writes, after ``gather``."""
        write_csv(path, self.rows())

    def format(self) -> str:
        """Plain text: the protocol, a line per method, and each method's difference to the baseline."""
        summaries = self.summary()
        baseline = self._baseline_of(summaries)
        differences = {f"{name} - {baseline}": row for name, row in self.differences().items()}
        return format_summaries(self.protocol, summaries, differences)


def _column(rows: Iterable[dict[str, float]], metric: str) -> Tensor:
    return torch.tensor([values[metric] for values in rows], dtype=torch.float64)


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _all_gather(item: Any) -> list[Any]:
    """The item of each process, by rank."""
    if _world_size() == 1:
        return [item]
    items: list[Any] = [None] * _world_size()
    dist.all_gather_object(items, item)
    return items
