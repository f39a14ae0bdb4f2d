"""The mask a configuration asks for: drawn from a family, or read from a file."""

from __future__ import annotations

from pathlib import Path

from common.operators.masks.fixed import FixedMask
from common.operators.masks.sampler import MaskSampler, MaskSource


def mask_source(family: str, rate: float, file: str | Path | None = None) -> MaskSource:
    """Masks of a family at a rate; or, where ``file`` is given, that file's mask, and family and rate do not count."""
    return FixedMask(file) if file else MaskSampler(family, rate)
