"""`python -m tools COMMAND ...`; `--help` after any of its words lists what may follow."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tools.command import run_commands

PLACES: dict[str, str | dict[str, str]] = {
    "benchmark": "tools.benchmark:benchmark",
    "compare": "tools.compare:compare",
    "data": "tools.data:COMMANDS",
    "demo": "tools.demo:demo",
    "demo_train": "tools.demo_train:demo_train",
    "docs": "tools.docs.command:docs",
    "new": "tools.new:new",
    "report": "tools.report.command:report",
    "run": "tools.run.command:run",
    "zoo": {word: f"tools.zoo.{word}:{word}" for word in ("package", "verify", "export", "index", "serve", "push")},
}
"""Module and name of each command, or of its mapping of further words; imported when the command is called."""


def main(words: list[str]) -> int:
    """Run a command, or list all of them, and return the exit status."""
    if not words or words[0] in ("--help", "-h", "help"):
        width = max(map(len, PLACES))
        lines = [f"  {word:{width}}  {summary(place)}" for word, place in PLACES.items()]
        sys.stdout.write("\n".join(["python -m tools COMMAND ...; --help after COMMAND says more", "", *lines, ""]))
        return 0
    if words[0] not in PLACES:
        sys.stderr.write(f"error: {words[0]}: no such command, expected one of {', '.join(PLACES)}\n")
        return 2
    return run_commands(commands(words), name="tools", arguments=words)


def commands(words: list[str]) -> dict[str, Any]:
    """Import the command of the first word, or of the first two; all further words if the second is none."""
    place = PLACES[words[0]]
    if isinstance(place, str):
        return {words[0]: _imported(place)}
    chosen = words[1:2] if words[1:] and words[1] in place else list(place)
    return {words[0]: {word: _imported(place[word]) for word in chosen}}


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def summary(place: str | dict[str, str]) -> str:
    """Return the first line of the docstring of a command, or of its module, which is not imported."""
    if isinstance(place, dict):
        return f"{', '.join(place)} bundles."
    module, _, name = place.partition(":")
    # not by the import system, which would import the package of the module
    path = Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")
    found: ast.Module | ast.FunctionDef = (tree := ast.parse(path.read_text(encoding="utf-8")))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            found = node
    return (ast.get_docstring(found) or "").split("\n")[0].rpartition("`: ")[2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
