"""Methods without a network; every comparison should have a row for one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from common.metrics import aliased_series
from common.operators import complex_to_channels
from common.operators.cropping import center_crop
from common.operators.degradation import resize
from common.operators.zero_filled import zero_filled_image
from tools.classical import TV_WEIGHT, WAVELET_WEIGHT, require_sigpy, total_variation, wavelet
from tools.comparison.tasks import RECONSTRUCTION, SERIES, SUPER_RESOLUTION

Baseline = Callable[[Tensor, Sequence[int]], Tensor]
"""Function from a measurement `(batch, channels, height, width[, depth or frames])` and the target's size to images.

Of slices, k-space and mask become a real and imaginary image `(batch, 2, height, width)`, its middle part if k-space is
larger. Of series, a measurement or aliased magnitudes become aliased magnitudes `(batch, 1, height, width, frames)`. A
low-resolution image becomes a larger one."""

CLASSICAL: dict[str, tuple[Callable[..., Tensor], float]] = {
    "tv": (total_variation, TV_WEIGHT),
    "wavelet": (wavelet, WAVELET_WEIGHT),
}
"""Name to method and default weight of its penalty."""

ENLARGEMENTS = ("nearest", "bicubic", "lanczos")
BASELINES: dict[str, tuple[str, ...]] = {
    "zero_filled": (RECONSTRUCTION, SERIES),
    **dict.fromkeys(CLASSICAL, (RECONSTRUCTION,)),
    **dict.fromkeys(ENLARGEMENTS, (SUPER_RESOLUTION,)),
}
"""Name to the tasks that the baseline can do."""


def find_baseline(name: str, weight: str = "") -> Baseline:
    """Find a baseline by its name.

    Args:
        name: one of `BASELINES`.
        weight: weight of the penalty, the text of a number; empty for the default of the method.

    Raises:
        ValueError: the weight is no number, there is none to give, or a package is not installed.
    """
    if name not in CLASSICAL:
        if weight:
            raise ValueError(f"{name} has no parameter, got {weight!r}; leave it out")
        return partial(resize, kernel=name) if name in ENLARGEMENTS else _zero_filled
    require_sigpy()
    method, number = CLASSICAL[name][0], penalty_weight(name, weight)
    return lambda measurement, size: center_crop(method(measurement, number), size)


def penalty_weight(name: str, weight: str = "") -> float:
    """Read the weight of the penalty of one of `CLASSICAL`, as a part of the zero-filled image's largest magnitude.

    Raises:
        ValueError: the weight is no number.
    """
    try:
        return float(weight) if weight else CLASSICAL[name][1]
    except ValueError:
        raise ValueError(f"{name}:WEIGHT takes a number, got {weight!r}; for example {name}:0.01") from None


def _zero_filled(measurement: Tensor, size: Sequence[int]) -> Tensor:
    if len(size) == 3:
        return aliased_series(measurement)
    return complex_to_channels(zero_filled_image(measurement, size)[:, None])
