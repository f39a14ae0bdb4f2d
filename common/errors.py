"""Errors that this package raises on purpose, and how a run ends on one of them: with one line."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType


class DataError(ValueError):
    """A data file that cannot be used: one line with the file, what was expected, what it has, and what to do."""


class NonFiniteLossError(RuntimeError):
    """A loss term became NaN or infinite; the weights and the checkpoints are as they were before the step."""


def require_at_least(least: float, **values: float) -> None:
    """Refuse numbers that are too small.

    Raises:
        ValueError: one of the named values is below ``least``.
    """
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


# anything else is a defect of this package and keeps its traceback
EXPECTED = (DataError, NonFiniteLossError, FileNotFoundError, ValueError, KeyboardInterrupt)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


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


def joined_errors(errors: Sequence[str], failure: str) -> DataError:
    """Return one error for several files.

    Args:
        errors: the line of each file, at least one; three of them are repeated.
        failure: what several files have in common, for example "could not be read".
    """
    if len(errors) == 1:
        return DataError(errors[0])
    more = [f"and {len(errors) - 3} more, named above"] if len(errors) > 3 else []
    return DataError(f"{len(errors)} files {failure}: {' | '.join([*errors[:3], *more])}")


_given: ContextVar[Mapping[str, object]] = ContextVar("given", default={})  # noqa: B039  # never changed in place


@contextmanager
def given_options(options: Mapping[str, object]) -> Iterator[None]:
    """Let errors inside the block repeat the options of a file format that were given, beside those they advise."""
    token = _given.set({**_given.get(), **options})
    try:
        yield
    finally:
        _given.reset(token)


def source_option(name: str, value: object) -> str:
    """Return the text of a command line that sets an option of a file format, after those of `given_options`."""
    return '--source_options "' + str({**_given.get(), name: value}) + '"'


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def expected_cause(error: BaseException) -> BaseException | None:
    """Return the error in a chain of errors that is not a defect, or ``None``.

    MONAI wraps what this package raises in "Failed to evaluate ConfigExpression", and that wraps what a decoder raised.
    What the operating system refuses to write, and Ctrl-C, are no defects either.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, EXPECTED) and not _is_refused(cause):
        cause = cause.__cause__
    return cause


def _is_refused(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (*DISK_FULL, *_NOT_WRITABLE)


def report_errors_in_one_line() -> None:
    """Let this process end with ``error: <expected, got, what to do>`` where its input is at fault.

    Called by the bundles' ``initialize``. With ``MONAI_DEBUG=true`` in the environment tracebacks stay whole.
    """
    if os.environ.get("MONAI_DEBUG", "false").lower() not in ("true", "1"):
        sys.excepthook = _report
        threading.excepthook = _report_of_thread


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    cause = expected_cause(error)
    if isinstance(cause, KeyboardInterrupt):
        sys.stderr.write("interrupted: all files that were written are complete; run the same command again\n")
    elif isinstance(cause, OSError) and _is_refused(cause):
        hint = "make room" if cause.errno in DISK_FULL else "check the folder"
        sys.stderr.write(
            f"error: {cause.filename or 'an output'}: cannot be written ({cause.strerror}); {hint} and run the same "
            "command again\n"
        )
    elif cause is not None:
        sys.stderr.write(f"error: {cause}\n")
    else:
        sys.__excepthook__(kind, error, traceback)


def _report_of_thread(args: threading.ExceptHookArgs) -> None:
    # TensorBoard writes in a thread, and raises its error again in the thread that asked for it
    if args.exc_value is None or not _is_refused(args.exc_value):
        threading.__excepthook__(args)
