"""Mutations of valid files, read in a child process that is watched: errors, time and memory."""

from __future__ import annotations

import multiprocessing
import random
import re
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.io import open_source

ALLOWED = (ValueError, OSError)  # DataError is a ValueError
CPU_SECONDS = 10.0
MORE_MEMORY = 2**30
_ODD = (0, 1, 0x7F, 0x80, 0xFF)
_NUMBER = re.compile(rb"-?\d+(\.\d+)?")
_LONGEST_TEXT = 4096
_EXTREME = (b"0", b"-1", b"1e308", b"nan", b"65536", b"2147483648", b"99999999999999999999")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A valid file with a cut, flipped bits, odd bytes, a run of bytes put elsewhere, or extreme numbers in its text.

    Changes are near the start more often.
    """
    data = bytearray(content)
    kind = rng.random()
    if kind < 0.1:
        return bytes(data[: rng.randrange(len(data) + 1)])
    if kind < 0.2 and (numbers := list(_NUMBER.finditer(content, 0, _LONGEST_TEXT))):
        one = rng.choice(numbers)
        return content[: one.start()] + rng.choice(_EXTREME) + content[one.end() :]
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = int(len(data) * rng.random() ** rng.choice((1, 3)))
        place = min(place, len(data) - 1)
        if kind < 0.5:
            data[place] ^= 1 << rng.randrange(8)
        elif kind < 0.9:
            length = rng.choice((1, 2, 4, 8))
            data[place : place + length] = bytes([rng.choice(_ODD)]) * len(data[place : place + length])
        else:
            other = rng.randrange(len(data))
            piece = data[other : other + rng.randrange(1, 64)]
            data[place : place + len(piece)] = piece
    return bytes(data)


def read_everything(path: Path, options: dict[str, Any]) -> None:
    """Open a file and read it and its companions, the first block of large ones."""
    with open_source(path, **options) as source:
        for one in (source, *source.companions.values()):
            one.read(None if one.spec.n_values < 2**24 else next(one.blocks()))


def fuzz(make: Callable[[Path], dict[str, Any]], path: Path, count: int, seconds: float, seed: int = 0) -> list[str]:
    """Read mutations of a file or folder, one after the other.

    Args:
        make: writes the valid file to a path and returns the options to open it with.
        path: where it is written.
        count: most mutations.
        seconds: longest time.
        seed: of the mutations; mutation n depends on it and n alone.

    Returns:
        a line for each defect: another exception, more than 10 CPU seconds, or more than 1 GiB of memory.
    """
    options = make(path)
    beside = path.parent.glob(f"{path.stem}.*")  # a header or data of its own
    files = sorted(beside) if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    contents = {file: file.read_bytes() for file in files}
    read_everything(path, options)
    context = multiprocessing.get_context("fork")
    started, start, defects = time.monotonic(), 0, list[str]()
    while start < count and time.monotonic() - started < seconds:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(
            target=_run, args=(sender, path, contents, options, start, count, seed, started + seconds), daemon=True
        )
        child.start()
        sender.close()
        while True:
            # a loaded machine gives a process a part of its time: CPU seconds are watched inside
            if not receiver.poll(10 * CPU_SECONDS):
                child.kill()
                defects.append(f"mutation {start}: no answer in {10 * CPU_SECONDS:g} s")
                start += 1
                break
            try:
                start, found = receiver.recv()
            except EOFError:
                if start < count and child.exitcode not in (0, None):
                    defects.append(f"mutation {start}: the process ended with {child.exitcode}")
                start += 1 if child.exitcode not in (0, None) else count
                break
            if found:
                defects.append(found)
        child.join()
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return defects


def _run(
    sender: Any,
    path: Path,
    contents: dict[Path, bytes],
    options: dict[str, Any],
    start: int,
    count: int,
    seed: int,
    deadline: float,
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))
    for number in range(start, count):
        if time.monotonic() > deadline:
            break
        rng = random.Random(f"{seed} {number}")
        target = rng.choice(sorted(contents))
        for file, content in contents.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(mutated(content, rng) if file == target else content)
        defect = defect_of(lambda: read_everything(path, options), sum(map(len, contents.values())))
        sender.send((number + 1, defect and f"mutation {number}: {defect}"))
    sender.close()


def defect_of(read: Callable[[], object], n_bytes: int) -> str:
    """Call a function that reads a file, and return what is wrong with how it ends; in a process of its own.

    Args:
        read: the function.
        n_bytes: size of the file.

    Returns:
        "" for an end within the limits of time and memory, in an allowed error of one line or in none.
    """
    signal.setitimer(signal.ITIMER_PROF, 2 * CPU_SECONDS)  # ends a loop that never returns
    cpu, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    defect = ""
    try:
        read()
    except ALLOWED as error:
        defect = f"an error of several lines: {error}" if "\n" in str(error) else ""
    except Exception:
        defect = " ".join(traceback.format_exc().splitlines()[-3:])
    if time.process_time() - cpu > CPU_SECONDS:
        defect = f"{time.process_time() - cpu:.1f} CPU seconds"
    more = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
    return f"{more / 2**20:.0f} MiB of memory" if more > MORE_MEMORY + n_bytes else defect
