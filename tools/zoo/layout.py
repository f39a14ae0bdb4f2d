"""Folders of the bundles in this repository, and their metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def bundle_version(folder: Path) -> str:
    """Return the version that a bundle's metadata state.

    Raises:
        ValueError: they state none.
    """
    path = folder / "configs" / "metadata.json"
    version = read_json(path).get("version")
    if not isinstance(version, str) or not version:
        raise ValueError(f"{path}: expected a text under `version`, such as 0.1.0, got {version!r}; add it")
    return version
