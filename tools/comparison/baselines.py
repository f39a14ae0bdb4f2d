"""Methods without a network, which every comparison should have a row of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from common.operators import complex_to_channels, ifft2c, unpack_measurement
from tools.classical import require_sigpy, total_variation, wavelet

Baseline = Callable[[Tensor], Tensor]
"""Measurement `(batch, 3, height, width)` to real and imaginary image `(batch, 2, height, width)`."""

CLASSICAL: dict[str, Callable[..., Tensor]] = {"tv": total_variation, "wavelet": wavelet}
BASELINES = ("zero_filled", *CLASSICAL)


def find_baseline(name: str, weight: str = "") -> Baseline:
    """The baseline of this name, one of `BASELINES`.

    Args:
        name: see there.
        weight: of the penalty, a number; empty for the method's own.

    Raises:
        ValueError: the weight is no number, there is none to give, or a package is not installed.
    """
    if name == "zero_filled":
        if weight:
            raise ValueError(f"{name} has no parameter, got {weight!r}; leave it out")
        return _zero_filled
    require_sigpy()
    try:
        options = {"weight": float(weight)} if weight else {}
    except ValueError:
        raise ValueError(f"{name}:WEIGHT takes a number, got {weight!r}; for example {name}:0.01") from None
    return partial(CLASSICAL[name], **options)


def _zero_filled(measurement: Tensor) -> Tensor:
    return complex_to_channels(ifft2c(unpack_measurement(measurement)[0]))
