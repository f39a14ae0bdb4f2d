"""Starting as one of several processes."""

import pytest
import torch

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
