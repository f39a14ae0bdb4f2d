"""How a packaged bundle is fetched and used: the lines that the gallery shows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from tools.zoo.release import LARGE_FILES, Release

_LOAD = """import sys
sys.path.insert(0, "{name}")
from monai.bundle import load
network = load("{name}", bundle_dir=".")"""


def usage_steps(release: Release, url: str) -> list[tuple[str, str]]:
    """The way from an empty folder to results: (what it is for, command line or Python).

    Args:
        release: to use.
        url: of the folder that holds its zip.
    """
    name, has = release.name, release.members.__contains__
    download = _monai_bundle("download", name=name, url=f"{url}/{release.file}", bundle_dir=".")
    checksum = shlex.quote(f"{release.sha256}  {name}.zip")
    steps = [
        ("Install what it was tested with", _install(release.metadata)),
        ("Download", download),
        ("Check that it is whole", f"echo {checksum} | sha256sum --check"),
    ]
    if has(LARGE_FILES):
        steps.append(("Fetch its large files", _monai_bundle("download_large_files", bundle_path=name)))
    if release.has_weights and has("configs/inference.json"):
        steps.append(("Run it on the data in the folder DATA", _run(name, "inference.json")))
    if release.has_weights and has("configs/train.json"):
        steps.append(("Or take the network into Python", _LOAD.format(name=name)))
    if has("configs/train.json"):
        steps.append(("Train it on DATA, laid out as its docs/README.md says", _run(name, "train.json")))
    return steps


def _install(metadata: Mapping[str, Any]) -> str:
    wanted = {
        "monai": metadata.get("monai_version"),
        "torch": metadata.get("pytorch_version"),
        "numpy": metadata.get("numpy_version"),
        **metadata.get("required_packages_version", {}),
        **metadata.get("optional_packages_version", {}),
    }
    return shlex.join(["pip", "install", *(f"{name}=={version}" for name, version in wanted.items() if version)])


def _run(name: str, config: str) -> str:
    return _monai_bundle("run", config_file=f"{name}/configs/{config}", bundle_root=name, dataset_dir="DATA")


def _monai_bundle(command: str, **options: str) -> str:
    words = [word for option, value in options.items() for word in (f"--{option}", value)]
    return shlex.join(["python", "-m", "monai.bundle", command, *words])
