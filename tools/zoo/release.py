"""A packaged bundle as it lies in a folder to share."""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from tools.zoo.archive import sha256_of, unpack
from tools.zoo.layout import checked_version, read_metadata

_TEXTS = ("LICENSE", "docs/README.md", "docs/data_license.txt")
_FIGURE = "docs/example.png"


@dataclass(frozen=True)
class Release:
    """One version of a packaged bundle."""

    file: str  # name of the zip
    name: str  # its top folder
    version: str
    size: int  # in bytes
    sha1: str  # the checksum that the index of the MONAI Model Zoo holds
    sha256: str
    metadata: dict[str, Any]
    texts: dict[str, str]  # LICENSE, docs/README.md and docs/data_license.txt by path, those that are there
    figure: bytes  # docs/example.png; empty if there is none
    members: frozenset[str]  # paths of all files, relative to the bundle's folder

    @property
    def has_weights(self) -> bool:
        """True if it is trained; its weights may be downloaded apart."""
        return "models/model.pt" in self.members or "large_files.yml" in self.members

    @classmethod
    def read(cls, path: Path) -> Release:
        """Unpack a zip into a temporary folder, which checks it, and read what the index and the gallery show.

        Raises:
            ValueError: the zip is not safe or not whole, or holds another bundle or version than its name says.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = unpack(path, Path(temporary))
            version = checked_version(folder)
            if path.name != f"{folder.name}_v{version}.zip":
                raise ValueError(
                    f"{path}: expected the name {folder.name}_v{version}.zip, by what it holds; package the bundle "
                    "again, or move the file away"
                )
            members = frozenset(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
            return cls(
                file=path.name,
                name=folder.name,
                version=version,
                size=path.stat().st_size,
                sha1=hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest(),
                sha256=sha256_of(path),
                metadata=read_metadata(folder),
                texts={name: (folder / name).read_text("utf-8", "replace") for name in _TEXTS if name in members},
                figure=(folder / _FIGURE).read_bytes() if _FIGURE in members else b"",
                members=members,
            )


def find_releases(folder: Path) -> dict[str, list[Release]]:
    """Return all packaged bundles of a folder by the bundle's name, the newest first; raises like `Release.read`."""
    found: dict[str, list[Release]] = {}
    for path in sorted(folder.glob("*_v*.zip")):
        if re.fullmatch(r"[\w-]+_v\d[\w.+-]*\.zip", path.name):
            release = Release.read(path)
            found.setdefault(release.name, []).append(release)
    return {name: sorted(found[name], key=lambda one: Version(one.version), reverse=True) for name in sorted(found)}
