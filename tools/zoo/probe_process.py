"""Starts the processes of `probe.py`, and reads how their checks end, also when a process dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import venv
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from tools.zoo import probe
from tools.zoo.probe import Check

TIMEOUT_S = 600.0
"""For one group of checks."""
INSTALL_TIMEOUT_S = 1800
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP")
"""Variables of this process's environment that the processes get."""


def run_group(group: str, folder: Path, work: Path, python: str, timeout_s: float = TIMEOUT_S) -> list[Check]:
    """Make the checks of a group of `probe.GROUPS` in a process of its own, and return them.

    The process has an empty working directory and next to no environment: no PYTHONPATH, no caches of the user, no
    GPU. If it dies or is too slow, the check that ran fails with the last line that it printed, and the group ends.
    """
    home, log, report = work / "home", work / f"{group}.log", work / f"{group}.jsonl"
    (home / group).mkdir(parents=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")
    own = {"HOME": str(home), "USERPROFILE": str(home), "CUDA_VISIBLE_DEVICES": "", "LC_ALL": "C.UTF-8"}
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    command = [python, "-I", "-B", str(Path(probe.__file__).resolve()), group, str(folder), str(work)]
    options: dict[str, Any] = {"cwd": home / group, "env": {**kept, **threads, **own}, "start_new_session": True}
    start = perf_counter()
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options)
        try:
            status = process.wait(timeout_s)
            death = f"was ended by signal {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
        except subprocess.TimeoutExpired:
            death = f"did not end in {timeout_s:.0f} s"
        finally:
            with suppress(ProcessLookupError):  # what it started may outlive it
                process.kill() if os.name == "nt" else os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = [json.loads(line) for line in report.read_text("utf-8").splitlines()] if report.is_file() else []
    found = [Check(**line) for line in lines if "begin" not in line]
    if process.returncode:
        begun = lines[-1].get("begin", f"end of {group}") if lines else f"start of {group}"
        printed = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()] or ["none"]
        detail = f"the process {death}; its last line: {' '.join(printed[-1].split())[:300]}"
        found.append(Check(begun, "fail", detail, perf_counter() - start))
    return found


def venv_python(folder: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_venv(folder: Path, metadata: Mapping[str, Any]) -> str:
    """Make a virtual environment with just the packages that a bundle's metadata name, and return their versions.

    Raises:
        ValueError: pip cannot install them.
    """
    keys = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    versions = {name: metadata[key] for name, key in keys.items()} | metadata["required_packages_version"]
    packages = [f"{name}=={version}" for name, version in versions.items()]
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    pip = [str(venv_python(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    options: dict[str, Any] = {"env": environment, "capture_output": True, "text": True, "timeout": INSTALL_TIMEOUT_S}
    try:
        done = subprocess.run([*pip, *packages], check=False, **options)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"pip install {' '.join(packages)}: {error}") from None
    if done.returncode:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no reason given")
        raise ValueError(
            f"pip install {' '.join(packages)}: {reason}; correct the versions in configs/metadata.json, or look at "
            "pip's index"
        )
    return " ".join(packages)
