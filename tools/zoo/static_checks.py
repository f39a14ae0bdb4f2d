"""Checks of a bundle's files: nothing of the bundle is imported or executed."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import torch
import yaml
from packaging.version import InvalidVersion, Version
from torch.serialization import get_unsafe_globals_in_checkpoint

from tools.zoo.config_drift import config_differences
from tools.zoo.layout import read_json
from tools.zoo.package import LARGE_FILE_BYTES
from tools.zoo.probe import Check, Doubt, Skip, run_check
from tools.zoo.requirements import package_differences

SCHEMA = Path(__file__).parents[1] / "meta_schema.json"
NECESSARY = ("LICENSE", "configs/metadata.json")
PREFERRED = ("models/model.pt", "configs/inference.json", "configs/train.json", "configs/logging.conf")
LARGE_FILE_LISTS = ("large_files.yml", "large_files.yaml", "large_files.json")
TOP_ENTRIES = ("LICENSE", "configs", "docs", "models", "scripts", "common", *LARGE_FILE_LISTS)

INFERENCE_KEYS = ("bundle_root", "device", "dataset_dir", "dataset", "network_def", "inferer", "evaluator", "run")
TRAIN_KEYS = (
    "bundle_root",
    "device",
    "dataset_dir",
    "network_def",
    "train#dataset",
    "train#inferer",
    "train#trainer",
    "train#trainer#max_epochs",
    "run",
)
INFERENCE_HABITS = ("output_dir", "network", "dataset#data", "handlers", "load_pretrain", "initialize")
TRAIN_HABITS = (
    "output_dir",
    "ckpt_dir",
    "network",
    "val_interval",
    "train#dataset#data",
    "train#handlers",
    "validate#dataset",
    "validate#dataset#data",
    "validate#inferer",
    "validate#evaluator",
    "validate#handlers",
    "validate#key_metric",
    "initialize",
)
DATASET_DIR = "/workspace/data/"

README_SECTIONS = (
    "Model Overview",
    "Data",
    "Training configuration",
    "Input",
    "Output",
    "Performance",
    "MONAI Bundle Commands",
    "Limitations",
    "References",
    "License",
)
HASH_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
PERSONAL_PATHS = re.compile(
    rb"(?<![\w.])(?:/home/[\w.-]+|/Users/[\w.-]+|/root(?![\w-])|[A-Za-z]:[\\/]+Users\b)[\w./\\-]{0,80}"
)


def static_checks(folder: Path) -> Iterator[Check]:
    """Make all checks of a bundle's folder, and yield each as it ends."""
    for name, check in CHECKS.items():
        yield run_check(name, partial(check, folder))


def file_layout(folder: Path) -> str:
    """Necessary and preferred files are there, and no others than a bundle has."""
    if missing := [name for name in NECESSARY if not (folder / name).is_file()]:
        raise ValueError(f"expected {' and '.join(missing)} in the bundle, got no such file; add it")
    listed = {entry.get("path") for entry in _large_files(folder)}
    doubts = [f"no {name}" for name in PREFERRED if not (folder / name).is_file() and name not in listed]
    doubts += [f"{path.name} is no part of a bundle" for path in folder.iterdir() if path.name not in TOP_ENTRIES]
    doubts += [f"{path.name} came along" for path in folder.rglob("*") if path.name in ("__pycache__", ".DS_Store")]
    if doubts:
        raise Doubt("; ".join(sorted(doubts)))
    return f"{sum(path.is_file() for path in folder.rglob('*'))} files"


def name_and_version(folder: Path) -> str:
    """`<name>_v<version>` can be taken apart again, and the version is the newest of the changelog."""
    name, version = folder.name, _metadata(folder).get("version")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or re.search(r"_v\d", name):
        raise ValueError(
            f"expected a bundle's name of small letters, digits and _ without _v<digit>, got {name}; rename its folder"
        )
    changelog = _metadata(folder).get("changelog")
    if not isinstance(changelog, dict) or version not in changelog:
        raise ValueError(
            f"configs/metadata.json: expected an entry for {version} in `changelog`; add what is new in it"
        )
    newest = max(changelog, key=_version)
    if version != newest:
        raise ValueError(
            f"configs/metadata.json: expected `version` {newest}, the newest of `changelog`, got {version}"
        )
    return f"{name} {version}"


def metadata_schema(folder: Path) -> str:
    """metadata.json follows the bundle specification."""
    if faults := _schema_faults(folder):
        raise ValueError(f"configs/metadata.json: {'; '.join(faults)}; mend it")
    return ""


