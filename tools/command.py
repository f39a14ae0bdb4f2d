"""How commands run: arguments are checked first, errors are one line, and the exit status tells."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fire


class _Call:
    """A call that waits until all arguments are known to be right."""

    def __init__(self, run: Callable[[], str | None]) -> None:
        self._run = run


def command(function: Callable[..., str | None]) -> Callable[..., _Call]:
    """Make a function a command; what it returns is printed.

    Fire calls a function before it complains of a misspelt option, so that a long job would run with defaults first.
    A command is therefore only noted down, and runs when Fire has no argument left.
    """

    @functools.wraps(function)
    def note_down(*args: Any, **kwargs: Any) -> _Call:
        return _Call(functools.partial(function, *args, **kwargs))

    return note_down


def run_commands(commands: Mapping[str, Any], name: str, arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 1 for a failure, 2 for wrong usage, 130 if interrupted.

    Args:
        commands: words to functions made by `command`, or to mappings of further words.
        name: how the program is called in its help.
        arguments: the words; None takes those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    group: Any = commands
    for word in words:
        group = group.get(word) if isinstance(group, Mapping) else None
    if isinstance(group, Mapping):  # the command is still to be named
        words.append("--help")
    if words[-1:] in (["--help"], ["-h"]) and "--" not in words:  # else a command that takes any option takes it
        words.insert(-1, "--")
    try:
        fire.Fire(commands, command=words, name=name, serialize=_run)
    except fire.core.FireExit as stop:
        return int(stop.code or 0)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    return 0


def _run(result: Any) -> Any:
    return result._run() if isinstance(result, _Call) else result
