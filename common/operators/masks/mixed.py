"""Masks of several families and rates, one drawn for each mask: for one network that takes them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from common.operators.masks.sampler import MaskSampler
from common.operators.masks.streams import mask_streams, uniform
from torch import Tensor

_OTHER = 0x2545F4914F6CDD1D  # another stream than that of the samples


class DrawnMasks:
    """A mask source that draws one of several samplers for each mask, all equally likely.

    The seed of a mask determines its sampler too, so that a file evaluated by name always gets the same mask.

    Args:
        samplers: samplers to draw from, at least one.
    """

    def __init__(self, samplers: Sequence[MaskSampler]) -> None:
        self.samplers = list(samplers)

    def __call__(
        self,
        shape: tuple[int, int],
        seed: int | str | Sequence[int | str],
        batch: int = 1,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Float32 0/1 masks ``(batch, 1, height, width)``; the arguments are those of ``sampling_mask``."""
        n_masks = len(seed) if isinstance(seed, Sequence) and not isinstance(seed, str) else batch
        drawn = self._indices(seed, n_masks)
        of_each = {index: self.samplers[index](shape, seed, batch, device) for index in set(drawn)}
        return torch.stack([of_each[index][place] for place, index in enumerate(drawn)])

    def drawn(self, seed: int | str) -> tuple[str, float]:
        """Return family and sampled fraction of the first mask of a seed."""
        return self.samplers[self._indices(seed, 1)[0]].drawn(seed)

    def _indices(self, seed: int | str | Sequence[int | str], n_masks: int) -> list[int]:
        """Return the place of the sampler of each mask."""
        streams = mask_streams(seed, n_masks, torch.device("cpu"))
        return (uniform(streams ^ _OTHER, 1)[:, 0] * len(self.samplers)).long().tolist()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.samplers})"


class MixedMasks(DrawnMasks):
    """A mask source that draws a family and a rate for each mask, all pairs equally likely.

    The seed of a mask determines family and rate too, so that a file evaluated by name always gets the same mask.

    Args:
        families: names of families, of ``MASK_FAMILIES``; one that is given twice is drawn twice as often.
        rates: sampled fractions, in (0, 1]; one that is given twice is drawn twice as often.
        options: options of some of the families, by name of the family: ``{"radial": {"angle_deg": 0.0}}``.

    Raises:
        ValueError: for an empty list, an unknown family, rate or option, or options of a family that is not drawn.
    """

    def __init__(
        self, families: Sequence[str], rates: Sequence[float], options: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        if not families or not rates:
            raise ValueError(f"expected at least one mask family and one rate, got {list(families)} and {list(rates)}")
        options = options or {}
        if unused := [name for name in options if name not in families]:
            raise ValueError(
                f"expected mask options by family, of {', '.join(dict.fromkeys(families))}, got those of "
                f"{', '.join(unused)}; give for instance {{{families[0]!r}: {{...}}}}"
            )
        super().__init__(
            [MaskSampler(family, rate, **options.get(family, {})) for family, rate in product(families, rates)]
        )
