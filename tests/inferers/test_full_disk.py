"""A disk that really fills up, in every way an output is written: one line, and the same bytes after making room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NEW_DISK = ["unshare", "--map-root-user", "--mount"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened to each output; see ``full_disk.py``."""
    pytest.importorskip("zarr", minversion="3.0")
    probe = [*NEW_DISK, "mount", "-t", "tmpfs", "none", str(tmp_path_factory.mktemp("probe"))]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs leave to mount a small file system (user namespaces)")
    path = os.pathsep.join(map(str, (HERE.parents[1], HERE.parent, HERE)))
    done = subprocess.run(
        [*NEW_DISK, sys.executable, str(HERE / "full_disk.py"), str(tmp_path_factory.mktemp("disks"))],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["out.tif", "out.zarr", "out.nii.gz", "pictures", "series"])
def test_a_disk_that_is_too_small(results: dict[str, Any], name: str) -> None:
    result = results[name]
    assert result["kind"] == "DiskFullError"
    assert "\n" not in result["message"]
    assert f"{name}: the disk is full (No space left on device), the output needs up to" in result["message"]
    assert "make room and run the same command again" in result["message"]
    assert result["same"]
    assert result["at_the_end"] == [name]


def test_what_is_left_for_the_next_run(results: dict[str, Any]) -> None:
    n_tiles = 12
    kept = {name: (result["left"], result["done"]) for name, result in results.items()}
    assert kept.pop("out.tif") == ([], 0)  # no room for the values
    assert kept == {name: ([f"{name}.partial"], n_tiles) for name in kept}  # encoded when all tiles are done
