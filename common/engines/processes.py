"""Several processes of one run, started by ``torchrun``."""

import os

import torch
import torch.distributed as dist


def process_device() -> torch.device:
    """The device of this process: the CUDA device of its local rank, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def start_processes() -> None:
    """Join the group of processes that ``torchrun`` announces in the environment.

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
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop_processes() -> None:
    """Leave the group, after all have come to this point."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
