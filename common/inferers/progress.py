"""How far a loop is, and how long it still takes."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

logger = logging.getLogger("recon")
Item = TypeVar("Item")


def followed(items: Sequence[Item], *, done: int, unit: str) -> Iterator[Item]:
    """The items, with a bar on a terminal, elsewhere a line every tenth of the whole; both with the time to go.

    Args:
        items: what is left to do; an item counts as done when the next is asked for.
        done: how many were done before.
        unit: what they are, in the plural.
    """
    total = done + len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, initial=done, unit=f" {unit}", leave=False)
        return
    start = time.monotonic()
    for position, item in enumerate(items, start=1):
        yield item
        now = done + position
        if now * 10 // total > (now - 1) * 10 // total:
            seconds = (time.monotonic() - start) / position * (len(items) - position)
            logger.info(f"{now} of {total} {unit}" + (f", about {duration(seconds)} to go" if now < total else ""))


def duration(seconds: float) -> str:
    """A time for people: ``"45 s"``, ``"12 min"``, ``"3 h 20 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
