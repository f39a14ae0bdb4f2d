"""The mask a configuration asks for: drawn from a family, or read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.operators.masks.fixed import FixedMask
from common.operators.masks.sampler import MaskSampler, MaskSource


def mask_source(
    family: str, rate: float, options: Mapping[str, Any] | None = None, file: str | Path | None = None
) -> MaskSource:
    """Masks of a family at a rate, or the one mask of a file.

    Args:
        family: see `MaskSampler`.
        rate: sampled fraction, see there.
        options: of the family, see there.
        file: see `FixedMask`; where it is given, the other arguments do not count.
    """
    return FixedMask(file) if file else MaskSampler(family, rate, **(options or {}))
