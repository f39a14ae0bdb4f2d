"""Checks of a bundle's files; nothing of the bundle is imported or executed."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib.metadata import packages_distributions
from pathlib import Path

import yaml
from monai.bundle import ConfigParser, verify_metadata

from common.errors import file_errors
from tools.zoo.archive import sha256_of
from tools.zoo.example_input import TensorFormat
from tools.zoo.layout import checked_version, read_json, read_metadata
from tools.zoo.package import LARGE_FILE_BYTES, LARGE_FILES, PACKAGES
from tools.zoo.probe import Check, Doubt, Skip, run_check
from tools.zoo.run_results import check_weights

SCHEMA = Path(__file__).parents[1] / "meta_schema.json"
NECESSARY = ("LICENSE", "configs/metadata.json", "docs/README.md", "docs/data_license.txt")
PREFERRED = ("models/model.pt", "configs/inference.json", "configs/train.json", "configs/logging.conf")
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


def metadata_schema(folder: Path) -> str:
    """Check the metadata by MONAI's own function, with a copy of the schema."""
    read_metadata(folder)  # its error is one line
    logging.disable(logging.INFO)
    try:
        metadata = str(folder / "configs" / "metadata.json")
        verify_metadata(metadata, str(SCHEMA), hash_val=sha256_of(SCHEMA), hash_type="sha256")
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
    image, pred = (TensorFormat.from_metadata(read_metadata(folder), side) for side in ("inputs", "outputs"))
    if len(image.spatial_shape) != len(pred.spatial_shape):
        raise ValueError("configs/metadata.json, spatial_shape: expected as many axes in image and pred; correct it")
    return ""


def packages(folder: Path) -> str:
    """Check that the metadata name the packages that modules of the bundle import at their top."""
    metadata, modules = read_metadata(folder), _modules()
    named = {"torch", "numpy", "monai", *(name for key in PACKAGES for name in metadata.get(key, {}))}
    known = {*sys.stdlib_module_names, "common", "scripts"}
    known |= {module for module, owners in modules.items() if named & {owner.lower() for owner in owners}}
    faults = [
        f"{path.relative_to(folder).as_posix()} imports {module}"
        for path in _files(folder)
        if path.suffix == ".py"
        for module in re.findall(r"^(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if module not in known
    ]
    if faults:
        raise ValueError(f"{faults[0]}, of no package in configs/metadata.json, {', '.join(PACKAGES)}; add it there")
    return ""


@cache
def _modules() -> Mapping[str, list[str]]:
    """Return the installed packages by the modules that they have."""
    return packages_distributions()


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
        if missing := [key for key in habits if key not in ConfigParser(config)]:
            doubts.append(f"configs/{name}: bundles of the zoo also have {', '.join(missing)}")
    if doubts:
        raise Doubt("; ".join(doubts))
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
    """Check that models/model.pt holds finite tensors alone; it is read without executing anything in it."""
    if not (folder / "models" / "model.pt").is_file():
        raise Skip("no models/model.pt")
    return check_weights(folder / "models")


CHECKS: dict[str, Callable[[Path], str]] = {
    "file layout": file_layout,
    "name and version": checked_version,
    "metadata schema": metadata_schema,
    "metadata values": metadata_values,
    "packages": packages,
    "config keys": config_keys,
    "personal paths": personal_paths,
    "file sizes": file_sizes,
    "README": readme,
    "weights file": weights_file,
}


def large_files(folder: Path) -> set[str]:
    """Return the files that `monai.bundle download_large_files` gets; empty if there is no list of them."""
    path = folder / LARGE_FILES
    with file_errors(path, "a list `large_files` of path, url, hash_val and hash_type"):
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["large_files"] if path.is_file() else []
        return {entry["path"] for entry in entries if entry["url"] and entry["hash_val"] and entry["hash_type"]}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
