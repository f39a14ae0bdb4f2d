"""Mean, standard deviation and bootstrap interval of metric values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_CHUNK = 2**24  # indices drawn at a time: bounds the memory of many resamples of many values


@dataclass(frozen=True)
class Summary:
    """Statistics of a set of values.

    Attributes:
        mean: arithmetic mean; infinite if a value is (the PSNR of identical images).
        std: sample standard deviation (over n - 1); NaN for one value.
        low: lower end of the 95 % percentile bootstrap interval of the mean; as ``std``, NaN if a value
            is infinite.
        high: upper end.
        n: how many values these are of.
        n_undefined: how many NaN values were left out: a metric is NaN where it is undefined.
    """

    mean: float
    std: float
    low: float
    high: float
    n: int
    n_undefined: int = 0


def summarise(values: Tensor | np.ndarray, *, n_bootstrap: int = 1000, seed: int = 0) -> Summary:
    """Mean, standard deviation and 95 % percentile bootstrap interval of the mean, on the values' device.

    The values count as independent. Slices of one volume are not quite, so that an interval over many
    slices of few volumes is too narrow.

    Args:
        values: real, any shape, at least one value. NaN (undefined) values are left out and counted.
        n_bootstrap: number of resamples.
        seed: of the resampling; drawn on the CPU, so that devices agree.

    Raises:
        ValueError: if there is no value, or ``n_bootstrap`` is not positive.
    """
    values = torch.as_tensor(values).detach().to(torch.float64).flatten()
    if len(values) == 0:
        raise ValueError("expected at least one value to summarise, got none; evaluate a case first")
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap must be at least 1, got {n_bootstrap}; 1000 is usual")
    defined = values[~values.isnan()]
    n, n_undefined = len(defined), len(values) - len(defined)
    if n == 0:
        return Summary(math.nan, math.nan, math.nan, math.nan, 0, n_undefined)
    mean = defined.mean().item()
    if not math.isfinite(mean):
        return Summary(mean, math.nan, math.nan, math.nan, n, n_undefined)
    std = defined.std(correction=1).item() if n > 1 else math.nan
    generator = torch.Generator().manual_seed(seed)
    chunk = max(1, _CHUNK // n)
    means = [
        defined[torch.randint(n, (min(chunk, n_bootstrap - i), n), generator=generator).to(defined.device)].mean(1)
        for i in range(0, n_bootstrap, chunk)
    ]
    low, high = np.quantile(torch.cat(means).cpu().numpy(), (0.025, 0.975))
    return Summary(mean, std, float(low), float(high), n, n_undefined)


def paired_difference(
    a: Tensor | np.ndarray, b: Tensor | np.ndarray, *, n_bootstrap: int = 1000, seed: int = 0
) -> Summary:
    """Summary of ``a - b``, case by case: positive where ``a`` is larger.

    Args:
        a: values of one method, ``(cases,)``.
        b: values of the other for the same cases, in the same order.
        n_bootstrap: as in :func:`summarise`.
        seed: as in :func:`summarise`.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    if a.shape != b.shape:
        raise ValueError(
            f"a paired difference needs a value per case of both, got shapes {list(a.shape)} and {list(b.shape)}"
        )
    return summarise(a.double() - b.double(), n_bootstrap=n_bootstrap, seed=seed)
