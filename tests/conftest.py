"""What every test starts from: one thread, no deadlines, the shared data where it is, scripts of bundles."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

sys.path += [str(bundle) for bundle in sorted(ROOT.glob("bundles/*"))]  # one namespace package `scripts` of them all

torch.set_num_threads(1)
# A shell's background job ignores SIGINT, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A loaded machine is not a failure. `make test-all` takes the profile "thorough".
settings.register_profile("thorough", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=10)
settings.load_profile("quick")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared data sets, next to the repository."""
    folder = ROOT / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the shared data sets in {folder}")
    return folder


@pytest.fixture(scope="session")
def processes() -> BaseContext:
    """Starts fresh processes, forked from one that has done no more than to import what takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "monai.engines", "monai.handlers"])
    return context


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Packages a bundle of this repository as a folder, once per run of the tests."""
    folders: dict[str, Path] = {}

    def stage(name: str) -> Path:
        if name not in folders:
            from tools.zoo.layout import find_bundle
            from tools.zoo.package import stage_bundle

            folders[name] = stage_bundle(find_bundle(name), tmp_path_factory.mktemp("staged"))
        return folders[name]

    return stage


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Commands of bundles as real processes, see `WarmPython`; one server for all tests of a process."""
    from tests.bundles.bundle_commands import WarmPython

    warm = WarmPython(tmp_path_factory.mktemp("commands"))
    yield warm
    warm.close()
