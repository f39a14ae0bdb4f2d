"""What of `common` a bundle reaches: the import graph from its configs and scripts, found without running them.

`from common.networks import RefineGanGenerator` and `"_target_": "common.networks.RefineGanGenerator"` reach the one
module that defines the name. That works because the `__init__` files of `common` hold a docstring, re-exports
(`from common.x.y import names`) and `__all__`: what nobody asks for is left out of them. An `__init__` that holds
anything else is taken whole, with all it imports.
"""

from __future__ import annotations

import ast
import symtable
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path, PurePosixPath

from tools.zoo.contents import own_files, read_source
from tools.zoo.layout import ROOT
from tools.zoo.references import Reference, config_references, python_references, top

COMMON = ROOT / "common"
STAYS = ("bundles", "tests", "tools")
"""Packages of the repository that no bundle takes with it."""


@dataclass(frozen=True)
class Reached:
    """What a bundle needs besides its own files.

    Args:
        files: of `common`, text by path in the bundle (`common/networks/__init__.py`), sorted.
        libraries: what is used of anything else outside the standard library, by the bundle or those files.
    """

    files: dict[str, str]
    libraries: tuple[Reference, ...]


def reach(bundle: Path, common: Path = COMMON) -> Reached:
    """Follow what a bundle's configs and scripts name.

    Args:
        bundle: its folder; `configs/*.json` and all of `scripts` are starting points.
        common: the package to take from.

    Raises:
        ValueError: a module or name that is not there, a module of this repository other than `common`, or a file
            that cannot be read as what it is.
    """
    graph = _Graph({"common": common, "scripts": bundle / "scripts"})
    for file in own_files(bundle):
        path = PurePosixPath(file)
        if path.suffix == ".json":
            graph.follow(config_references(read_source(bundle / file), file))
        elif path.suffix == ".py":
            parts = path.parent.parts if path.name == "__init__.py" else path.with_suffix("").parts
            graph.follow([Reference(".".join(parts), file)])
    return graph.reached()


@dataclass
class _Module:
    """A module that is reached.

    Args:
        file: its path in a bundle.
        source: its text.
        names: what it binds.
        exports: where the names of an `__init__` of re-exports come from; empty for all other modules.
        wanted: the re-exports that are asked for.
    """

    file: str
    source: str
    names: set[str]
    exports: dict[str, Reference]
    wanted: set[str] = field(default_factory=set)


class _Graph:
    """Modules by dotted name; what is needed at once is followed first, so that a module is lazy only if all ways are.

    Args:
        roots: top-level packages and their folders.
    """

    def __init__(self, roots: dict[str, Path]) -> None:
        self._roots = roots
        self._modules: dict[str, _Module] = {}
        self._libraries: dict[Reference, None] = {}
        self._waiting: tuple[deque[Reference], deque[Reference]] = (deque(), deque())

    def follow(self, references: Iterable[Reference]) -> None:
        """Note where to go on."""
        for reference in references:
            self._waiting[reference.lazy].append(reference)

    def reached(self) -> Reached:
        """Follow everything to its end."""
        while any(self._waiting):
            reference = next(queue for queue in self._waiting if queue).popleft()
            if top(reference.name) in self._roots:
                self._resolve(reference)
            elif top(reference.name) in STAYS:
                raise ValueError(
                    f"{reference.place}: names {reference.name}, which stays in the repository; a bundle may use its "
                    "scripts, common and libraries"
                )
            elif top(reference.name) not in sys.stdlib_module_names:
                self._libraries[reference] = None
        common = [module for name, module in self._modules.items() if top(name) == "common"]
        files = {module.file: _trimmed(module) for module in common}
        return Reached(dict(sorted(files.items())), tuple(self._libraries))

    def _resolve(self, reference: Reference) -> None:
        """Reach all modules that looking up a name imports."""
        name, *rest = reference.name.split(".")
        module = self._module(name, reference.lazy)
        for left, part in zip(range(len(rest))[::-1], rest, strict=True):
            if module is None or part == "*":
                break
            # as an import does, a submodule of a re-export's name is taken where more of the name follows
            inner = self._module(f"{name}.{part}", reference.lazy) if left or part not in module.exports else None
            if inner is None and part in module.exports:
                return self._want(module, [part], reference.lazy)
            if inner is None and (part in module.names or part.startswith("__")):
                return None
            name, module = f"{name}.{part}", inner
        if module is None:
            raise ValueError(
                f"{reference.place}: names {reference.name}, but there is no {name}; mend the name or add it"
            )
        return self._want(module, module.exports, reference.lazy)  # the package as a whole

    def _want(self, module: _Module, names: Iterable[str], lazy: bool) -> None:
        """Follow re-exports."""
        self.follow(replace(module.exports[name], lazy=lazy) for name in names if name not in module.wanted)
        module.wanted.update(names)

    def _module(self, name: str, lazy: bool) -> _Module | None:
        """A module, with all that importing it imports noted to be followed; none if there is no such file."""
        if name not in self._modules:
            root, *inner = name.split(".")
            base = self._roots[root].joinpath(*inner)
            path = base / "__init__.py" if (base / "__init__.py").is_file() else base.with_suffix(".py")
            if not path.is_file():
                return None
            file = f"{root}/{path.relative_to(self._roots[root]).as_posix()}"
            source = read_source(path)
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            references = python_references(source, file, package)
            exports = _exports(source, file) if root == "common" and path.name == "__init__.py" else {}
            self._modules[name] = _Module(file, source, _bound(source, file), exports)
            if not exports:
                self.follow(replace(used, lazy=used.lazy or lazy) for used in references)
        return self._modules[name]


