"""Files of nothing but values, described by the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common.io.flat import FlatArray, flat_source
from common.io.kspace import as_kspace
from common.io.layout import kind_of, layout_of
from common.io.sink import Sink, write_flat
from common.io.source import Source
from common.io.spec import Spec


def open_source(
    path: Path,
    *,
    shape: Sequence[int] | None = None,
    dtype: str | None = None,
    offset: int = 0,
    axes: str | None = None,
    kind: str | None = None,
    dc: str | None = None,
) -> Source:
    """Open raw values, the last axis fastest.

    ``shape`` is ``[height, width]`` or ``[slices, height, width]``, or as ``axes`` says; ``dtype`` has the byte order,
    such as "<u2" for little-endian 16 bits; ``offset`` is the number of bytes before the first value.

    Raises:
        ValueError: without shape and dtype, or for values of them that cannot be.
    """
    if shape is None or dtype is None:
        raise ValueError(
            f"{path}: raw values need a shape and a type: --source_options \"{{'shape': [12, 256, 256], 'dtype': "
            "'<u2'}\""
        )
    try:
        stored = np.dtype(dtype)
    except TypeError as error:
        raise ValueError(f"dtype must be a NumPy type such as 'uint8' or '<u2', got {dtype!r}") from error
    sizes = tuple(int(n) for n in shape)
    if offset < 0 or not sizes or min(sizes) < 1:
        raise ValueError(f"shape must be positive and offset 0 or more bytes, got {list(sizes)} and {offset}")
    layout = layout_of(sizes, stored, str(path), axes)
    spec = layout.spec(stored, kind=kind_of(stored, kind, str(path), ""))
    return as_kspace(flat_source(path, spec, FlatArray(offset, sizes, stored), layout, kind_of_file="raw values"), dc)


def open_sink(path: Path, spec: Spec) -> Sink:
    """Open a writer of raw values, axes in the order of the spec, native byte order; no slope."""
    return Sink(path, spec.as_meant(), lambda new, sink: write_flat(new, b"", sink))
