"""What every test starts from: one thread, no deadlines, the shared data where it is, scripts of bundles."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)
settings.register_profile("repository", deadline=None)  # a loaded machine is not a failure
settings.load_profile("repository")


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
def bundle_script() -> Callable[[str, str], ModuleType]:
    """Imports ``bundles/<bundle>/scripts/<name>.py`` under a name of its own: all bundles have a ``scripts``."""

    def load(bundle: str, name: str) -> ModuleType:
        unique = f"{bundle}__{name}"
        if unique not in sys.modules:
            spec = importlib.util.spec_from_file_location(unique, ROOT / "bundles" / bundle / "scripts" / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules[unique] = module
        return sys.modules[unique]

    return load
