"""One line for what the operating system refuses when a file is written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import DISK_FULL, DataError


class DiskFullError(DataError):
    """There is no room for the output; nothing that was written is lost."""


@contextmanager
def disk_errors(path: Path, n_bytes: int | None = None) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into one line.

    Args:
        path: what is being written.
        n_bytes: size of the whole output, if it is known.
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
        folder = next(place for place in (path.absolute(), *path.absolute().parents) if place.is_dir())
        needed = "" if n_bytes is None else f"the output needs up to {_size(n_bytes)} and "
        raise DiskFullError(
            f"{path}: the disk is full ({error.strerror}), {needed}{_size(shutil.disk_usage(folder).free)} are free; "
            "make room and run the same command again to resume"
        ) from error


def allocate(path: Path, n_bytes: int) -> None:
    """Make a file ``n_bytes`` long, its space taken from the disk now where the system can do that.

    Raises:
        OSError: if the disk does not have it.
    """
    with open(path, "r+b") as file:
        if hasattr(os, "posix_fallocate") and n_bytes:
            try:
                os.posix_fallocate(file.fileno(), 0, n_bytes)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    raise
        file.truncate(n_bytes)


@contextmanager
def removed_on_error(path: Path) -> Iterator[Path]:
    """A path of which nothing is left if the block ends with an error."""
    try:
        yield path
    except BaseException:
        remove(path)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
