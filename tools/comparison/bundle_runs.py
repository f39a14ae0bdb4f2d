"""Runs of a bundle's own inference in a separate process, which keep its measurements and reconstructions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.comparison.capture import PROGRESS, CaseFolder
from tools.comparison.entries import BundleEntry
from tools.comparison.tasks import SUPER_RESOLUTION
from tools.zoo.layout import ROOT, read_json

CAPTURE = "tools.comparison.capture.SaveCases"
PATHS = ("mask#file",)
"""Keys of a bundle's configuration that name files, which the user gives relative to the current folder."""


def config_files(entry: BundleEntry) -> list[Path]:
    """List the configurations of an evaluator of truth and result; each overrides those before it.

    A bundle of reconstruction uses `inference.json`, with or without a truth in the data. A bundle of super-resolution
    would enlarge the truth with `inference.json` alone, so `evaluate.json` follows it. A variant adds
    `inference_<variant>.json` and `evaluate_<variant>.json`, each after the file it changes. If neither exists,
    `<variant>.json`, which serves training too, comes last, provided that the others have all of its keys.

    Raises:
        ValueError: the bundle has no such variant.
    """
    configs = entry.root / "configs"
    names = ["inference", "evaluate"] if entry.task == SUPER_RESOLUTION else ["inference"]
    if not entry.variant:
        return [configs / f"{name}.json" for name in names]
    variants = {name: configs / f"{name}_{entry.variant}.json" for name in names}
    if not any(path.is_file() for path in variants.values()):
        plain, common = [configs / f"{name}.json" for name in names], configs / f"{entry.variant}.json"
        if entry.variant not in names and common.is_file() and not _unknown_keys(common, plain):
            return [*plain, common]
        raise ValueError(
            f"{entry.label}: has no variant {entry.variant!r}, no {' or '.join(map(str, variants.values()))}"
        )
    pairs = [(configs / f"{name}.json", path) for name, path in variants.items()]
    return [path for plain, variant in pairs for path in (plain, variant) if path is plain or path.is_file()]


def _unknown_keys(differences: Path, files: Sequence[Path]) -> set[str]:
    """Keys of a variant's file, without comments, that the other files lack."""
    known = {key for path in files for key in read_json(path)}
    return {key for key in read_json(differences) if key[0] != "_" and key.partition("#")[0] not in known}


def configuration(entry: BundleEntry) -> dict[str, Any]:
    """Merge the top-level keys of a bundle's configurations in the order of `config_files`.

    Raises:
        ValueError: a file is missing or damaged.
    """
    return {key.partition("#")[0]: value for path in config_files(entry) for key, value in read_json(path).items()}


def check_overrides(entry: BundleEntry, overrides: Mapping[str, Any]) -> None:
    """Check that the bundle's configuration has all keys that are to be changed.

    Raises:
        ValueError: the configuration lacks a key, or a file is missing.
    """
    files = config_files(entry)
    known = configuration(entry)
    given = [*overrides, *(["checkpoint"] if entry.checkpoint else [])]
    if unknown := [key for key in given if key.partition("#")[0] not in known]:
        raise ValueError(
            f"{entry.label}: unknown option --{unknown[0]}, {' and '.join(map(str, files))} has no such key; "
            f"it has {', '.join(sorted(key for key in known if key[0].islower()))}"
        )


def run_bundle(
    entry: BundleEntry,
    dataset_dir: Path,
    overrides: Mapping[str, Any],
    folder: Path,
    notify: Callable[[int, int], None],
) -> CaseFolder:
    """Run `python -m monai.bundle run` with the bundle's own configuration and other handlers.

    Each bundle has a process of its own, because two in one process would share the names `common` and `scripts`.

    Args:
        entry: bundle to run.
        dataset_dir: folder of the data.
        overrides: keys of the configuration to values.
        folder: new folder for the run.
        notify: function called with the number of finished batches and the number of all batches.

    Returns:
        "image", "pred" and "label" of all cases, and "sample" if there is one.

    Raises:
        ValueError: the run failed; the message is the bundle's own.
    """
    folder.mkdir(parents=True)
    cases = CaseFolder(folder / "cases")
    changes: dict[str, Any] = {key: _absolute(key, value) for key, value in overrides.items()}
    changes |= {"bundle_root": str(entry.root), "dataset_dir": str(dataset_dir.resolve())}
    if entry.checkpoint:
        changes["checkpoint"] = str(entry.checkpoint)
    changes["handlers"] = [{"_target_": CAPTURE, "folder": str(cases.folder)}]
    change_file = folder / "compare.json"
    change_file.write_text(json.dumps(changes), encoding="utf-8")
    configs = json.dumps([*map(str, config_files(entry)), str(change_file)])
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", configs]
    log: list[str] = []
    # the empty folder is the first on the path, then the bundle, then what this process sees
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None  # for the type checker
        try:
            for line in process.stdout:
                words = line.split()
                if len(words) == 3 and words[0] == PROGRESS:
                    notify(int(words[1]), int(words[2]))
                else:
                    log.append(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise ValueError(f"{entry.label}: {failure(log, process.returncode)}")
    return cases


def _absolute(key: str, value: Any) -> Any:
    return str(Path(value).resolve()) if key in PATHS and isinstance(value, str) else value


def failure(log: Sequence[str], status: int) -> str:
    """Return the error of a failed run in one line: its `error:` line, or the last line, with the log on stderr."""
    lines = [line.strip() for line in log if line.strip()]
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    sys.stderr.write("".join(log[-40:]))
    return f"its inference ended with status {status}: {lines[-1] if lines else 'no output'}"
