"""Small light cascades whose every layer counts in the result, for tests of several kinds."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from common.networks import LightCascade, LightCineCascade

SMALL = {"n_stages": 3, "widths": (6, 8, 12), "memory": 3, "n_conditions": 4}


def as_trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give corrections and conditions weights that matter; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if "tail" in name or "second" in name or "condition" in name:
            parameter.data.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def light(seed: int = 0, **options: Any) -> LightCascade:
    """A small cascade for images."""
    torch.manual_seed(seed)
    return as_trained(LightCascade(**{**SMALL, **options}), seed)


def light_cine(seed: int = 0, **options: Any) -> LightCineCascade:
    """A small cascade for series."""
    torch.manual_seed(seed)
    return as_trained(LightCineCascade(**{"n_stages": 2, "widths": (4, 6), **options}), seed)
