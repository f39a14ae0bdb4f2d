"""Errors that this package raises on purpose, and how a run ends on one of them: with one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType


class DataError(ValueError):
    """A data file that cannot be used: one line with the file, what was expected, what it has, and what to do."""


class NonFiniteLossError(RuntimeError):
    """A loss term became NaN or infinite; the weights and the checkpoints are as they were before the step."""


# anything else is a defect of this package and keeps its traceback
EXPECTED = (DataError, NonFiniteLossError, FileNotFoundError, ValueError)


@contextmanager
def file_errors(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a decoder raises inside the block into a one-line `DataError` that names the file.

    Args:
        path: the file being read.
        expected: what the file should be, for example "a PNG image".

    Raises:
        FileNotFoundError: the file does not exist.
        DataError: anything else, including an array that does not fit into memory.
    """
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; check the path") from error
    except MemoryError as error:
        raise DataError(
            f"{path}: does not fit into memory as {expected} ({_reason(error)}); check that the file is not damaged"
        ) from error
    except Exception as error:  # decoders share no base class: struct.error, zlib.error, SyntaxError, OSError ...
        raise DataError(
            f"{path}: cannot be read as {expected} ({_reason(error)}); replace or remove the file"
        ) from error


def source_option(name: str, value: object) -> str:
    """Return the text of a command line that sets one of the options of a file format."""
    return '--source_options "' + str({name: value}) + '"'


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def expected_cause(error: BaseException) -> BaseException | None:
    """Return the error that this package raised in a chain of errors, or ``None``.

    MONAI wraps it in "Failed to evaluate ConfigExpression", and it wraps what a decoder raised.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, EXPECTED):
        cause = cause.__cause__
    return cause


def report_errors_in_one_line() -> None:
    """Let this process end with ``error: <expected, got, what to do>`` where its input is at fault.

    Called by the bundles' ``initialize``. With ``MONAI_DEBUG=true`` in the environment tracebacks stay whole.
    """
    if os.environ.get("MONAI_DEBUG", "false").lower() not in ("true", "1"):
        sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    cause = expected_cause(error)
    if cause is not None:
        sys.stderr.write(f"error: {cause}\n")
    else:
        sys.__excepthook__(kind, error, traceback)
