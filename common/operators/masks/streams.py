"""Random numbers that depend on the seed alone: not on the batch size, the device or the version of torch.

Each mask of a batch has its own stream, a SplitMix64 counter generator (Steele, Lea, Flood 2014,
doi:10.1145/2660193.2660195) computed by int64 tensor operations where the mask is wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor


def mask_streams(seed: int | str | Sequence[int | str], batch: int, device: torch.device) -> Tensor:
    """Starting states of ``batch`` streams, int64 ``(batch,)``.

    One seed gives stream i of that seed to mask i. A sequence of ``batch`` seeds gives stream 0 of seed i to mask i, so
    that the mask of a file is the same whatever files share its batch.
    """
    if isinstance(seed, (str, Integral)):
        states = [_state(seed, index) for index in range(batch)]
    elif isinstance(seed, Sequence):
        if batch not in (1, len(seed)):
            raise ValueError(f"a sequence of seeds makes one mask each, got {len(seed)} seeds for {batch=}; drop batch")
        states = [_state(one, 0) for one in seed]
    else:
        raise TypeError(f"seed must be an integer, a file name or a sequence of these, got {seed!r}")
    return torch.tensor(states, dtype=torch.int64, device=device)


def _state(seed: object, index: int) -> int:
    if not isinstance(seed, (str, Integral)):
        raise TypeError(f"seed must be an integer or a file name, got {seed!r}")
    text = f"name {seed}" if isinstance(seed, str) else f"number {int(seed)}"
    digest = hashlib.sha256(f"{text} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def uniform(streams: Tensor, n: int) -> Tensor:
    """The first ``n`` numbers of each stream, uniform in (0, 1): float64 ``(batch, n)``."""
    steps = torch.arange(1, n + 1, device=streams.device) * _signed(0x9E3779B97F4A7C15)
    state = streams[:, None] + steps
    state = (state ^ _shifted(state, 30)) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ _shifted(state, 27)) * _signed(0x94D049BB133111EB)
    state = state ^ _shifted(state, 31)
    return (_shifted(state, 11).double() + 0.5) * 2.0**-53


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _shifted(state: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically; SplitMix64 shifts in zeros
    return (state >> bits) & (2 ** (64 - bits) - 1)