def metadata_values(folder: Path) -> str:
    """What metadata.json says agrees in itself."""
    if _schema_faults(folder):
        raise Skip("metadata.json does not follow the schema")
    metadata, faults = _metadata(folder), []
    tensors = {
        "inputs#image": metadata["network_data_format"]["inputs"]["image"],
        "outputs#pred": metadata["network_data_format"]["outputs"]["pred"],
    }
    for name, tensor in tensors.items():
        channels = [str(channel) for channel in range(tensor["num_channels"])]
        if sorted(tensor["channel_def"], key=int) != channels:
            faults.append(f"{name}#channel_def: expected channels {', '.join(channels)} as num_channels says")
        if tensor["dtype"] != "float32":
            faults.append(f"{name}#dtype: expected float32, got {tensor['dtype']}")
    shapes = [tensor["spatial_shape"] for tensor in tensors.values()]
    if len(shapes[0]) != len(shapes[1]):
        faults.append(f"expected as many axes in both spatial_shapes, got {shapes[0]} and {shapes[1]}")
    infinite = [name for name, value in metadata["eval_metrics"].items() if not math.isfinite(value)]
    faults += [f"eval_metrics#{name}: expected a finite number" for name in infinite]
    if faults:
        raise ValueError(f"configs/metadata.json: {'; '.join(faults)}; mend it")
    return ""


def packages(folder: Path) -> str:
    """The metadata name the packages that the bundle's code imports."""
    if differences := package_differences(folder, folder / "common"):
        raise ValueError(f"configs/metadata.json: {'; '.join(differences)}; package the bundle again, or mend it")
    return ""


def inference_keys(folder: Path) -> str:
    """inference.json has the keys by which MONAI and users find its parts."""
    return _check_keys(folder, "inference.json", INFERENCE_KEYS, INFERENCE_HABITS)


def train_keys(folder: Path) -> str:
    """train.json has the keys by which MONAI and users find its parts."""
    return _check_keys(folder, "train.json", TRAIN_KEYS, TRAIN_HABITS)


def config_imports(folder: Path) -> str:
    """No config imports the bundle's own packages by `imports`, which MONAI reads before it can find them."""
    faults = []
    for path in sorted((folder / "configs").glob("*.json")):
        imports = [line for key in ("imports", "+imports") for line in read_json(path).get(key, [])]
        own = [line for line in imports if re.match(r"\$\s*(?:from|import)\s+(?:common|scripts)\b", str(line))]
        faults += [f"configs/{path.name}: {line}" for line in own]
    if faults:
        raise ValueError(
            f"{'; '.join(faults)}: MONAI evaluates `imports` before the bundle's folder is on the path; name it as a "
            "`_target_` where it is used"
        )
    return ""


def config_drift(folder: Path) -> str:
    """Training and inference build the same network."""
    configs = {name: folder / "configs" / name for name in ("train.json", "inference.json")}
    if missing := [name for name, path in configs.items() if not path.is_file()]:
        raise Skip(f"no configs/{missing[0]}")
    train, inference = (read_json(path) for path in configs.values())
    differences = config_differences(train, inference, "network_def")
    if differences:
        texts = [f"{where}: {one!r} in train.json, {other!r} in inference.json" for where, one, other in differences]
        raise ValueError(f"expected one network_def in both configs, got {'; '.join(texts)}; make them equal")
    return ""


def personal_paths(folder: Path) -> str:
    """No file names a place on somebody's own machine."""
    found = []
    for path in _files(folder):
        for match in PERSONAL_PATHS.finditer(path.read_bytes()):
            text = match[0].decode(errors="replace")
            found.append(f"{path.relative_to(folder).as_posix()}: {text}")
    if found:
        raise ValueError(f"expected no path of a person's machine, got {'; '.join(found[:5])}; use a relative path")
    return ""


