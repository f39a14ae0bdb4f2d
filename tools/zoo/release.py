"""A packaged bundle as it lies in a folder to share."""

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


@dataclass(frozen=True)
class Release:
    """One version of a packaged bundle.

    Args:
        file: name of the zip.
        name: name of the bundle, which is the zip's top folder.
        version: version that its metadata state.
        size: size of the zip in bytes.
        sha1: checksum of the zip that the index of the MONAI Model Zoo holds.
        sha256: checksum of the zip.
        metadata: contents of `configs/metadata.json`.
        texts: LICENSE, docs/README.md and docs/data_license.txt by path, those that are there.
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
        """True if it is trained; its weights may be downloaded apart."""
        return "models/model.pt" in self.members or "large_files.yml" in self.members

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
                    f"{path}: expected {match['name']} {match['version']} as the file's name says, got {folder.name} "
                    f"{version}; package the bundle again, or move the file away"
                )
            members = frozenset(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
            texts = {name: (folder / name).read_text("utf-8", "replace") for name in _TEXTS if name in members}
            return cls(
                file=path.name,
                name=folder.name,
                version=version,
                size=path.stat().st_size,
                sha1=hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest(),
                sha256=sha256_of(path),
                metadata=read_json(folder / "configs" / "metadata.json"),
                texts=texts,
                figure=(folder / _FIGURE).read_bytes() if _FIGURE in members else b"",
                members=members,
            )


def find_releases(folder: Path) -> dict[str, list[Release]]:
    """Return all packaged bundles of a folder by the bundle's name, the newest first.

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
