"""A packaged bundle as it lies in a folder to share: what its zip holds, read from the zip itself."""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from tools.zoo.archive import sha256_of, unpack
from tools.zoo.layout import bundle_version, read_json

_FILE = re.compile(r"(?P<name>[\w-]+?)_v(?P<version>\d[\w.+-]*)\.zip")
_TEXTS = ("LICENSE", "docs/README.md", "docs/data_license.txt")
_FIGURE = "docs/example.png"
LARGE_FILES = "large_files.yml"


@dataclass(frozen=True)
class Release:
    """One version of a bundle, packaged.

    Args:
        file: name of the zip.
        name: of the bundle, which is the zip's top folder.
        version: as its metadata say.
        size: of the zip in bytes.
        sha1: of the zip; the checksum that the MONAI Model Zoo's index holds.
        sha256: of the zip.
        metadata: `configs/metadata.json`.
        texts: LICENSE, docs/README.md and docs/data_license.txt by path; those that are there.
        figure: docs/example.png; empty if there is none.
        members: paths of all files, relative to the bundle's folder.
    """

    file: str
    name: str
    version: str
    size: int
    sha1: str
    sha256: str
    metadata: dict[str, Any]
    texts: dict[str, str]
    figure: bytes
    members: frozenset[str]

    @property
    def has_weights(self) -> bool:
        """Whether it is trained; its weights may be downloaded apart."""
        return "models/model.pt" in self.members or LARGE_FILES in self.members

    @classmethod
    def read(cls, path: Path) -> Release:
        """Unpack a zip into a temporary folder, which checks it, and read what the index and the gallery show.

        Raises:
            ValueError: the zip is not safe or not whole, or holds another bundle or version than its name says.
        """
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path}: expected a name such as NAME_v0.1.0.zip; package the bundle again")
        with tempfile.TemporaryDirectory() as temporary:
            folder = unpack(path, Path(temporary))
            version = bundle_version(folder)
            if (folder.name, version) != match.group("name", "version"):
                raise ValueError(
                    f"{path}: expected {match['name']} {match['version']} as the file's name says, "
                    f"got {folder.name} {version}; package the bundle again, or move the file away"
                )
            figure = folder / _FIGURE
            return cls(
                file=path.name,
                name=folder.name,
                version=version,
                size=path.stat().st_size,
                sha1=_sha1_of(path),
                sha256=sha256_of(path),
                metadata=read_json(folder / "configs" / "metadata.json"),
                texts={name: _read_text(folder / name) for name in _TEXTS if (folder / name).is_file()},
                figure=figure.read_bytes() if figure.is_file() else b"",
                members=frozenset(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()),
            )


def find_releases(folder: Path) -> dict[str, list[Release]]:
    """All packaged bundles of a folder: releases by the bundle's name, the newest first.

    Raises:
        ValueError: a zip is not as it should be, see `Release.read`, or its version is none that can be compared.
    """
    found: dict[str, list[Release]] = {}
    for path in sorted(folder.glob("*_v*.zip")):
        if _FILE.fullmatch(path.name):
            release = Release.read(path)
            found.setdefault(release.name, []).append(release)
    return {name: sorted(found[name], key=_order, reverse=True) for name in sorted(found)}


def _order(release: Release) -> Version:
    try:
        return Version(release.version)
    except InvalidVersion:
        raise ValueError(
            f"{release.file}: expected a version such as 0.1.0, got {release.version}; change it in metadata.json"
        ) from None


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _sha1_of(path: Path) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