def file_sizes(folder: Path) -> str:
    """No file is larger than the zoo takes."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
    listed = {entry.get("path") for entry in _large_files(folder)}
    large = [name for name, size in sizes.items() if size > LARGE_FILE_BYTES and name not in listed]
    if large:
        texts = [f"{name} {sizes[name] / 2**20:.1f} MB" for name in large]
        raise ValueError(
            f"expected files of at most {LARGE_FILE_BYTES / 2**20:.0f} MB, got {'; '.join(texts)}; store half "
            "precision, or package with --large-files"
        )
    return f"{sum(sizes.values()) / 2**20:.1f} MB"


def large_files(folder: Path) -> str:
    """The list of files to download is well-formed, and right about those that are there."""
    entries = _large_files(folder)
    if not entries:
        raise Skip("no list of large files")
    faults = [fault for entry in entries if (fault := _large_file_fault(folder, entry))]
    if faults:
        raise ValueError(f"large_files.yml: {'; '.join(faults)}; write it with `python -m tools zoo package`")
    return f"{len(entries)} files"


def readme_sections(folder: Path) -> str:
    """docs/README.md has the sections that readers of the zoo look for."""
    path = folder / "docs" / "README.md"
    if not path.is_file():
        raise ValueError("expected docs/README.md, got no such file; write it")
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = {heading.strip().lower() for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE)}
    if missing := [name for name in README_SECTIONS if name.lower() not in headings]:
        raise ValueError(f"docs/README.md: expected the sections {', '.join(missing)}, got none of that name; add them")
    return ""


def data_license(folder: Path) -> str:
    """docs/data_license.txt tells under what terms the training data were used."""
    path = folder / "docs" / "data_license.txt"
    if not path.is_file() or not path.read_text(encoding="utf-8").strip():
        raise ValueError("expected the licence of the training data in docs/data_license.txt, got none; write it")
    return ""


def weights_file(folder: Path) -> str:
    """models/model.pt holds tensors alone; it is read without executing anything that it asks for."""
    path = folder / "models" / "model.pt"
    if not path.is_file():
        raise Skip("no models/model.pt")
    wanted = "models/model.pt: expected a file of weights alone, got one that"
    way_out = "it was not executed: get it again from its source"
    try:
        asked = sorted(get_unsafe_globals_in_checkpoint(path))
        state = None if asked else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or refused file
        raise ValueError(f"{wanted} is damaged or no torch file ({type(error).__name__}); {way_out}") from None
    if asked:
        raise ValueError(f"{wanted} asks for {', '.join(asked)}; {way_out}")
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{wanted} holds other objects; save network.state_dict() alone")
    return f"{len(state)} tensors"


CHECKS: dict[str, Callable[[Path], str]] = {
    "file layout": file_layout,
    "name and version": name_and_version,
    "metadata schema": metadata_schema,
    "metadata values": metadata_values,
    "packages": packages,
    "inference keys": inference_keys,
    "training keys": train_keys,
    "config imports": config_imports,
    "config drift": config_drift,
    "personal paths": personal_paths,
    "file sizes": file_sizes,
    "large files": large_files,
    "README sections": readme_sections,
    "data licence": data_license,
    "weights file": weights_file,
}


def _metadata(folder: Path) -> dict[str, Any]:
    return read_json(folder / "configs" / "metadata.json")


def _schema_faults(folder: Path) -> list[str]:
    validator = jsonschema.Draft202012Validator(read_json(SCHEMA))
    faults = validator.iter_errors(_metadata(folder))
    return [f"{'#'.join(map(str, fault.absolute_path)) or 'all'}: {fault.message}" for fault in faults]


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise ValueError(f"configs/metadata.json: expected a version such as 0.1.0, got {text!r}; mend it") from None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _check_keys(folder: Path, name: str, required: tuple[str, ...], habits: tuple[str, ...]) -> str:
    path = folder / "configs" / name
    if not path.is_file():
        raise Skip(f"no configs/{name}")
    config = read_json(path)
    if missing := [key for key in required if not _has(config, key)]:
        raise ValueError(f"configs/{name}: expected the keys {', '.join(missing)}, which MONAI looks for; add them")
    if str(config["bundle_root"]).startswith("/"):
        raise ValueError(f'configs/{name}: expected "." as `bundle_root`, got {config["bundle_root"]}')
    if config["dataset_dir"] and not str(config["dataset_dir"]).startswith(DATASET_DIR):
        raise ValueError(f"configs/{name}: expected `dataset_dir` {DATASET_DIR}<name>, got {config['dataset_dir']}")
    if missing := [key for key in habits if not _has(config, key)]:
        raise Doubt(f"configs/{name}: bundles of the zoo also have {', '.join(missing)}")
    return ""


def _has(config: Any, key: str) -> bool:
    for part in key.split("#"):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True


def _large_files(folder: Path) -> list[dict[str, Any]]:
    """Entries of the list of files to download; empty if there is none."""
    for path in (folder / name for name in LARGE_FILE_LISTS):
        if path.is_file():
            try:
                entries = yaml.safe_load(path.read_text(encoding="utf-8"))["large_files"]
            except (yaml.YAMLError, KeyError, TypeError) as error:
                raise ValueError(f"{path.name}: expected a list under `large_files`, got {error!r}; mend it") from None
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise ValueError(f"{path.name}: expected a list of path, url, hash_val and hash_type; mend it")
            return entries
    return []


def _large_file_fault(folder: Path, entry: dict[str, Any]) -> str:
    """What is wrong with an entry; empty if nothing is."""
    name, kind, value = (str(entry.get(key, "")) for key in ("path", "hash_type", "hash_val"))
    if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return f"expected a path inside the bundle, got {name!r}"
    if urlsplit(str(entry.get("url", ""))).scheme not in ("http", "https", "ftp", "file"):
        return f"{name}: expected a URL, got {entry.get('url')!r}"
    if kind not in HASH_DIGITS or not re.fullmatch(f"[0-9a-f]{{{HASH_DIGITS[kind]}}}", value):
        digits = ", ".join(f"{name} ({count} digits)" for name, count in HASH_DIGITS.items())
        return f"{name}: expected a hash_val of {digits}, got {kind or 'no hash_type'} {value!r}"
    path = folder / name
    if path.is_file() and (got := hashlib.new(kind, path.read_bytes(), usedforsecurity=False).hexdigest()) != value:
        return f"{name}: expected the {kind} {value}, got {got}"
    return ""
