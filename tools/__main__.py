"""`python -m tools COMMAND ...`; `--help` after any of its words lists what may follow."""

from __future__ import annotations

import sys

from tools import benchmark, data, demo, results_report
from tools.command import run_commands

COMMANDS = {
    "benchmark": benchmark.COMMANDS,
    "data": data.COMMANDS,
    "demo": demo.demo,
    "report": results_report.COMMANDS,
}

if __name__ == "__main__":
    sys.exit(run_commands(COMMANDS, name="tools"))
