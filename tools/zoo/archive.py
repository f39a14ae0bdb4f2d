"""Unpacking of a bundle's zip: whole and inside its folder, or not at all."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

MAX_FILES = 10_000
MAX_BYTES = 8 * 2**30
MAX_RATIO = 100
"""Unpacked size over packed size of the whole archive; text reaches about 10, weights about 1."""

_CHUNK = 2**20
_LONGEST_END = 22 + 2**16  # bytes of the record at a zip's end, with its comment
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # plain, strong, and names hidden


def unpack(archive: Path, folder: Path, sha256: str = "") -> Path:
    """Unpack a bundle's zip into a folder, which is made if need be.

    Nothing is written before all entries are known to be harmless, and nothing stays if the contents turn out wrong.

    Args:
        archive: zip with one top folder, the bundle.
        folder: folder into which the bundle's folder is written.
        sha256: checksum that the archive must have; default is that of the file `<archive>.sha256`, if there is one.

    Returns:
        The bundle's folder, `folder/<top folder of the archive>`.

    Raises:
        ValueError: wrong checksum, no zip, damaged, an entry that is no plain file inside one top folder, too large,
            or the bundle's folder is there already.
    """
    with open(archive, "rb") as stream:
        _check_sum(archive, _sha256(stream), sha256)
        stream.seek(0)
        try:
            with zipfile.ZipFile(stream) as opened:
                if len(opened.infolist()) != _declared_entries(stream):  # a damaged length can swallow those after it
                    raise zipfile.BadZipFile("its list of entries is not as long as it says")
                entries = _checked(archive, opened.infolist())
                target = folder / entries[0].filename.partition("/")[0]
                if target.exists() or target.is_symlink():
                    raise ValueError(f"{target} is there already; remove it or unpack into another folder")
                with scratch_folder(folder) as scratch:
                    for entry in entries:
                        _extract(opened, entry, scratch / entry.filename)
                    (scratch / target.name).rename(target)
        except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that is an impossible offset in the zip
                raise
            raise ValueError(
                f"{archive}: expected a bundle's zip, got a damaged file ({error}); fetch it again"
            ) from None
    return target


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return _sha256(stream)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a hidden empty folder in `parent`, for what is moved to its place when it is whole; removed at the end.

    Missing parents are made, and removed too if nothing came to stay in them.
    """
    missing = [path for path in (parent, *parent.parents) if not path.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    scratch = parent / f".{uuid4().hex}"
    try:
        scratch.mkdir()
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with suppress(OSError):  # not empty: something stays
            for path in missing:
                path.rmdir()


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _declared_entries(stream: BinaryIO) -> int:
    """Return the number of entries that the end of a zip states; archives of 65,535 and more are refused."""
    stream.seek(0, 2)
    stream.seek(max(0, stream.tell() - _LONGEST_END))
    end = stream.read()
    start = end.rfind(b"PK\x05\x06") + 10
    return int.from_bytes(end[start : start + 2], "little")


def _check_sum(archive: Path, got: str, expected: str) -> None:
    beside = archive.with_name(f"{archive.name}.sha256")
    source = "given"
    if not expected and beside.is_file():
        source = f"in {beside.name}"
        expected = beside.read_text(encoding="utf-8", errors="replace").partition(" ")[0].strip()
        if not re.fullmatch("[0-9a-fA-F]{64}", expected):
            raise ValueError(f"{beside}: expected `<SHA-256>  <file name>`; fetch it again or remove it")
    if expected and got != expected.lower():
        raise ValueError(f"{archive}: expected the SHA-256 {source}, {expected}, got {got}; fetch the file again")


def _checked(archive: Path, entries: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """Return the entries, if all of them are harmless together."""
    size, packed = sum(entry.file_size for entry in entries), archive.stat().st_size
    if not entries or len(entries) > MAX_FILES:
        raise ValueError(f"{archive}: expected 1 to {MAX_FILES} entries, got {len(entries)}; this is no bundle")
    if size > MAX_BYTES or size > MAX_RATIO * packed:
        raise ValueError(
            f"{archive}: {packed} bytes that unpack to {size}; at most {MAX_BYTES} and {MAX_RATIO} times the size of "
            "the archive are unpacked"
        )
    files: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        if fault := _fault(entry):
            raise ValueError(f"{archive}: entry {entry.orig_filename!r} {fault}; nothing was unpacked")
        # as a file system that ignores case and composition of letters sees the name
        name = unicodedata.normalize("NFC", entry.filename).casefold().rstrip("/")
        parents = {name[: place.start()] for place in re.finditer("/", name)}
        if name in files or parents & files or (name in folders and not entry.is_dir()):
            raise ValueError(f"{archive}: entry {entry.orig_filename!r} is there twice; nothing was unpacked")
        folders |= parents
        (folders if entry.is_dir() else files).add(name)
    tops = sorted({entry.filename.partition("/")[0] for entry in entries})
    if len(tops) > 1 or not folders:
        raise ValueError(f"{archive}: expected one top folder, the bundle, got {', '.join(map(repr, tops[:5]))}")
    return entries


def _fault(entry: zipfile.ZipInfo) -> str:
    """Return what is wrong with an entry; empty if nothing is."""
    name = entry.orig_filename
    if name != entry.filename or not name.isprintable() or re.search(r"[\\:]", name):
        return "has characters in its name that are not for file names"
    if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in name.removesuffix("/").split("/")):
        return "leads out of its folder or has no proper name"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        return "is a link or a device, not a file"
    if entry.is_dir() and entry.file_size:
        return "is a folder with contents of its own"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if entry.compress_type not in _COMPRESSIONS:
        return "is neither stored nor deflated"
    return ""


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Write one entry; `zipfile` compares the checksum, and never gives more than the size declared."""
    if entry.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, open(target, "xb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
        if file.tell() != entry.file_size:
            raise zipfile.BadZipFile(f"{entry.filename} is shorter than declared")
