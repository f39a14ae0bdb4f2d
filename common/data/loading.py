"""Data sets of slices, and the order in which they are read."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch.distributed as dist
from monai.data import DataLoader, Dataset
from torch.utils.data import BatchSampler, DistributedSampler


class ResumableSampler(DistributedSampler):
    """A shuffled order that depends on seed and epoch alone, and can be entered in its middle.

    One process sees all, a group of processes shares them out. ``skip(n)`` leaves out the first ``n`` indices of
    the next pass only: those an interrupted epoch has already used.

    Args:
        dataset: what is read.
        shuffle: whether each pass has an order of its own.
        seed: of the order.
        repeats: how often an epoch goes through the data, each time in another order.
    """

    def __init__(self, dataset: Any, shuffle: bool = True, seed: int = 0, repeats: int = 1) -> None:
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        distributed = dist.is_available() and dist.is_initialized()
        replicas, rank = (dist.get_world_size(), dist.get_rank()) if distributed else (1, 0)
        super().__init__(dataset, num_replicas=replicas, rank=rank, shuffle=shuffle, seed=seed)
        self._repeats = repeats
        self._skipped = 0

    def skip(self, n: int) -> None:
        """Leave out the first ``n`` indices of the next pass."""
        self._skipped = n

    def __iter__(self) -> Iterator[int]:
        skipped, self._skipped = self._skipped, 0
        epoch, order = self.epoch, list[int]()
        for n in range(self._repeats):
            self.epoch = epoch * self._repeats + n
            order += super().__iter__()
        self.epoch = epoch
        return iter(order[skipped:])

    def __len__(self) -> int:
        return self._repeats * super().__len__()


class CaseBatchSampler(BatchSampler):
    """Batches of consecutive slices that never mix files, whose sizes may differ; each file goes to one process.

    Args:
        slices: items with ``path`` and ``slice``, those of a file together.
        batch_size: the most slices in a batch.
    """

    def __init__(self, slices: Sequence[dict[str, Any]], batch_size: int) -> None:
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
        self.batches = [file[i : i + batch_size] for file in mine for i in range(0, len(file), batch_size)]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def training_loader(
    dataset: Dataset, batch_size: int, num_workers: int = 0, shuffle: bool = True, seed: int = 0, repeats: int = 1
) -> DataLoader:
    """A loader of full batches in a resumable order.

    Args:
        dataset: commonly a :class:`~common.data.slices.SliceDataset`; its transform is deterministic, since
            augmentation runs on the device.
        batch_size: slices per batch and process.
        num_workers: reading processes; 0 is best where all is kept in memory.
        shuffle: whether each epoch has an order of its own.
        seed: of the order.
        repeats: how often an epoch sees each slice: for patches, of which a slice has many.

    Raises:
        ValueError: if there are fewer slices than ``batch_size``.
    """
    sampler = ResumableSampler(dataset, shuffle, seed, repeats)
    if len(sampler) < batch_size:
        raise ValueError(f"expected at least {batch_size=} training images, got {len(sampler)}; lower batch_size")
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        drop_last=True,
    )


def evaluation_loader(dataset: Dataset, batch_size: int = 1, num_workers: int = 0) -> DataLoader:
    """A loader of each slice once, in order, file by file; see :class:`CaseBatchSampler`."""
    return DataLoader(dataset, batch_sampler=CaseBatchSampler(dataset.data, batch_size), num_workers=num_workers)
