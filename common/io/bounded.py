"""Limits on what a damaged or malicious file can make a reader allocate or unpack."""

from __future__ import annotations

import gzip
import math
import tempfile
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import numpy as np
from common.errors import DataError, file_errors
from common.io.disk import disk_errors

UNCHECKED = 2**28
"""Bytes up to which a piece is decoded whatever its compressed size; larger ones must be plausible."""

_HIGHEST_RATIO = 4000  # LZW reaches 2700, Deflate 1032; of larger pieces than `UNCHECKED` more is not believed
_LONGEST_AXIS = 2**40


def n_bytes_of(shape: Sequence[int], dtype: np.dtype, name: str) -> int:
    """Return the size of an array in bytes, without overflow.

    Raises:
        DataError: for axes that are negative or absurdly long.
    """
    if any(not 0 <= n <= _LONGEST_AXIS for n in shape):
        raise DataError(
            f"{name}: its header declares the size {list(shape)}; the file is damaged, replace or remove it"
        )
    return math.prod(int(n) for n in shape) * dtype.itemsize


def check_piece(n_bytes: int, stored: int, name: str) -> None:
    """Check that a piece of a file is not implausibly large for its compressed size.

    Raises:
        DataError: for more than 256 MiB that would be compressed to less than 1/4000.
    """
    if n_bytes > UNCHECKED and n_bytes > _HIGHEST_RATIO * stored:
        raise DataError(
            f"{name}: its header declares {n_bytes} bytes, of which the file holds {stored}; it is damaged or not what "
            "it seems: replace or remove it"
        )


def unpack_gzip(path: Path, n_bytes: int, expected: str) -> FileIO:
    """Unpack a gzip file to a temporary file that disappears when it is closed.

    Args:
        path: the file.
        n_bytes: size of the contents as their header declares it; nothing beyond is unpacked.
        expected: what the file should be, for errors.

    Raises:
        DataError: for a damaged file, one that holds less, or a disk without room (``TMPDIR`` chooses another).
    """
    temporary = Path(tempfile.gettempdir()) / path.name
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # gone with the process
    try:
        left = n_bytes
        with file_errors(path, expected), gzip.open(path, "rb") as packed:
            while left > 0 and (piece := packed.read(min(left, 2**22))):
                with disk_errors(temporary, n_bytes):
                    file.write(piece)
                left -= len(piece)
        if left:
            raise DataError(f"{path}: truncated, {n_bytes - left} bytes of {n_bytes}; copy the file again")
    except BaseException:
        file.close()
        raise
    return file
