"""Masks of several accelerations, each with its own fully sampled centre."""

from __future__ import annotations

from collections.abc import Sequence

from common.operators.masks.mixed import DrawnMasks
from common.operators.masks.sampler import MaskSampler


class AccelerationMasks(DrawnMasks):
    """A mask source that draws one of several accelerations for each mask, as fastMRI's trainings do.

    The seed of a mask determines its acceleration too, so that a file evaluated by name always gets the same mask.

    Args:
        accelerations: accelerations to draw from, each at least 1, such as ``[4, 8, 16, 32]``.
        center_fractions: width of the fully sampled centre for each acceleration, as a fraction of all columns. None:
            0.32 / acceleration, which is fastMRI's choice (0.08 at 4, 0.04 at 8).
        family: a Cartesian family, ``cartesian`` (random lines) or ``equispaced``.

    Raises:
        ValueError: for another family, if they do not pair, for an acceleration below 1, or if a centre is empty or
            larger than its acceleration allows.
    """

    def __init__(
        self, accelerations: Sequence[float], center_fractions: Sequence[float] | None = None, family: str = "cartesian"
    ) -> None:
        if family not in ("cartesian", "equispaced"):
            raise ValueError(f"family must be cartesian or equispaced, masks of whole columns, got {family!r}")
        if center_fractions is None:
            center_fractions = [0.32 / max(accel, 1) for accel in accelerations]
        if not accelerations or len(accelerations) != len(center_fractions):
            raise ValueError(
                f"expected a center_fraction for each acceleration, got accelerations={list(accelerations)} and "
                f"center_fractions={list(center_fractions)}; fastMRI's pairs are 4: 0.08, 8: 0.04, 16: 0.02, 32: 0.01"
            )
        pairs = list(zip(accelerations, center_fractions, strict=True))
        super().__init__([MaskSampler(family, accel=accel, center_fraction=fraction) for accel, fraction in pairs])
        for accel, fraction in pairs:
            if not 0 < fraction * accel <= 1:
                raise ValueError(
                    f"center_fraction must be in (0, {1 / accel:.3g}] for acceleration {accel}, got {fraction}; "
                    "lower one of them"
                )
