"""Packaged bundles for tests, and a Python that knows them but not this repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path


def python_without_repository(
    *arguments: str, cwd: Path, path: str = "", timeout_s: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run Python with the installed packages, but without those installed in editable mode.

    ``-S`` leaves out the ``.pth`` files through which an editable install is found. A folder ``path`` goes first.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*filter(None, [path]), sysconfig.get_paths()["purelib"]]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MONAI_DEBUG": "false",
    }
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
