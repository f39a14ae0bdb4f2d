"""An interpreter with just the packages that a bundle's metadata name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMEOUT_S = 1800


def pinned_packages(metadata: Mapping[str, Any]) -> list[str]:
    """Requirements for pip: MONAI, PyTorch, NumPy and those of `required_packages_version`, each of one version."""
    versions = {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
        **metadata["required_packages_version"],
    }
    return [f"{name}=={version}" for name, version in versions.items()]


def venv_python(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def make_venv(folder: Path, metadata: Mapping[str, Any]) -> str:
    """Make a virtual environment with these packages, and return what was installed.

    Raises:
        ValueError: pip cannot install them.
    """
    _run([sys.executable, "-m", "venv", str(folder)], "python -m venv")
    packages = pinned_packages(metadata)
    install = [str(venv_python(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    _run([*install, *packages], f"pip install {' '.join(packages)}")
    return " ".join(packages)


def _run(command: list[str], name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{name}: did not end in {TIMEOUT_S} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip()]
        raise ValueError(
            f"{name}: {errors[-1] if errors else f'exit status {done.returncode}'}; correct the versions in "
            "configs/metadata.json, or look at pip's index"
        )
