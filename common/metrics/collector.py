"""Collection of metric values over the cases and the processes of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
from common.metrics.case import Case
from common.metrics.cases import case_table, format_table, write_cases
from common.metrics.protocols import Protocol, get_protocol
from torch import Tensor

MAX_RATES = 8
"""Largest number of rates that have a text each; measured k-space may have another rate in each file."""

_Place = tuple[str, int | None, str]  # file, slice (None for the whole volume) and method
_Volume = tuple[str, str]  # file and method


class CaseCollector:
    """Collect metric values by several protocols: ``add`` ..., ``gather()``, then read ``table``.

    For protocols of volumes the slices are kept (on the CPU) until their volume is complete: in one process until a
    slice of another file comes, so slices must come file by file; with several processes, which each see some slices
    of each file, until ``gather``.

    Args:
        protocols: protocols or their names.
        baseline: method that the others are compared with in the text; None for the first that is added.
        methods: methods to measure; None for all of each case.
    """

    def __init__(
        self, protocols: Sequence[str | Protocol], baseline: str | None = None, methods: Sequence[str] | None = None
    ) -> None:
        self.protocols = [get_protocol(one) if isinstance(one, str) else one for one in protocols]
        self.baseline = baseline
        self.methods = methods
        self._rows: dict[str, dict[_Place, dict[str, float]]] = {protocol.name: {} for protocol in self.protocols}
        self._rates: dict[str, float] = {}
        self._methods: dict[str, None] = {}  # in the order of addition
        self._open: dict[_Volume, dict[int, tuple[Tensor, Tensor]]] = {}
        self._closed: set[_Volume] = set()
        self._device = torch.device("cpu")

    @property
    def _of_volumes(self) -> list[Protocol]:
        return [protocol for protocol in self.protocols if protocol.scope == "volume"]

    def add(self, case: Case) -> None:
        """Measure all methods of a case; one without a target is left out.

        Raises:
            ValueError: the case was added before, or its volume is already complete; see also ``Protocol.evaluate``.
        """
        if case.target is None:
            return
        path, index = case.path, case.slice_index
        if case.rate is not None:
            self._rates[path] = case.rate
        for method in case.methods if self.methods is None else self.methods:
            image = case.methods[method]
            self._methods.setdefault(method)
            for protocol in self.protocols:
                if protocol.scope == "volume":
                    continue
                if (path, index, method) in self._rows[protocol.name]:
                    raise ValueError(f"slice {index} of {path} was added to {method!r} before; add each slice once")
                self._rows[protocol.name][path, index, method] = case.values(protocol, method)
            if self._of_volumes:
                self._device = image.device
                self._add_to_volume((path, method), index, image, case.target)

    def _add_to_volume(self, volume: _Volume, index: int, image: Tensor, target: Tensor) -> None:
        path, method = volume
        if volume in self._closed:
            raise ValueError(
                f"slice {index} of {path} came after the volume was closed; load files one after the other, unshuffled"
            )
        if _world_size() == 1:
            for other in [key for key in self._open if key[1] == method and key != volume]:
                self._close(other, self._open.pop(other))
        slices = self._open.setdefault(volume, {})
        if index in slices:
            raise ValueError(f"slice {index} of {path} was added to {method!r} before; add each slice once")
        slices[index] = (image.detach().cpu(), target.detach().cpu())

    def _close(self, volume: _Volume, slices: dict[int, tuple[Tensor, Tensor]]) -> None:
        path, method = volume
        if len(sizes := {tuple(image.shape) for pair in slices.values() for image in pair}) > 1:
            raise ValueError(f"a volume needs slices of one size, got {sorted(sizes)} in {path} ({method!r})")
        image, target = (torch.stack([slices[i][part] for i in sorted(slices)]).to(self._device) for part in (0, 1))
        self._closed.add(volume)
        for protocol in self._of_volumes:
            values = protocol.evaluate(image, target)
            self._rows[protocol.name][path, None, method] = {metric: value.item() for metric, value in values.items()}

    def gather(self) -> None:
        """Complete open volumes and merge the values of all processes; call it on every process.

        Afterwards all hold the same table, ordered by file and slice, whatever their number. A slice that several
        processes have seen (samplers repeat some to even out the batches) counts once: the lowest rank's.
        """
        rank, world_size = (dist.get_rank(), _world_size()) if _world_size() > 1 else (0, 1)
        self._methods = dict.fromkeys(method for part in _all_gather(list(self._methods)) for method in part)
        volumes = sorted({volume for part in _all_gather(list(self._open)) for volume in part})
        for position, volume in enumerate(volumes):  # one travels at a time, and each process computes its share
            parts = _all_gather(self._open.pop(volume, {}))
            if position % world_size == rank:
                self._close(volume, {index: pair for part in reversed(parts) for index, pair in part.items()})
        self._rates = {path: rate for part in _all_gather(self._rates) for path, rate in part.items()}
        parts = _all_gather(self._rows)
        self._rows = {
            name: {place: values for part in reversed(parts) for place, values in part[name].items()}
            for name in self._rows
        }

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    @property
    def table(self) -> pd.DataFrame:
        """Case table, ordered by protocol, file, slice, and method in the order of addition.

        Raises:
            RuntimeError: volumes are still open.
            ValueError: no case was added.
        """
        if self._open:
            raise RuntimeError(f"{len(self._open)} volumes of the table are not complete; call gather() first")
        order = {method: place for place, method in enumerate(self._methods)}
        return case_table(
            {"protocol": name, "file": path, "slice": index, "rate": self._rates.get(path), "method": method, **values}
            for name, rows in self._rows.items()
            for (path, index, method), values in sorted(
                rows.items(), key=lambda row: (row[0][0], -1 if row[0][1] is None else row[0][1], order[row[0][2]])
            )
        )

    def write(self, path: str | Path) -> None:
        """Write the table, see :func:`common.metrics.cases.write_cases`. One process writes, after ``gather``."""
        write_cases(path, self.table)

    def format(self) -> list[str]:
        """Texts of the protocols that have values, see :func:`common.metrics.cases.format_table`.

        Where the files were sampled at several rates, at most `MAX_RATES`, each has a text of its own.
        """
        baseline = next(iter(self._methods)) if self.baseline is None else self.baseline
        table = self.table
        named = [protocol for protocol in self.protocols if self._rows[protocol.name]]
        rates = sorted(set(self._rates.values()), reverse=True)
        if not 1 < len(rates) <= MAX_RATES:
            return [format_table(table, protocol.name, baseline, protocol.description) for protocol in named]
        return [
            f"rate {rate:.4g}, acceleration {1 / rate:.4g}: "
            + format_table(table[table["rate"] == rate], protocol.name, baseline, protocol.description)
            for protocol in named
            for rate in rates
        ]


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _all_gather(item: Any) -> list[Any]:
    """The item of each process, by rank."""
    if _world_size() == 1:
        return [item]
    items: list[Any] = [None] * _world_size()
    dist.all_gather_object(items, item)
    return items
