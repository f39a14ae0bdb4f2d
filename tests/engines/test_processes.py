"""Starting as one of several processes, and the end of one of them."""

import os
import signal
import socket
import sys
import time

import pytest
import torch
import torch.distributed as dist

from common.engines.processes import process_device, start_processes, stop_processes


def test_a_plain_process_is_told_to_use_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(ValueError, match="expected a process started by torchrun"):
        start_processes()
    stop_processes()  # nothing was started, nothing to stop


def test_device_is_the_local_ranks(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert process_device() == torch.device("cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert process_device() == torch.device("cuda", 3)


def member(rank, port, ends, waits, folder):
    """One of two processes: the second ends in some way, the first is busy or waits for it."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.dup2(os.open(folder / f"rank_{rank}", os.O_CREAT | os.O_WRONLY), 2)
    start_processes()
    try:
        if rank == 0:
            time.sleep(120) if waits == "busy" else dist.barrier()
        elif ends == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif ends == "failed":
            raise ValueError("a.png: damaged")
        stop_processes()
    except Exception as error:  # multiprocessing has a hook of its own
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
@pytest.mark.parametrize(("ends", "waits"), [("killed", "busy"), ("killed", "waiting"), ("failed", "waiting")])
def test_a_process_that_ends_early_ends_the_others(processes, tmp_path, ends, waits):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    members = [processes.Process(target=member, args=(rank, port, ends, waits, tmp_path)) for rank in range(2)]
    for process in members:
        process.start()
    members[1].join()
    started = time.monotonic()
    members[0].join(60)
    assert time.monotonic() - started < 60
    assert members[0].exitcode == (-signal.SIGTERM if waits == "busy" else 1)
    lines = [line for line in (tmp_path / "rank_0").read_text().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "another process of this run has ended" in lines[0]
