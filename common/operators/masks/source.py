"""Mask source of a configuration: drawn from one family or several, or read from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.operators.masks.fixed import FixedMask
from common.operators.masks.mixed import MixedMasks
from common.operators.masks.sampler import MaskSampler, MaskSource


def mask_source(
    family: str | Sequence[str],
    rate: float | Sequence[float],
    options: Mapping[str, Any] | None = None,
    file: str | Path | None = None,
) -> MaskSource:
    """Build the mask source of a configuration.

    One family and one rate give a `MaskSampler`, a list of either gives `MixedMasks`, a file gives a `FixedMask`.

    Args:
        family: name of a mask family, or a list of names to draw from.
        rate: sampled fraction, in (0, 1], or a list of fractions to draw from.
        options: options of the family; if family or rate is a list, a mapping from family to its options.
        file: mask file, see `FixedMask`; if it is given, the other arguments are ignored.
    """
    if file:
        return FixedMask(file)
    if isinstance(family, str) and not isinstance(rate, Sequence):
        return MaskSampler(family, rate, **(options or {}))
    families = [family] if isinstance(family, str) else family
    return MixedMasks(families, rate if isinstance(rate, Sequence) else [rate], options)
