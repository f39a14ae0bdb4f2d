"""Data sets of slices, and the order in which they are read."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from common.errors import DataError
from monai.data import DataLoader, Dataset
from torch.utils.data import BatchSampler, Sampler

logger = logging.getLogger("recon")


class ResumableSampler(Sampler[int]):
    """A shuffled order that depends on seed and epoch alone, and can be entered in its middle.

    Slices of one size follow each other batch by batch, so that data of several sizes can be collated. What does not
    fill a batch is left out of the epoch. One process sees all, a group of processes shares each batch out.
    ``skip(n)`` leaves out the first ``n`` indices of the next pass only: those an interrupted epoch has already used.

    Args:
        sizes: size of each slice, any hashable value: slices of equal sizes share batches.
        shuffle: True if each pass has an order of its own.
        seed: seed of the order.
        repeats: how often an epoch goes through the data, each time in another order.
        batch_size: slices per batch and process.

    Raises:
        ValueError: if ``repeats`` is below 1.
    """

    def __init__(
        self, sizes: Sequence[Hashable], shuffle: bool = True, seed: int = 0, repeats: int = 1, batch_size: int = 1
    ) -> None:
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        distributed = dist.is_available() and dist.is_initialized()
        self._processes, self._rank = (dist.get_world_size(), dist.get_rank()) if distributed else (1, 0)
        self._sizes = sizes
        self._shuffle = shuffle
        self._seed = seed
        self._repeats = repeats
        self._batch_size = batch_size
        self._epoch = 0
        self._skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self._epoch = epoch

    def skip(self, n: int) -> None:
        """Leave out the first ``n`` indices of the next pass."""
        self._skipped = n

    def __iter__(self) -> Iterator[int]:
        skipped, self._skipped = self._skipped, 0
        order, waiting = list[int](), defaultdict[Hashable, list[int]](list)
        for n in range(self._repeats):
            for index in self._pass(self._epoch * self._repeats + n):
                same = waiting[self._sizes[index]]
                same.append(index)
                if len(same) == self._batch_size * self._processes:
                    order += same[self._rank :: self._processes]
                    same.clear()
        return iter(order[skipped:])

    def _pass(self, number: int) -> list[int]:
        if not self._shuffle:
            return list(range(len(self._sizes)))
        return torch.randperm(len(self._sizes), generator=torch.Generator().manual_seed(self._seed + number)).tolist()

    def __len__(self) -> int:
        group = self._batch_size * self._processes
        return sum(count * self._repeats // group for count in Counter(self._sizes).values()) * self._batch_size


class CaseBatchSampler(BatchSampler):
    """Batches of consecutive slices that never mix files, whose sizes may differ; each file goes to one process.

    Args:
        slices: items with ``path`` and ``slice``, those of a file together.
        batch_size: the most slices in a batch.
        read: reads the slice of an index. A file of which it cannot read all slices is left out. ``None``: nothing is
            read, and no file is left out.

    Attributes:
        errors: the lines about the files that the last pass left out.
    """

    def __init__(
        self, slices: Sequence[dict[str, Any]], batch_size: int, read: Callable[[int], Any] | None = None
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        distributed = dist.is_available() and dist.is_initialized()
        processes, rank = (dist.get_world_size(), dist.get_rank()) if distributed else (1, 0)
        files: dict[str, list[int]] = {}
        for index, item in enumerate(slices):
            files.setdefault(item["path"], []).append(index)
        if len(files) < processes:
            raise ValueError(f"expected at least one file for each of {processes} processes, got {len(files)} files")
        mine = list(files.values())[rank::processes]
        self.errors: list[str] = []
        self._batches = [[file[i : i + batch_size] for i in range(0, len(file), batch_size)] for file in mine]
        self._read = read

    def __iter__(self) -> Iterator[list[int]]:
        self.errors.clear()
        for file in self._batches:
            if self._read is None or self._can_read(file, self._read):
                yield from file

    def __len__(self) -> int:
        return sum(map(len, self._batches))

    def _can_read(self, file: Sequence[Sequence[int]], read: Callable[[int], Any]) -> bool:
        try:
            for index in (index for batch in file for index in batch):
                read(index)
        except (DataError, OSError) as error:
            logger.error(f"{error}")
            self.errors.append(str(error))
            return False
        return True


def training_loader(
    dataset: Dataset, batch_size: int, num_workers: int = 0, shuffle: bool = True, seed: int = 0, repeats: int = 1
) -> DataLoader:
    """A loader of full batches in a resumable order; images of several sizes go to batches of their own.

    Args:
        dataset: commonly a :class:`~common.data.slices.SliceDataset`; its transform is deterministic, since
            augmentation runs on the device. Images have the same size if their entries have the same ``height`` and
            ``width``, or none.
        batch_size: slices per batch and process.
        num_workers: reading processes; 0 is best where all is kept in memory.
        shuffle: True if each epoch has an order of its own.
        seed: seed of the order.
        repeats: how often an epoch sees each slice: for patches, of which a slice has many.

    Raises:
        ValueError: if there are fewer slices than ``batch_size``.
    """
    entries = getattr(dataset, "data", None) or [{}] * len(dataset)
    sizes = [(entry.get("height"), entry.get("width")) if isinstance(entry, dict) else None for entry in entries]
    sampler = ResumableSampler(sizes, shuffle, seed, repeats, batch_size)
    if len(sampler) < batch_size:
        raise ValueError(
            f"expected at least {batch_size=} training images of one size for each process, got {len(sizes)} images of "
            f"{len(set(sizes))} sizes; lower batch_size"
        )
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        drop_last=True,
    )


def evaluation_loader(
    dataset: Dataset, batch_size: int = 1, num_workers: int = 0, skip_bad_files: bool = False
) -> DataLoader:
    """A loader of each slice once, in order, file by file; see :class:`CaseBatchSampler`.

    Args:
        dataset: items with ``path`` and ``slice`` in its data list.
        batch_size: the most slices in a batch.
        num_workers: reading processes.
        skip_bad_files: True to leave out files that cannot be read, which
            :class:`~common.handlers.BadFiles` reports. Each file is read once more, to know before its first batch.
    """
    read = dataset.__getitem__ if skip_bad_files else None
    return DataLoader(dataset, batch_sampler=CaseBatchSampler(dataset.data, batch_size, read), num_workers=num_workers)
