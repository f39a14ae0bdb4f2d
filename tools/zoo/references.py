"""Which modules and names a Python file or a bundle's config uses, read without running it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

_REFERENCE = re.compile(r"@\w*(?:(?:::|#)\w*)*")
"""`@id` of MONAI's configs, with parts after `::` or `#`."""

OWN = ("common", "scripts")
"""Packages whose files are followed; others are libraries."""


@dataclass(frozen=True)
class Reference:
    """A dotted name that a file uses.

    Args:
        name: `common.networks` for the module, `common.networks.RefineGanGenerator` for something in it,
            `common.networks.*` for all of it.
        place: `file:line`.
        lazy: whether it is looked up only when a function runs, or may be absent.
    """

    name: str
    place: str
    lazy: bool = False


def python_references(source: str, file: str, package: str) -> list[Reference]:
    """What a Python file imports, and what it takes of `common` by its full name (`import common.x`, `common.x.y`).

    Imports for type checkers alone are left out.

    Args:
        source: the file's text.
        file: its name in messages.
        package: dotted name of the package that it is in, for relative imports.

    Raises:
        ValueError: if it is not Python.
    """
    reader = _Reader(file, package)
    reader.visit(_parse(source, file))
    # without such an import, the name is a variable's
    return reader.imports + [used for used in reader.attributes if top(used.name) in reader.roots]


def config_references(text: str, file: str) -> list[Reference]:
    """What the `_target_`s and `$` expressions of a MONAI config name.

    Args:
        text: the config, JSON.
        file: its name in messages.

    Raises:
        ValueError: if it is not JSON, or an expression is not Python.
    """
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{file}: expected JSON, got {error}; mend it") from None
    found: list[Reference] = []
    for key, value in _strings(config):
        before, written, _ = text.partition(json.dumps(value, ensure_ascii=text.isascii()))
        place = f"{file}:{before.count(chr(10)) + 1}" if written else file
        if value.startswith("$"):
            reader = _Reader(file, package="")
            reader.visit(_parse(_REFERENCE.sub("_", value[1:]), place))
            found += [Reference(used.name, place) for used in reader.imports + reader.attributes]
        elif key == "_target_":
            found.append(Reference(_component(value), place))
    return found


class _Reader(ast.NodeVisitor):
    """Collects imports, the names that plain `import`s bind, and dotted attributes."""

    def __init__(self, file: str, package: str) -> None:
        self.imports: list[Reference] = []
        self.attributes: list[Reference] = []
        self.roots: set[str] = set()
        self._file = file
        self._package = package.split(".")
        self._lazy = False

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imports.append(self._reference(alias.name, node))
            if alias.asname is None:
                self.roots.add(top(alias.name))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        above = self._package[: len(self._package) - node.level + 1] if node.level else []
        module = ".".join([*above, node.module] if node.module else above)
        self.imports += [self._reference(f"{module}.{alias.name}", node) for alias in node.names]

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = _dotted(node)
        if top(name) in OWN:
            self.attributes.append(self._reference(name, node))
        elif not name:
            self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        checked = _dotted(node.test).rpartition(".")[2] == "TYPE_CHECKING"
        for child in node.orelse if checked else ast.iter_child_nodes(node):
            self.visit(child)

    def visit_Try(self, node: ast.Try) -> None:
        caught = {_dotted(part) for handler in node.handlers if handler.type for part in ast.walk(handler.type)}
        if caught & {"ImportError", "ModuleNotFoundError"}:
            self._visit_lazily(node)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_lazily(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_lazily(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_lazily(node)

    def _visit_lazily(self, node: ast.AST) -> None:
        before, self._lazy = self._lazy, True
        self.generic_visit(node)
        self._lazy = before

    def _reference(self, name: str, node: ast.stmt | ast.expr) -> Reference:
        return Reference(name, f"{self._file}:{node.lineno}", self._lazy)


def top(name: str) -> str:
    """The first part of a dotted name."""
    return name.partition(".")[0]


def _parse(source: str, file: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"{file}: expected Python, got {error.msg} in line {error.lineno}; mend it") from None


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of names and attributes alone; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts of a config, with the key of each."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _strings(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _component(target: str) -> str:
    """The full name of a `_target_`; a short one is MONAI's."""
    modules = _locate(target) if "." not in target else None
    if modules is None:
        return target
    return f"{modules if isinstance(modules, str) else modules[0]}.{target}"


@cache
def _locate(name: str) -> str | list[str] | None:
    from monai.bundle.config_item import ComponentLocator  # takes seconds

    return ComponentLocator().get_component_module_name(name)
