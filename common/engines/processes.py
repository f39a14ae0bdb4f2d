"""Several processes of one run, started by ``torchrun``."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist

_GRACE_S = 10.0
"""Time that a process has to end by itself, with its own error, after another one has ended."""

_LOST = "another process of this run has ended, so this one ends too; see the error of that one, and run again"
_left = threading.Event()


def process_device() -> torch.device:
    """Return the device of this process: the CUDA device of its local rank, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def start_processes() -> None:
    """Join the group of processes that ``torchrun`` announces in the environment.

    A process that ends before it has left the group ends the others on its machine within seconds, also where they are
    busy or wait for it (Linux). Elsewhere, and on other machines, they find out when they next exchange data.

    Raises:
        ValueError: if this process was not started by ``torchrun``.
    """
    if "WORLD_SIZE" not in os.environ:
        raise ValueError(
            "expected a process started by torchrun, got a plain one; run `torchrun --standalone "
            "--nproc_per_node=2 -m monai.bundle run ...`, or leave the multi_gpu file out"
        )
    device = process_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # one may encode a large file while the others wait; those that are lost are found otherwise
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=1))
    _watch_others()
    previous = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if _is_lost_connection(error):
            sys.stderr.write(f"error: {_LOST}\n")
        else:
            previous(kind, error, traceback)

    sys.excepthook = report


def stop_processes() -> None:
    """Leave the group, after all have come to this point."""
    if dist.is_initialized():
        dist.barrier()
        _left.set()
        dist.destroy_process_group()


def _is_lost_connection(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, RuntimeError) and "peer" in str(error) and "Connection" in str(error):
            return True
        error = error.__cause__
    return False


def _watch_others() -> None:
    """Start a thread that waits for the end of each other process of the group on this machine."""
    places: list[tuple[str, int]] = [("", 0)] * dist.get_world_size()
    dist.all_gather_object(places, (socket.gethostname(), os.getpid()))
    others = [pid for host, pid in places if host == socket.gethostname() and pid != os.getpid()]
    _left.clear()
    if others and hasattr(os, "pidfd_open"):
        poll = select.poll()
        for pid in others:
            with suppress(OSError):  # of another container
                poll.register(os.pidfd_open(pid), select.POLLIN)
        threading.Thread(target=_end_after, args=(poll,), daemon=True).start()


def _end_after(poll: select.poll) -> None:
    poll.poll()
    if not _left.wait(_GRACE_S):
        sys.stderr.write(f"error: {_LOST}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGTERM)
