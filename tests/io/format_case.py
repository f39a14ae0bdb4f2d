"""Description of a format for the property test of all formats."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.io import Spec

EVERY_NUMBER = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")


@dataclass(frozen=True)
class Independent:
    """What another reader than ours finds in a file.

    Attributes:
        values: with the axes of the spec that was written, axes of one entry included or not.
        spacing_mm: distance along the spatial axes, (y, x) or (z, y, x); ``None``: not known to that reader.
        affine: from index (x, y, z) to mm, right, anterior, superior; ``None`` likewise.
    """

    values: np.ndarray
    spacing_mm: tuple[float | None, ...] | None = None
    affine: np.ndarray | None = None


@dataclass(frozen=True)
class FormatCase:
    """One kind of file that can be written and read.

    Attributes:
        module: of ``common.io.formats``.
        suffix: of the path; "" is a folder.
        axes: the sets of axes that it can have.
        dtypes: the types that it can have.
        read: the independent reader, given the path and the spec that was written.
        keeps: what survives of "spacing", "origin", "affine", "times" and "slope"; what does not must be unknown
            afterwards, and not guessed.
        native: makes ``spec.native`` for formats that are only written of themselves (DICOM), given a folder for the
            input and the spec.
        options: of ``open_source``, given the spec, for formats that do not describe themselves (raw).
    """

    module: str
    suffix: str
    axes: tuple[tuple[str, ...], ...]
    dtypes: tuple[str, ...]
    read: Callable[[Path, Spec], Independent]
    keeps: frozenset[str] = frozenset()
    native: Callable[[Path, Spec], object] | None = None
    options: Callable[[Spec], dict[str, object]] = field(default=lambda spec: {})

    @property
    def label(self) -> str:
        return f"{self.module}{self.suffix}"


def all_cases() -> list[FormatCase]:
    """The `CASES` of every module in ``tests/io/format_cases``."""
    folder = Path(__file__).parent / "format_cases"
    names = sorted(path.stem for path in folder.glob("*.py"))
    return [case for name in names for case in importlib.import_module(f"tests.io.format_cases.{name}").CASES]
