"""`python -m tools benchmark`: how fast the parts are, beside the usual way of doing the same."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import numpy as np
import torch
from monai.networks.blocks.fft_utils_t import ifftn_centered_t
from torch.utils.data import DataLoader, Dataset

from common.data import SliceDataset, find_slices
from common.data.loading import training_loader
from common.operators import fft2c
from common.operators.masks import MaskSampler
from common.transforms import PrepareAcquisition
from tools.command import command


class _PerSample(Dataset):
    """The steps of fastMRI's public U-Net training transform, each sample on its own.

    Reads k-space and target, draws and applies a mask, transforms, takes the magnitude, normalises and clamps.
    """

    def __init__(self, entries: list[dict], rate: float) -> None:
        self.entries = entries
        self.mask = MaskSampler("cartesian", rate)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        entry = self.entries[index]
        with h5py.File(entry["path"]) as file:
            kspace = torch.view_as_real(torch.from_numpy(file["kspace"][entry["slice"]]))
            target = torch.from_numpy(file["reconstruction_esc"][entry["slice"]])
        mask = self.mask((kspace.shape[0], kspace.shape[1]), seed=index)[0, 0]
        image = ifftn_centered_t(kspace * mask[..., None] + 0.0, spatial_dims=2).square().sum(-1).sqrt()
        mean, std = image.mean(), image.std() + 1e-11
        return ((image - mean) / std).clamp(-6, 6), ((target - mean) / std).clamp(-6, 6)


@command
def acquisition(size: int = 256, n_slices: int = 64, batch_size: int = 16, rate: float = 0.25, device: str = "") -> str:
    """Slices per second from file to measurement: read, mask, transform, collate; one process, fully sampled k-space.

    Compares the bundles' loader (k-space transformed once and kept in memory, masks and transforms for a whole batch
    on the device) with the same work sample by sample on the CPU, as fastMRI's public transform does it.

    Args:
        size: height and width.
        n_slices: slices in the file that is made for this.
        batch_size: slices in a batch.
        rate: sampling rate of the random Cartesian masks.
        device: device on which batches are acquired; if empty CUDA if there is one, else the CPU.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with tempfile.TemporaryDirectory() as folder:
        generator = np.random.default_rng(0)
        image = torch.from_numpy(generator.random((n_slices, size, size), dtype=np.float32)).to(torch.complex64)
        with h5py.File(Path(folder) / "slices.h5", "w") as file:
            file["kspace"] = fft2c(image).numpy()
            file["reconstruction_esc"] = image.real.numpy()
            file.attrs["max"] = 1.0
        entries = find_slices(folder)
        prepare = PrepareAcquisition(MaskSampler("cartesian", rate))
        ours = training_loader(SliceDataset(entries, cache=True), batch_size)
        usual = DataLoader(_PerSample(entries, rate), batch_size=batch_size, drop_last=True)
        fast = _rate(ours, lambda batch: prepare(batch, where), batch_size, where)
        slow = _rate(usual, lambda batch: [part.to(where) for part in batch], batch_size, where)
    return (
        f"{size} x {size}, batch {batch_size}, acquired on {where.type}, {torch.get_num_threads()} threads\n"
        f"whole batches   {fast:9.0f} slices/s\n"
        f"per sample      {slow:9.0f} slices/s\n"
        f"ratio           {fast / slow:9.1f}"
    )


def _rate(loader: Iterable, step: Callable, batch_size: int, device: torch.device, seconds: float = 5.0) -> float:
    """Slices per second after one pass that fills caches."""
    for batch in loader:
        step(batch)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for batch in loader:
            step(batch)
            count += batch_size
    if device.type == "cuda":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - begin)


COMMANDS = {"acquisition": acquisition}
