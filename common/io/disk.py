"""Errors of the operating system when a file is written, in one line."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import DISK_FULL, DataError


class DiskFullError(DataError):
    """Full disk; nothing that was written is lost."""


def check_room(path: Path, n_bytes: int) -> None:
    """Check that the disk has room for ``n_bytes`` of an output.

    Raises:
        DiskFullError: it has less.
    """
    if (free := _free(path)) < n_bytes:
        raise _full(path, n_bytes, "No space left on device", free)


@contextmanager
def disk_errors(path: Path, n_bytes: int | None = None) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into one line.

    Args:
        path: what is being written.
        n_bytes: room that the whole output needs on its way, if it is known.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by this package, with a message of its own
            raise
        if error.errno not in DISK_FULL:
            raise DataError(f"{path}: cannot be written ({error.strerror or error}); check the folder") from error
        if error.errno == errno.EFBIG:
            raise DiskFullError(
                f"{path}: the file would be larger than it may be ({error.strerror}); raise the limit (`ulimit -f`) or "
                "choose another disk, and run the same command again to resume"
            ) from error
        raise _full(path, n_bytes, str(error.strerror), _free(path)) from error


def _full(path: Path, n_bytes: int | None, reason: str, free: int) -> DiskFullError:
    needed = "" if n_bytes is None else f"the output needs up to {_size(n_bytes)} on its way and "
    return DiskFullError(
        f"{path}: the disk is full ({reason}), {needed}{_size(free)} are free; make room and run the same command "
        "again to resume"
    )


def _free(path: Path) -> int:
    return shutil.disk_usage(
        next(place for place in (path.absolute(), *path.absolute().parents) if place.is_dir())
    ).free


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
