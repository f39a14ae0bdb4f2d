"""Commands of a bundle for tests: real processes, without the seconds that each would take to import MONAI."""

from __future__ import annotations

import gc
import inspect
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PRELOADED = (
    "fire",
    "monai.bundle",
    "monai.engines",
    *(f"common.{name}" for name in ("data", "engines", "handlers", "inferers", "losses", "networks", "start")),
)
TIMEOUT_S = 300


class Result(NamedTuple):
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The lines of stderr that are no warning's: what a user reads when a command fails."""
        lines = self.stderr.splitlines()
        start = next((i for i, line in enumerate(lines) if line.startswith(("error:", "Traceback"))), len(lines))
        return lines[start:]


class WarmPython:
    """``python -m MODULE ARGUMENTS``, each in a process of its own, forked from one that has imported MONAI.

    The forked process has its own working directory, output files and end: an uncaught error goes through
    ``sys.excepthook`` and gives the exit status, as it does in any Python.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        environment = {**os.environ, **command_environment()}
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, module: str, *arguments: str, cwd: Path = ROOT) -> Result:
        """Run a module to its end."""
        files = [self._scratch / "stdout.txt", self._scratch / "stderr.txt"]
        request = {"argv": [module, *arguments], "cwd": str(cwd), "files": [str(file) for file in files]}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        return Result(int(answer), *(file.read_text(encoding="utf-8") for file in files))

    def close(self) -> None:
        """End the waiting process."""
        self._server.communicate(timeout=TIMEOUT_S)


def cold_python(module: str, *arguments: str, cwd: Path = ROOT) -> Result:
    """``python -m MODULE ARGUMENTS`` in a new interpreter."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, **command_environment()}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def command_environment() -> dict[str, str]:
    """What a user gets from ``pip install -e .``: the package ``common`` from any folder. And one thread a process."""
    return {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MONAI_DEBUG": "false"}


def overrides(**values: object) -> list[str]:
    """Arguments ``--key value`` of ``monai.bundle``; a double underscore stands for ``#``."""
    return [text for key, value in values.items() for text in (f"--{key.replace('__', '#')}", _text(value))]


def network_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a configuration that set arguments of its network."""
    return {f"network_options#{name}": value for name, value in values.items()}


def _text(value: object) -> str:
    return str(value) if isinstance(value, (str, Path)) else json.dumps(value)


def _serve() -> None:
    """Fork a process for each request on stdin. An error of the forked one leaves this function, and ends it."""
    for module in PRELOADED:
        __import__(module)
    gc.collect()
    gc.freeze()  # a collection in a forked process would copy the memory of all that
    inspect.stack()  # Fire asks for it too: it looks at the file of each module, once in a process and its forks
    for line in sys.stdin:
        request = json.loads(line)
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201
            continue
        return _run(request["argv"], request["cwd"], request["files"])
    return None


def _run(argv: Sequence[str], cwd: str, files: Sequence[str]) -> None:
    signal.alarm(TIMEOUT_S)
    os.chdir(cwd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.path[0] = cwd  # as `python -m` has it
    sys.argv = list(argv)
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve()
