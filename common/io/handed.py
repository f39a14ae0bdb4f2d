"""Open files that the choice of a format leaves to the format's reader, so that a file is opened once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

_local = threading.local()


def hand_over(path: Path, file: Any) -> None:
    """Leave an open file, which has a method ``close``, to the reader of the same path."""
    release()
    _local.handed = path, file


def take(path: Path) -> Any:
    """Return the open file that was left for a path, or ``None``; the caller closes it."""
    handed = getattr(_local, "handed", None)
    if handed is None or handed[0] != path:
        return None
    _local.handed = None
    return handed[1]


def release() -> None:
    """Close a file that was left and not taken."""
    handed, _local.handed = getattr(_local, "handed", None), None
    if handed is not None:
        handed[1].close()
