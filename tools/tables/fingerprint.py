"""What the results of a run depend on: while that stays, they need not be computed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tools.comparison.bundle_runs import config_files
from tools.comparison.entries import BundleEntry
from tools.zoo.imports import COMMON, reach
from tools.zoo.layout import ROOT

_COMPARISON = ("tools/comparison/*.py", "tools/compare.py", "tools/classical.py", "tools/results.py")
"""Sources that a comparison depends on besides those of its bundles."""


@dataclass(frozen=True)
class Fingerprint:
    """Of a run.

    Attributes:
        own: of all but `common`: what was asked for, configurations, scripts, weights, data, PyTorch.
        common: of all of `common`.
        bundles: whose part of `common` counts, where another part has changed.
    """

    own: str
    common: str
    bundles: tuple[Path, ...]

    def record(self) -> dict[str, str]:
        """To be kept beside the results."""
        return {"own": self.own, "common": self.common, "reached": self._reached()}

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether results with this record are those of the run as it is now."""
        if record.get("own") != self.own:
            return False
        # what a bundle reaches takes seconds to find out
        return record.get("common") == self.common or record.get("reached") == self._reached()

    def _reached(self) -> str:
        return _hash([_reached(bundle, self.common) for bundle in self.bundles])


def evaluation_fingerprint(told: Mapping[str, Any], bundle: Path, configs: Sequence[Path], data: Path) -> Fingerprint:
    """Of an evaluation of a bundle.

    Args:
        told: what was asked for.
        bundle: its folder.
        configs: configuration files of the run.
        data: folder of its data.
    """
    return _fingerprint(told, data, (bundle,), [_digest(path) for path in configs])


def comparison_fingerprint(told: Mapping[str, Any], entries: Sequence[BundleEntry], data: Path) -> Fingerprint:
    """Of a comparison of bundles."""
    configs = [_digest(path) for entry in entries for path in config_files(entry)]
    checkpoints = [_digest(entry.checkpoint) for entry in entries if entry.checkpoint]
    tools = [_digest(path) for pattern in _COMPARISON for path in sorted(ROOT.glob(pattern))]
    bundles = tuple(dict.fromkeys(entry.root for entry in entries))
    return _fingerprint(told, data, bundles, [*configs, *checkpoints, *tools])


def _fingerprint(told: Mapping[str, Any], data: Path, bundles: tuple[Path, ...], further: list[str]) -> Fingerprint:
    files = [path for bundle in bundles for part in ("scripts/**/*.py", "models/*.pt") for path in bundle.glob(part)]
    own = [torch.__version__, told, _digests(files), further, _files_named(told), _listing(data)]
    return Fingerprint(_hash(own), _hash(_digests(COMMON.glob("**/*.py"))), bundles)


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


@cache
def _reached(bundle: Path, common: str) -> str:
    """Of the part of `common` that a bundle reaches, while all of it is the given one."""
    return _hash(reach(bundle).files)


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """Files of a data set, with size and time: to read all of it may take as long as the run."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _files_named(value: Any) -> list[str]:
    """Digests of the files that a nested value names."""
    if isinstance(value, Mapping):
        return [digest for inner in value.values() for digest in _files_named(inner)]
    if isinstance(value, list):
        return [digest for inner in value for digest in _files_named(inner)]
    is_path = isinstance(value, str) and "/" in value and not value.startswith("$")
    return [_digest(Path(value))] if is_path and Path(value).is_file() else []


def _digests(paths: Iterable[Path]) -> list[tuple[str, str]]:
    return [(str(path), _digest(path)) for path in sorted(paths)]


def _digest(path: Path) -> str:
    return _digest_of(path, path.stat().st_mtime_ns, path.stat().st_size)


@cache
def _digest_of(path: Path, mtime_ns: int, size: int) -> str:
    """Of a file's content, while it has this time and size."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
