"""Packages that a bundle needs, found by what its scripts and `common` import.

`required_packages_version` names what is imported at the top of a module, `optional_packages_version` what is imported
inside a function, or may be absent: a file format that not every user has. torch, numpy and monai have keys of their
own in metadata.json.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from tools.zoo.layout import ROOT

COMMON = ROOT / "common"
REQUIRED, OPTIONAL = "required_packages_version", "optional_packages_version"
_OWN = ("common", "scripts", "torch", "numpy", "monai")
_STAYS = ("bundles", "tests", "tools")
_PACKAGES = {"itk": "itk-io"}  # of several that have a module


def with_packages(metadata: Mapping[str, Any], bundle: Path, common: Path = COMMON) -> dict[str, Any]:
    """Return metadata that name just the packages which a bundle needs.

    The version that the metadata name for a package stays; otherwise it is the installed one.

    Args:
        metadata: contents of `configs/metadata.json`.
        bundle: folder of the bundle.
        common: the package that its scripts import.

    Raises:
        ValueError: a script imports a package of this repository other than `common`, a module that no installed
            package has at the top of a file, or a file is not Python.
    """
    stated: dict[str, tuple[str, str]] = {}
    for key in (REQUIRED, OPTIONAL):
        if not isinstance(metadata.get(key, {}), Mapping):
            raise ValueError(f"metadata.json: expected an object under `{key}`, got {metadata[key]!r}; correct it")
        stated |= {_canonical(name): (name, number) for name, number in metadata.get(key, {}).items()}
    lists: dict[str, dict[str, str]] = {REQUIRED: {}, OPTIONAL: {}}
    modules = _imported_modules(bundle, common)
    for package, lazy in sorted((_package(name), lazy) for name, lazy in modules.items()):
        name, number = stated.get(package) or (package, version(package).partition("+")[0])
        lists[OPTIONAL if lazy else REQUIRED][name] = number
    return {key: value for key, value in {**metadata, **lists}.items() if value or key != OPTIONAL}


def _imported_modules(bundle: Path, common: Path) -> dict[str, bool]:
    """Return the libraries that are imported, and whether only inside functions or where they may be absent."""
    found = {"fire": False}  # `python -m monai.bundle` needs it
    for path in [*sorted(common.rglob("*.py")), *sorted((bundle / "scripts").rglob("*.py"))]:
        for library, line, lazy in _libraries(path, path.stat().st_mtime_ns):
            if library in _STAYS:
                raise ValueError(
                    f"{path}:{line}: imports {library}, which stays in the repository; a bundle may use its scripts, "
                    "common and libraries"
                )
            if library in packages_by_module():
                found[library] = found.get(library, True) and lazy
            elif not lazy:  # others are of formats that nobody reads here
                raise ValueError(f"{path}:{line}: imports {library}, which no installed package has; install it")
    return found


@cache
def _libraries(path: Path, mtime_ns: int) -> list[tuple[str, int, bool]]:
    """Return module, line and laziness of each import of a file outside the standard library and the bundle."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected Python in UTF-8, got {error}; correct it") from None
    found = [
        ("tensorboard" if name.startswith("torch.utils.tensorboard") else name.partition(".")[0], line, lazy)
        for name, line, lazy in _imports(tree, lazy=False)
    ]
    return [use for use in found if use[0] not in sys.stdlib_module_names and use[0] not in _OWN]


def _imports(tree: ast.AST, lazy: bool) -> Iterator[tuple[str, int, bool]]:
    """Yield module, line and laziness of each import in a syntax tree, without those for type checkers alone.

    `common.io.packages.required("zarr", ...)` imports the package that it names.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, node.lineno, lazy) for alias in names)
            case ast.ImportFrom(module=str(name), level=0):
                yield name, node.lineno, lazy
            case ast.Call(func=ast.Name(id="required"), args=[ast.Constant(value=str(name)), *_]):
                yield name, node.lineno, True
        functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Try)
        yield from _imports(node, lazy or isinstance(node, functions))


def _package(module: str) -> str:
    return _canonical(_PACKAGES.get(module) or packages_by_module()[module][0])


@cache
def packages_by_module() -> Mapping[str, list[str]]:
    """Return the installed packages that have a module, by the name of the module."""
    return packages_distributions()


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
