"""What each process does in ``test_shared_tiles.py``."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from common.engines.processes import start_processes, stop_processes
from common.errors import DataError
from common.inferers import StreamingInferer
from common.inferers.file_run import FileRun
from common.networks import EdsrGenerator


def enlarge(folder: Path, source: Path, output: Path, shared: bool) -> None:
    """A volume at upscale 2, in tiles."""
    torch.manual_seed(0)
    network = EdsrGenerator(upscale=2, n_blocks=1, width=2, spatial_dims=3)
    StreamingInferer(tile_size=24, shared=shared)(source, network, folder / output)


def member(rank: int, port: int, folder: Path, source: Path, output: str, ending: str) -> None:
    """One of two processes; the second is killed after four tiles, or finds one that cannot be read."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    start_processes()
    enlarged, n_tiles = FileRun._enlarged, iter(range(1, 10**6))

    def some(run: FileRun, tile: object) -> np.ndarray:
        if rank == 1 and next(n_tiles) > 4:
            if ending == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("in.npy: a tile that cannot be read")
        return enlarged(run, tile)  # type: ignore[arg-type]

    if ending:
        FileRun._enlarged = some  # type: ignore[method-assign, assignment]
    try:
        enlarge(folder, source, Path(output), shared=True)
    except DataError as error:
        (folder / f"error_{rank}").write_text(str(error))
        dist.barrier()
    stop_processes()
