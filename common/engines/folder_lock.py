"""One run at a time in a folder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import DataError
from common.io.disk import disk_errors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("recon")


@contextmanager
def folder_lock(folder: Path, patience_s: float = 10.0) -> Iterator[None]:
    """Keep other processes that ask for the same folder out, until the block or this process ends.

    The lock is one of the operating system (``flock``) on the folder itself: there is no lock file, and nothing is left
    by a process that was killed. File systems without such locks, and Windows, are not locked; the log says so.

    Args:
        folder: made if missing.
        patience_s: time to wait for the folder; workers of a killed process keep its lock for some seconds.

    Raises:
        DataError: if another process has the folder, or it cannot be written.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise DataError(f"{folder}: cannot be written (read-only); choose another folder (output_dir, ckpt_dir)")
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _wait_for(descriptor, folder, time.monotonic() + patience_s)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DataError(
                    f"{folder}: another training is running there; wait for its end, or choose another folder "
                    "(output_dir, ckpt_dir)"
                ) from None
            time.sleep(0.2)
        except OSError as error:
            logger.info(f"{folder}: cannot be locked ({error.strerror}); run one training at a time there")
            return
