"""Work that the processes of a group do together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch.distributed as dist
from common.errors import DataError

Item = TypeVar("Item")


class Group:
    """The processes of ``torch.distributed``, or this one alone.

    Args:
        shared: False for this process alone.

    Attributes:
        rank: number of this process.
        size: number of processes.
    """

    def __init__(self, shared: bool) -> None:
        grouped = shared and dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if grouped else 0
        self.size = dist.get_world_size() if grouped else 1

    def gather(self, item: Item) -> list[Item]:
        """Return the item of each process, by rank; call it in every process."""
        items: list[Item] = [item] * self.size
        if self.size > 1:
            dist.all_gather_object(items, item)
        return items

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run a block in every process; none goes on before all have ended it.

        Raises:
            DataError: in every process, if the block raised an error in another one, which no process waits for then.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
        found = [text for text in self.gather(None if error is None else str(error)) if text is not None]
        if error is not None:
            raise error
        if found:
            raise DataError(found[0])
