"""Checks of a bundle's files; nothing of the bundle is imported or executed."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.bundle import verify_metadata
from packaging.version import InvalidVersion, Version
from torch.serialization import get_unsafe_globals_in_checkpoint

from common.io.torch_file import load_torch
from tools.zoo.archive import sha256_of
from tools.zoo.config_drift import config_differences
from tools.zoo.layout import read_json
from tools.zoo.package import LARGE_FILE_BYTES
from tools.zoo.probe import Check, Doubt, Skip, run_check
from tools.zoo.requirements import OPTIONAL, REQUIRED, with_packages

SCHEMA = Path(__file__).parents[1] / "meta_schema.json"
NECESSARY = ("LICENSE", "configs/metadata.json", "docs/README.md", "docs/data_license.txt")
PREFERRED = ("models/model.pt", "configs/inference.json", "configs/train.json", "configs/logging.conf")
LARGE_FILES = "large_files.yml"
TOP_ENTRIES = ("LICENSE", "configs", "docs", "models", "scripts", "common", LARGE_FILES)
KEYS = {
    "inference.json": ("output_dir", "network", "dataset#data", "handlers", "load_pretrain", "initialize"),
    "train.json": (
        *("output_dir", "ckpt_dir", "network", "val_interval", "train#dataset#data", "train#handlers"),
        *("validate#dataset", "validate#dataset#data", "validate#inferer", "validate#evaluator"),
        *("validate#handlers", "validate#key_metric", "initialize"),
    ),
}
"""Keys that the zoo's contribution guide asks for besides those that MONAI's `check_properties` requires."""
DATASET_DIR = "/workspace/data/"
README_SECTIONS = (
    *("Model Overview", "Data", "Training configuration", "Input", "Output", "Performance", "MONAI Bundle Commands"),
    *("Limitations", "References", "License"),
)
PERSONAL_PATHS = re.compile(
    rb"(?<![\w.])(?:/home/[\w.-]+|/Users/[\w.-]+|/root(?![\w-])|[A-Za-z]:[\\/]+Users\b)[\w./\\-]{0,80}"
)


def static_checks(folder: Path) -> Iterator[Check]:
    """Make all checks of a bundle's folder, and yield each as it ends."""
    for name, check in CHECKS.items():
        yield run_check(name, partial(check, folder))


def file_layout(folder: Path) -> str:
    """Check that necessary and preferred files are there, and no others than a bundle has."""
    if missing := [name for name in NECESSARY if not (folder / name).is_file()]:
        raise ValueError(f"expected {' and '.join(missing)} in the bundle, got no such file; add it")
    doubts = [f"no {name}" for name in PREFERRED if not (folder / name).is_file() and name not in large_files(folder)]
    doubts += [f"{path.name} is no part of a bundle" for path in folder.iterdir() if path.name not in TOP_ENTRIES]
    doubts += [f"{path.name} came along" for path in folder.rglob("*") if path.name in ("__pycache__", ".DS_Store")]
    if doubts:
        raise Doubt("; ".join(sorted(doubts)))
    return f"{len(_files(folder))} files"


def name_and_version(folder: Path) -> str:
    """Check that `<name>_v<version>` can be parted again, and that the version is the newest of the changelog."""
    name, metadata = folder.name, _metadata(folder)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or re.search(r"_v\d", name):
        raise ValueError(
            f"expected a bundle's name of small letters, digits and _ without _v<digit>, got {name}; rename its folder"
        )
    version, changelog = metadata.get("version"), metadata.get("changelog")
    try:
        newest = max(changelog or {}, key=Version, default=None)
    except (InvalidVersion, TypeError):
        newest = None
    if version is None or version != newest:
        raise ValueError(
            f"configs/metadata.json: expected the newest version of `changelog`, {newest}, as `version`, got {version}"
        )
    return f"{name} {version}"


def metadata_schema(folder: Path) -> str:
    """Check the metadata by MONAI's own function, with a copy of the schema."""
    _metadata(folder)  # its error is one line
    logging.disable(logging.INFO)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            schema = shutil.copy(SCHEMA, scratch)
            metadata = str(folder / "configs" / "metadata.json")
            verify_metadata(metadata, schema, hash_val=sha256_of(SCHEMA), hash_type="sha256")
    except ValueError as error:
        where = "#".join(map(str, getattr(error.__cause__, "absolute_path", ()))) or "all"
        raise ValueError(
            f"configs/metadata.json: {where}: {getattr(error.__cause__, 'message', error)}; correct it"
        ) from None
    finally:
        logging.disable(logging.NOTSET)
    return ""


def metadata_values(folder: Path) -> str:
    """Check that the descriptions of input and output have a name for each channel, and as many axes."""
    try:
        formats = _metadata(folder)["network_data_format"]
        image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
        for tensor in (image, pred):
            names = sorted(tensor["channel_def"], key=int)
            if names != [str(channel) for channel in range(tensor["num_channels"])]:
                raise ValueError(f"channel_def: expected {tensor['num_channels']} channels, got {names}")
        if len(image["spatial_shape"]) != len(pred["spatial_shape"]):
            raise ValueError("spatial_shape: expected as many axes in image and pred")
    except KeyError as error:
        raise Skip(f"metadata.json does not follow the schema: no {error}") from None
    except ValueError as error:
        raise ValueError(f"configs/metadata.json: {error}; correct it") from None
    return ""


