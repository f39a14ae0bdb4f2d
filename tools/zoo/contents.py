"""What in a bundle's folder belongs to the bundle; all else stays behind when it is packaged."""

from __future__ import annotations

from pathlib import Path

_CONTENTS = (
    "LICENSE",
    "configs/*.json",
    "configs/logging.conf",
    "scripts/**/*.py",
    *(f"docs/**/*.{kind}" for kind in ("md", "txt", "png", "jpg", "svg", "gif", "csv")),
    "models/model.pt",
    "models/model_*.pt",
    "models/vgg19_*.pt",
)


def own_files(bundle: Path) -> list[str]:
    """The files that belong to a bundle, by their path in it, sorted; never hidden ones."""
    return _visible(bundle, _CONTENTS)


def left_files(bundle: Path) -> list[str]:
    """Files beside those that belong, of which someone may think that they do."""
    beside = _visible(bundle, ("configs/**/*", "scripts/**/*", "docs/**/*"))
    return [file for file in beside if file not in own_files(bundle) and "__pycache__" not in file]


def read_source(path: Path) -> str:
    """The text of a file.

    Raises:
        ValueError: if it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, got {error.reason} at byte {error.start}; mend it") from None


def _visible(bundle: Path, patterns: tuple[str, ...]) -> list[str]:
    found = {path.relative_to(bundle) for pattern in patterns for path in bundle.glob(pattern) if path.is_file()}
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
