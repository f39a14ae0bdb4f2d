"""Ignite handler: errors of the pore space of enlarged rock, beside those of its bicubic enlargement."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from common.handlers import CaseTableHandler
from common.handlers.cases import EnlargedCase
from common.handlers.super_resolution import KERNELS
from common.metrics import Protocol
from common.metrics.protocols import Measure
from scripts.porous import compare_pore_space
from torch import Tensor

METRICS = ("porosity_sr", "porosity_hr", "porosity_error", "correlation_error", "pore_size_error")


class PoreSpaceTable(CaseTableHandler):
    """Write the pore space of every image or volume, rows ``bicubic`` and ``reconstruction``, and log their table.

    See :func:`pore_space_protocol` for the columns. For an evaluator that decollates, as
    :class:`~common.handlers.SuperResolutionTable`.

    Args:
        output_dir: folder of ``pore_space.csv``; made if need be.
    """

    def __init__(self, output_dir: str | Path) -> None:
        rows = ("bicubic", "reconstruction")
        protocols, make = [pore_space_protocol()], EnlargedCase(KERNELS)
        super().__init__(output_dir, protocols, "pore_space.csv", make, baseline="bicubic", methods=rows)


def pore_space_protocol() -> Protocol:
    """Porosities, and the errors of the pore space, see :func:`scripts.porous.compare_pore_space`.

    Undefined (NaN) where the target has one grey value.
    """
    compared = _Compared()
    return Protocol(
        name="pore_space",
        description="pores are at most Otsu's threshold of the target, sizes in its pixels, lags of at most 32 pixels",
        scope="image",
        prepare=lambda prediction, target: (prediction.double(), target.double()),
        measures={name: compared.measure(name) for name in METRICS},
    )


class _Compared:
    """The comparison of the last batch, which all measures of it share."""

    def __init__(self) -> None:
        self._batch: tuple[Tensor, Tensor] | None = None
        self._found: list[dict[str, float]] = []

    def measure(self, name: str) -> Measure:
        """One of the numbers, of each image of a batch."""

        def one(prediction: Tensor, target: Tensor) -> Tensor:
            if self._batch is None or self._batch[0] is not prediction or self._batch[1] is not target:
                self._batch = prediction, target
                self._found = [_compare(*pair) for pair in zip(prediction, target, strict=True)]
            return torch.tensor([found[name] for found in self._found], dtype=torch.float64)

        return one


def _compare(prediction: Tensor, target: Tensor) -> dict[str, float]:
    if target.min() == target.max():
        return dict.fromkeys(METRICS, math.nan)
    return compare_pore_space(prediction.cpu().numpy(), target.cpu().numpy())
