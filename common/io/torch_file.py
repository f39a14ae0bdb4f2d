"""Files of `torch.save` with a checksum: written whole, and read only if every bit is as it was written."""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from common.errors import DataError
from common.io.atomic import atomic_path

_MARK = b"sha256:"
_COMMENT_LENGTH = len(_MARK) + hashlib.sha256().digest_size * 2
_NAME_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.pth?")


class DamagedFileError(DataError):
    """A file whose content is not what was written."""


def save_torch(content: Any, path: Path | str) -> None:
    """Write tensors and plain containers of them, with the SHA-256 of the file as the comment of its zip archive.

    Args:
        content: what `torch.load` reads with ``weights_only=True``.
        path: file, replaced atomically.

    Raises:
        DataError: if it cannot be written; DiskFullError if the disk is full.
    """
    buffer = BytesIO()
    torch.save(content, buffer)
    # the last two bytes of a zip archive without a comment are the length of the comment
    buffer.seek(-2, 2)
    buffer.write(_COMMENT_LENGTH.to_bytes(2, "little"))
    comment = _MARK + hashlib.sha256(buffer.getbuffer()).hexdigest().encode()
    buffer.write(comment)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_torch(path: Path | str) -> Any:
    """Read a file of `torch.save` on the CPU, if it is what was written.

    The file is compared with the checksum of `save_torch`. One without, of another program, is compared with the CRC-32
    of each of its members, and where its name has the form ``name-<first digits of its SHA-256>.pth``, torchvision's,
    with that. A pickle that would run code is refused unread.

    Raises:
        FileNotFoundError: without such a file.
        DamagedFileError: if the file is not what was written, or not of `torch.save`.
        DataError: if the file contains other objects than tensors and plain containers of them.
    """
    content = _checked_content(Path(path))
    try:
        return torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: expected a file of tensors alone, got one with other objects ({_reason(error)}); it was not "
            "executed: get it again from its source"
        ) from None


def _reason(error: pickle.UnpicklingError) -> str:
    found = re.search(r"GLOBAL (\S+)", str(error))
    return found[1] if found else type(error).__name__


def _checked_content(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the path")
    content, named = path.read_bytes(), _NAME_DIGEST.search(path.name)
    if not (hashlib.sha256(content).hexdigest().startswith(named[1]) if named else _is_whole(content)):
        raise DamagedFileError(
            f"{path}: the file is damaged or not of torch.save, its checksum does not fit; get it again from its source"
        )
    return content


def _is_whole(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            comment = archive.comment
            if not comment:
                return archive.testzip() is None and any(name.endswith("/data.pkl") for name in archive.namelist())
    except MemoryError:
        raise
    except Exception:  # damage of a zip archive raises many kinds
        return False
    digest = hashlib.sha256(memoryview(content)[: -len(comment)]).hexdigest().encode()
    return content.endswith(comment) and comment == _MARK + digest
