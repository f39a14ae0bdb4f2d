"""Methods without a network, which every comparison should have a row of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from common.operators import complex_to_channels, ifft2c, unpack_measurement
from common.operators.degradation import resize
from tools.classical import require_sigpy, total_variation, wavelet
from tools.comparison.tasks import RECONSTRUCTION, SUPER_RESOLUTION

Baseline = Callable[[Tensor, Sequence[int]], Tensor]
"""What was measured, `(batch, channels, height, width[, depth])`, and the size of the target to images of this size:
k-space and mask to real and imaginary image `(batch, 2, height, width)`, low-resolution image to a larger one."""

CLASSICAL: dict[str, Callable[..., Tensor]] = {"tv": total_variation, "wavelet": wavelet}
ENLARGEMENTS = ("nearest", "bicubic", "lanczos")
BASELINES = {
    **dict.fromkeys(("zero_filled", *CLASSICAL), RECONSTRUCTION),
    **dict.fromkeys(ENLARGEMENTS, SUPER_RESOLUTION),
}
"""Name to task."""


def find_baseline(name: str, weight: str = "") -> Baseline:
    """The baseline of this name, one of `BASELINES`.

    Args:
        name: see there.
        weight: of the penalty, a number; empty for the method's own.

    Raises:
        ValueError: the weight is no number, there is none to give, or a package is not installed.
    """
    if name not in CLASSICAL:
        if weight:
            raise ValueError(f"{name} has no parameter, got {weight!r}; leave it out")
        return partial(resize, kernel=name) if name in ENLARGEMENTS else _zero_filled
    require_sigpy()
    try:
        options = {"weight": float(weight)} if weight else {}
    except ValueError:
        raise ValueError(f"{name}:WEIGHT takes a number, got {weight!r}; for example {name}:0.01") from None
    return lambda measurement, size: CLASSICAL[name](measurement, **options)


def _zero_filled(measurement: Tensor, size: Sequence[int]) -> Tensor:
    return complex_to_channels(ifft2c(unpack_measurement(measurement)[0]))
