"""Packages that only some formats need."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from common.errors import DataError


def required(package: str, minimum: str, path: Path, what: str) -> ModuleType:
    """Import a package, by its name for import and for pip, that a format needs in a lowest version such as "3.0".

    Raises:
        DataError: it is missing or older; ``path`` and ``what`` are the file and the format for the message.
    """
    try:
        module = importlib.import_module(package)
        found = _version(package)
    except ImportError as error:  # PackageNotFoundError too
        raise DataError(
            f"{path}: {what} needs the package {package}; pip install '{package}>={minimum}', or convert the file"
        ) from error
    if _numbers(found) < _numbers(minimum):
        raise DataError(f"{path}: {what} needs {package} {minimum}, got {found}; pip install '{package}>={minimum}'")
    return module


@contextmanager
def itk_library(path: Path) -> Iterator[Any]:
    """The package ``itk``, to be used inside of the block; it takes seconds to load.

    Its modules are loaded at first use and warn then. Where warnings are errors, as in tests, that would end the
    process.

    Raises:
        DataError: it is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import itk
        except ImportError as error:
            raise DataError(f"{path}: needs the package itk; pip install itk-io, or convert the file") from error
        itk.Object.SetGlobalWarningDisplay(False)
        yield itk


@lru_cache
def _version(package: str) -> str:
    return version(package)  # parses a file


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(".")[:2] if part.isdigit()]
