"""Unpacking of a bundle's zip: whole and inside its folder, or not at all."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

MAX_FILES = 10_000
MAX_BYTES = 8 * 2**30
MAX_RATIO = 100
"""Unpacked size over packed size of the whole archive; text reaches about 10, weights about 1."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, RuntimeError)


def unpack(archive: Path, folder: Path, sha256: str = "") -> Path:
    """Unpack a bundle's zip into a folder, which is made if need be, and return the bundle's folder.

    Nothing is written before all entries are known to be harmless, and nothing stays if the contents turn out wrong.

    Args:
        archive: zip with one top folder, the bundle.
        folder: folder into which the bundle's folder is written.
        sha256: checksum that the archive must have; default is that of the file `<archive>.sha256`, if there is one.

    Raises:
        ValueError: wrong checksum, damaged, an entry that is no plain file inside one top folder, too large, or the
            bundle's folder is there already.
    """
    beside = archive.with_name(f"{archive.name}.sha256")
    if not sha256 and beside.is_file():
        sha256 = (beside.read_text(encoding="utf-8", errors="replace").split() or [beside.name])[0]
    if sha256 and sha256_of(archive) != sha256.lower():
        raise ValueError(f"{archive}: expected the SHA-256 {sha256}, got {sha256_of(archive)}; fetch the file again")
    try:
        with zipfile.ZipFile(archive) as opened:
            target = folder / _top_folder(archive, opened.infolist())
            if target.exists() or target.is_symlink():
                raise ValueError(f"{target} is there already; remove it or unpack into another folder")
            with scratch_folder(folder) as scratch:
                opened.extractall(scratch)
                (scratch / target.name).rename(target)
    except _DAMAGE as error:
        raise ValueError(f"{archive}: expected a bundle's zip, got a damaged file ({error}); fetch it again") from None
    return target


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def _top_folder(archive: Path, entries: list[zipfile.ZipInfo]) -> str:
    """Return the one folder that the entries are in, if all of them are harmless together."""
    size, packed = sum(entry.file_size for entry in entries), archive.stat().st_size
    if not 0 < len(entries) <= MAX_FILES or size > min(MAX_BYTES, MAX_RATIO * packed):
        raise ValueError(
            f"{archive}: expected 1 to {MAX_FILES} entries of at most {MAX_BYTES} bytes, {MAX_RATIO} times the size "
            f"of the archive, got {len(entries)} of {size} bytes; this is no bundle"
        )
    for entry in entries:
        name = entry.orig_filename
        parts = name.removesuffix("/").split("/")
        if name != entry.filename or not name.isprintable() or re.search(r"[\\:]", name) or {"", ".", ".."} & {*parts}:
            raise ValueError(f"{archive}: entry {name!r} leads out of its folder or has no proper name")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
            raise ValueError(f"{archive}: entry {name!r} is a link or a device, not a file")
    names = [entry.filename.rstrip("/").casefold() for entry in entries]
    folders = {name[: slash.start()] for name in names for slash in re.finditer("/", name)}
    files = {name for name, entry in zip(names, entries, strict=True) if not entry.is_dir()}
    if len({*names}) < len(names) or files & folders:
        raise ValueError(f"{archive}: an entry is there twice, in small letters or large; nothing was unpacked")
    tops = sorted({entry.filename.partition("/")[0] for entry in entries})
    if len(tops) > 1 or not folders:
        raise ValueError(f"{archive}: expected one top folder, the bundle, got {', '.join(map(repr, tops[:5]))}")
    return tops[0]
