"""`python -m tools COMMAND ...`; `--help` after any of its words lists what may follow."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from tools.command import run_commands

PLACES = {
    "benchmark": "tools.benchmark:COMMANDS",
    "cine_report": "tools.cine_report.command:cine_report",
    "compare": "tools.compare:compare",
    "curves": "tools.curves:curves",
    "data": "tools.data:COMMANDS",
    "demo": "tools.demo:demo",
    "docs": "tools.docs.command:docs",
    "new": "tools.new:new",
    "report": "tools.results_report:report",
    "run": "tools.run.command:run",
    "zoo": "tools.zoo.commands:COMMANDS",
}
"""Where the first words are; what is asked for is imported, and not the seconds of the rest."""


def commands(words: list[str]) -> dict[str, Any]:
    """The commands that the words can mean: of the first word alone, or all."""
    wanted = words[:1] if words[:1] and words[0] in PLACES else list(PLACES)
    found = {}
    for word in wanted:
        module, _, name = PLACES[word].partition(":")
        found[word] = getattr(import_module(module), name)
    return found


if __name__ == "__main__":
    sys.exit(run_commands(commands(sys.argv[1:]), name="tools"))
