"""Folder of an evaluator's images, case by case: written in a bundle's process, read in this one.

Imports nothing of `common`: in the process of a packaged bundle that name belongs to the bundle.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Events
from monai.engines.workflow import Workflow
from torch import Tensor

PROGRESS = "captured"
"""First word of the lines on stdout that give the number of finished batches and of all batches."""
KEYS = ("image", "pred", "label", "sample")
"""Entries of an evaluator's output that are kept."""


class CaseName(NamedTuple):
    """A slice of a data file."""

    path: str
    slice_index: int
    n_slices: int


class CaseFolder:
    """Arrays of cases, a file for each, numbered in the order of writing; single arrays can be read."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*.npz"))

    def write(self, number: int, arrays: Mapping[str, Tensor | np.ndarray]) -> None:
        """Write the arrays of a case."""
        self.folder.mkdir(parents=True, exist_ok=True)
        plain: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
        np.savez(self._path(number), **plain)

    def find(self, number: int, array: str) -> Tensor | None:
        """Read an array of a case; None if the case has none of this name."""
        with np.load(self._path(number)) as arrays:
            return torch.from_numpy(arrays[array]) if array in arrays else None

    def read(self, number: int, array: str) -> Tensor:
        """Read an array that each case must have."""
        found = self.find(number, array)
        if found is None:
            path = self.name(number).path
            raise ValueError(f"{path}: the evaluator gave no {array!r}; look at the bundle's inference.json")
        return found

    def name(self, number: int) -> CaseName:
        """Read which slice a case is."""
        with np.load(self._path(number)) as arrays:
            return CaseName(str(arrays["path"]), int(arrays["slice"]), int(arrays["n_slices"]))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:07d}.npz"


class SaveCases:
    """Ignite handler that writes "image" (the measurement), "pred" and "label" of each case into a `CaseFolder`.

    It also writes "sample", one of several samples, if "pred" is their mean.

    The evaluator decollates; per item, `engine.state.batch` has "path", "slice" and "n_slices".

    Args:
        folder: folder for the cases, which must not hold any yet.
    """

    def __init__(self, folder: str) -> None:
        self.cases = CaseFolder(folder)
        self._number = 0

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)

    def _add_batch(self, engine: Workflow) -> None:
        for where, images in zip(engine.state.batch, engine.state.output, strict=True):
            arrays = {key: images[key].detach().cpu().float() for key in KEYS if images.get(key) is not None}
            place = {key: np.asarray(where[key]) for key in ("path", "slice", "n_slices")}
            self.cases.write(self._number, {**arrays, **place})
            self._number += 1
        sys.stdout.write(f"{PROGRESS} {engine.state.iteration} {engine.state.epoch_length}\n")
        sys.stdout.flush()
