"""What a network makes of an image at once would be a GiB and more: memory, and the same bytes after a kill."""

from __future__ import annotations

import os
import random
import resource
import signal
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from common.inferers import StreamingInferer
from common.networks import EdsrGenerator

MIB = 2**20
# STREAMING=large is 4000 x 4000 -> 16000 x 16000 and 128^3 -> 512^3, a quarter of an hour
IMAGE, VOLUME = (4000, 128) if os.environ.get("STREAMING") == "large" else (1500, 80)


def enlarge(source: Path, output: Path, spatial_dims: int, kill_at: int, peak: Any) -> None:
    """In a process of its own; killed at the n-th tile, never if 0. Sends the memory above that before the run."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = EdsrGenerator(upscale=4, n_blocks=1, width=8, spatial_dims=spatial_dims)
    tiles = iter(range(1, 10**6))
    network.head.register_forward_pre_hook(
        lambda *_: os.kill(os.getpid(), signal.SIGKILL) if next(tiles) == kill_at else None
    )
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    StreamingInferer()(source, network, output)
    peak.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spatial_dims", "side", "name"), [(2, IMAGE, "out.tif"), (3, VOLUME, "out.tif"), (3, VOLUME, "out.zarr")]
)
def test_memory_is_bounded_and_a_kill_changes_no_byte(
    tmp_path: Path, processes: BaseContext, spatial_dims: int, side: int, name: str
) -> None:
    if name == "out.zarr":
        pytest.importorskip("zarr", minversion="3.0")
    source, output, once = tmp_path / "in.tif", tmp_path / name, tmp_path / "once" / name
    image = np.random.default_rng(0).integers(0, 65536, (side,) * spatial_dims).astype(np.uint16)
    tifffile.imwrite(source, image, photometric="minisblack")

    def run(path: Path, kill_at: int) -> int:
        receiver, sender = processes.Pipe(duplex=False)
        process = processes.Process(target=enlarge, args=(source, path, spatial_dims, kill_at, sender))
        process.start()
        sender.close()
        process.join()
        if kill_at:
            assert process.exitcode == -signal.SIGKILL
            return 0
        assert process.exitcode == 0
        return receiver.recv()

    kill_at = random.randint(2, 8)  # any tile will do
    run(output, kill_at)
    assert len(list((tmp_path / f"{name}.partial").glob("*-*.npy"))) == kill_at - 1
    for path in (output, once):
        assert run(path, 0) < 600 * MIB  # at once: 6000 * 6000 (or 320 * 320 * 320) values in 8 feature maps, 1 GiB
    files = [once] if once.is_file() else [file for file in once.rglob("*") if file.is_file()]
    assert len(files) == 1 or len(files) == sum(file.is_file() for file in output.rglob("*"))
    for file in files:
        assert file.read_bytes() == (output / file.relative_to(once)).read_bytes(), (file, kill_at)
