"""Virtual environments with just the packages that a bundle's metadata name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMEOUT_S = 1800


def pinned_packages(metadata: Mapping[str, Any]) -> list[str]:
    """Return requirements for pip: MONAI, PyTorch, NumPy and the required packages, each of one version."""
    keys = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    versions = {name: metadata[key] for name, key in keys.items()} | dict(metadata["required_packages_version"])
    return [f"{name}=={version}" for name, version in versions.items()]


def venv_python(folder: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def make_venv(folder: Path, metadata: Mapping[str, Any]) -> str:
    """Make a virtual environment with these packages, and return what was installed.

    Raises:
        ValueError: pip cannot install them.
    """
    packages = pinned_packages(metadata)
    pip = [str(venv_python(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, *packages]):
        name = f"pip install {' '.join(packages)}" if command[0] == pip[0] else "python -m venv"
        try:
            subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        except subprocess.TimeoutExpired:
            raise ValueError(f"{name}: did not end in {TIMEOUT_S} s") from None
        except subprocess.CalledProcessError as error:
            errors = [line for line in error.stderr.splitlines() if line.strip()] or [str(error)]
            raise ValueError(
                f"{name}: {errors[-1]}; correct the versions in configs/metadata.json, or look at pip's index"
            ) from None
    return " ".join(packages)
