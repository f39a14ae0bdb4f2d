"""The one error of unusable data, and the change of any decoder's error into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DataError(ValueError):
    """A data file that cannot be used: one line with the file, what is wrong and the way out."""


@contextmanager
def file_errors(path: Path, expected: str) -> Iterator[None]:
    """Turns whatever a decoder raises inside the block into a one-line `DataError` that names the file.

    Args:
        path: the file being read.
        expected: what the file should be, for example "a PNG image".
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; check the path") from error
    except Exception as error:  # decoders share no base class: struct.error, zlib.error, SyntaxError, OSError ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as {expected} ({reason}); replace or remove the file") from error
