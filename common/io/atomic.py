"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from common.io.disk import disk_errors


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path in the folder of ``path``, moved to ``path`` when the block ends without an error.

    Missing folders are made. On an error the temporary file is removed and an older ``path`` stays as it was.
    The temporary name is hidden and ends as ``path`` does, because some encoders look at the suffix.

    Raises:
        DataError: for what the operating system refuses; DiskFullError if the disk is full.
    """
    path = Path(path)
    temporary = path.parent / f".tmp-{uuid4().hex}-{path.name[-100:]}"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path, name: str) -> None:
    """Remove the temporary files that killed runs left.

    Args:
        folder: folder of the files.
        name: their name, or a pattern of it; the caller knows that no other process writes such files there.
    """
    for path in folder.glob(f".tmp-*-{name}"):
        path.unlink(missing_ok=True)