def _bound(source: str, file: str) -> set[str]:
    """Names that a module binds at its top level."""
    symbols = symtable.symtable(source, file, "exec").get_symbols()
    return {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}


def _exports(source: str, file: str) -> dict[str, Reference]:
    """Where each name of an `__init__` comes from; empty if it holds more than docstring, re-exports and `__all__`."""
    tree = ast.parse(source)
    exports: dict[str, Reference] = {}
    for statement in tree.body[1:] if ast.get_docstring(tree) is not None else tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.level == 0 and top(statement.module or "") == "common":
            place = f"{file}:{statement.lineno}"
            for alias in statement.names:
                exports[alias.asname or alias.name] = Reference(f"{statement.module}.{alias.name}", place)
        elif not _lists_names(statement):
            return {}
    return {} if "*" in exports else exports


def _lists_names(statement: ast.stmt) -> bool:
    """Whether a statement is `__all__ = [...]`."""
    match statement:
        case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names)):
            return all(isinstance(name, ast.Constant) for name in names)
    return False


def _trimmed(module: _Module) -> str:
    """The text of a module without the re-exports that nobody wants; the rest stays as it is formatted."""
    if module.wanted == set(module.exports):
        return module.source
    text = module.source.encode()
    lines = [0, *accumulate(len(line) for line in text.splitlines(keepends=True))]

    def span(node: ast.stmt | ast.expr | ast.alias) -> tuple[int, int]:
        last, column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return lines[node.lineno - 1] + node.col_offset, lines[last - 1] + column

    cuts: list[tuple[int, int]] = []
    for statement in ast.parse(text).body:
        names = _names(statement)
        kept = [position for position, (name, _) in enumerate(names) if name in module.wanted]
        if names and not kept:
            cuts.append((lines[statement.lineno - 1], lines[statement.end_lineno or statement.lineno]))
        for position, (name, node) in enumerate(names):
            if kept and position > kept[-1]:  # with the comma before it
                cuts.append((span(names[position - 1][1])[1], span(node)[1]))
            elif kept and name not in module.wanted:  # with the comma after it
                cuts.append((span(node)[0], span(names[position + 1][1])[0]))
    for begin, end in reversed(cuts):
        text = text[:begin] + text[end:]
    return text.decode().rstrip() + "\n"


def _names(statement: ast.stmt) -> list[tuple[str, ast.alias | ast.Constant]]:
    """The names that a re-export or `__all__` lists, and where."""
    match statement:
        case ast.ImportFrom(names=aliases):
            return [(alias.asname or alias.name, alias) for alias in aliases]
        case ast.Assign(value=ast.List(elts=names)):
            return [(str(name.value), name) for name in names if isinstance(name, ast.Constant)]
    return []
