"""Exponential moving average of a network's weights and buffers."""

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def exponential_average(network: nn.Module, decay: float = 0.999) -> AveragedModel:
    """A moving average of a network; ``.module`` is the averaged network itself.

    After ``n`` updates the decay is ``min(decay, (1 + n) / (10 + n))``, so that a short training is not
    dominated by its random start. Batch-norm statistics are averaged like weights.

    Raises:
        ValueError: if ``decay`` is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be in [0, 1), got {decay}; 0.999 averages about 1000 iterations")

    def update(averaged: Any, current: Any, n_averaged: Any) -> None:
        n = float(n_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, n_averaged)

    average = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
    for parameter in average.parameters():
        parameter.requires_grad_(False)
    return average.eval()
