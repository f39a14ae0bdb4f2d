"""The mask a configuration asks for: drawn from one family or several, or read from a file."""

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
    """Masks of a family at a rate, of several at several, or the one mask of a file.

    Args:
        family: see `MaskSampler`; a list for `MixedMasks`.
        rate: sampled fraction, see there; a list for `MixedMasks`.
        options: of the family, see `MaskSampler`; where family or rate is a list, by family, see `MixedMasks`.
        file: see `FixedMask`; where it is given, the other arguments do not count.
    """
    if file:
        return FixedMask(file)
    if isinstance(family, str) and not isinstance(rate, Sequence):
        return MaskSampler(family, rate, **(options or {}))
    families = [family] if isinstance(family, str) else family
    return MixedMasks(families, rate if isinstance(rate, Sequence) else [rate], options)