def packages(folder: Path) -> str:
    """Check that the metadata name the packages that the bundle's code imports."""
    metadata = _metadata(folder)
    right = with_packages(metadata, folder, folder / "common")
    for key in (REQUIRED, OPTIONAL):
        if differing := sorted(metadata.get(key, {}).keys() ^ right.get(key, {}).keys()):
            raise ValueError(
                f"configs/metadata.json, {key}: expected {', '.join(right.get(key, {})) or 'none'}, which the code "
                f"imports; {', '.join(differing)} differs: package the bundle again, or correct it"
            )
    return ""


def config_keys(folder: Path) -> str:
    """Check that the configs name no place of a machine, and have the keys that bundles of the zoo have."""
    doubts = []
    for name, habits in KEYS.items():
        if not (path := folder / "configs" / name).is_file():
            continue
        config = read_json(path)
        if str(config.get("bundle_root", "")).startswith("/"):
            raise ValueError(f"configs/{name}: expected no absolute `bundle_root`, got {config['bundle_root']}")
        data = str(config.get("dataset_dir") or DATASET_DIR)
        if not data.startswith(DATASET_DIR):
            raise ValueError(f"configs/{name}: expected `dataset_dir` {DATASET_DIR}<name>, got {data}")
        if missing := [key for key in habits if not _has(config, key)]:
            doubts.append(f"configs/{name}: bundles of the zoo also have {', '.join(missing)}")
    if doubts:
        raise Doubt("; ".join(doubts))
    return ""


def config_drift(folder: Path) -> str:
    """Check that training and inference build the same network."""
    configs = {name: folder / "configs" / name for name in ("train.json", "inference.json")}
    if missing := [name for name, path in configs.items() if not path.is_file()]:
        raise Skip(f"no configs/{missing[0]}")
    train, inference = (read_json(path) for path in configs.values())
    if differences := config_differences(train, inference, "network_def"):
        texts = [f"{where}: {one!r} in train.json, {other!r} in inference.json" for where, one, other in differences]
        raise ValueError(f"expected one network_def in both configs, got {'; '.join(texts)}; make them equal")
    return ""


def personal_paths(folder: Path) -> str:
    """Check that no file names a place on somebody's own machine."""
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}
    found = [
        f"{name}: {match[0].decode(errors='replace')}"
        for name, content in contents.items()
        if any(start in content for start in (b"/home/", b"/root", b"Users"))  # quicker than the pattern in weights
        for match in PERSONAL_PATHS.finditer(content)
    ]
    if found:
        raise ValueError(f"expected no path of a person's machine, got {'; '.join(found[:5])}; use a relative path")
    return ""


def file_sizes(folder: Path) -> str:
    """Check that no file is larger than the zoo takes."""
    listed = large_files(folder)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
    large = [name for name, size in sizes.items() if size > LARGE_FILE_BYTES and name not in listed]
    if large:
        texts = [f"{name} {sizes[name] / 2**20:.1f} MB" for name in large]
        raise ValueError(
            f"expected files of at most {LARGE_FILE_BYTES / 2**20:.0f} MB, got {'; '.join(texts)}; store half "
            "precision, or package with --large-files"
        )
    return f"{sum(sizes.values()) / 2**20:.1f} MB"


def readme(folder: Path) -> str:
    """Check that docs/README.md has the sections that readers of the zoo look for, and a word on TensorRT."""
    path = folder / "docs" / "README.md"
    if not path.is_file():
        raise Skip("no docs/README.md")
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = {heading.strip().lower() for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE)}
    missing = [f"a section {name}" for name in README_SECTIONS if name.lower() not in headings]
    missing += [] if "TensorRT" in text else ["a word on TensorRT"]
    if missing:
        raise ValueError(f"docs/README.md: expected {', '.join(missing)}, got none; add it")
    return ""


def weights_file(folder: Path) -> str:
    """Check that models/model.pt holds tensors alone; it is read without executing anything that it asks for."""
    path = folder / "models" / "model.pt"
    if not path.is_file():
        raise Skip("no models/model.pt")
    wanted = "models/model.pt: expected a file of weights alone, got one that"
    hint = "it was not executed: get it again from its source"
    try:
        asked = sorted(get_unsafe_globals_in_checkpoint(path))
        state = None if asked else load_torch(path)
    except Exception as error:  # torch raises many kinds for a damaged or refused file
        raise ValueError(f"{wanted} is damaged or no torch file ({type(error).__name__}); {hint}") from None
    if asked:
        raise ValueError(f"{wanted} asks for {', '.join(asked)}; {hint}")
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{wanted} holds other objects; save network.state_dict() alone")
    return f"{len(state)} tensors"


CHECKS: dict[str, Callable[[Path], str]] = {
    "file layout": file_layout,
    "name and version": name_and_version,
    "metadata schema": metadata_schema,
    "metadata values": metadata_values,
    "packages": packages,
    "config keys": config_keys,
    "config drift": config_drift,
    "personal paths": personal_paths,
    "file sizes": file_sizes,
    "README": readme,
    "weights file": weights_file,
}


def large_files(folder: Path) -> set[str]:
    """Return the files that the list of files to download names; empty if there is none.

    Raises:
        ValueError: the list is not what `monai.bundle download_large_files` reads.
    """
    path = folder / LARGE_FILES
    if not path.is_file():
        return set()
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["large_files"]
        return {entry["path"] for entry in entries if entry["url"] and entry["hash_val"] and entry["hash_type"]}
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(
            f"{LARGE_FILES}: expected a list `large_files` of path, url, hash_val and hash_type, got {error!r}; write "
            "it with `python -m tools zoo package`"
        ) from None


def _metadata(folder: Path) -> dict[str, Any]:
    return read_json(folder / "configs" / "metadata.json")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _has(config: Any, key: str) -> bool:
    for part in key.split("#"):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True
