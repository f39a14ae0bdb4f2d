"""How a run on the command line ends when its input is at fault: with one line, not with MONAI's traceback."""

import os
import sys
from types import TracebackType

from common.data.errors import DataError
from common.engines.gan_trainer import NonFiniteLossError

# what this package raises on purpose; anything else is a defect, and keeps its traceback
EXPECTED = (DataError, NonFiniteLossError, FileNotFoundError, ValueError)


def expected_cause(error: BaseException) -> BaseException | None:
    """What this package raised in a chain of errors, or ``None``.

    MONAI wraps it in "Failed to evaluate ConfigExpression", and it wraps what a decoder raised.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, EXPECTED):
        cause = cause.__cause__
    return cause


def report_errors_in_one_line() -> None:
    """Let this process end with ``error: <expected, got, way out>`` where its input is at fault.

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
