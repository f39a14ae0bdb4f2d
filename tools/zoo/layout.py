"""Folders of the bundles in this repository, and their metadata."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ROOT / "bundles"


def bundle_names() -> list[str]:
    """Return the names of the bundles in this repository, sorted."""
    return sorted(metadata.parents[1].name for metadata in BUNDLES.glob("*/configs/metadata.json"))


def find_bundle(name: str) -> Path:
    """Return the folder of a bundle.

    Args:
        name: name of a bundle in this repository, or the path of a bundle's folder.

    Raises:
        ValueError: it is neither.
    """
    for folder in (BUNDLES / name, Path(name)):
        if name and (folder / "configs" / "metadata.json").is_file():
            return folder.resolve()
    known = ", ".join(bundle_names()) or "none"
    raise ValueError(
        f"{name}: expected the name of a bundle ({known}) or a folder that holds configs/metadata.json; "
        "`python -m tools new NAME --kind KIND` writes a new one"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a JSON file, got {' '.join(str(error).split())}; mend it") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(found).__name__}; mend it")
    return found


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read configs/metadata.json of a bundle's folder; raises like `read_json`."""
    return read_json(folder / "configs" / "metadata.json")


def bundle_version(folder: Path) -> str:
    """Return the version that a bundle's metadata state; empty if they state none."""
    return str(read_metadata(folder).get("version") or "")


def checked_version(folder: Path) -> str:
    """Return the version of a bundle, which is the newest of its changelog.

    Raises:
        ValueError: it is not, or `<name>_v<version>` could not be parted again.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", folder.name) or re.search(r"_v\d", folder.name):
        raise ValueError(
            f"{folder}: expected a bundle's name of small letters, digits and _ without _v<digit>; rename the folder"
        )
    metadata = read_metadata(folder)
    version, changelog = metadata.get("version"), metadata.get("changelog")
    try:
        newest = max(dict(changelog or {}), key=Version, default=None)
    except (ValueError, TypeError):
        newest = None
    if not version or version != newest:
        raise ValueError(
            f"{folder / 'configs' / 'metadata.json'}: expected the newest version of `changelog`, {newest}, as "
            f"`version`, got {version!r}; correct one of them"
        )
    return str(version)
