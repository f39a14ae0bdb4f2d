"""Masks of a named family: one function, and the same as an object that a config can build."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from common.operators.masks.densities import gaussian, poisson
from common.operators.masks.lines import cartesian, equispaced
from common.operators.masks.streams import mask_streams
from common.operators.masks.trajectories import radial, radial_golden, spiral
from torch import Tensor

_FAMILIES: dict[str, Callable[..., Tensor]] = {
    "cartesian": cartesian,
    "equispaced": equispaced,
    "gaussian": gaussian,
    "radial": radial,
    "radial_golden": radial_golden,
    "spiral": spiral,
    "poisson": poisson,
}
MASK_FAMILIES = tuple(_FAMILIES)


class MaskSource(Protocol):
    """Interface of a source of masks for a batch, such as ``MaskSampler`` and ``FixedMask``."""

    def __call__(
        self,
        shape: tuple[int, int],
        seed: int | str | Sequence[int | str],
        batch: int = 1,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Float32 0/1 masks ``(batch, 1, height, width)``."""
        ...

    def drawn(self, seed: int | str) -> tuple[str, float | None]:
        """Return family and sampled fraction of the mask of a seed, None for a fraction that depends on the shape."""
        ...


def sampling_mask(
    family: str,
    shape: tuple[int, int],
    rate: float | None = None,
    *,
    accel: float | None = None,
    seed: int | str | Sequence[int | str],
    batch: int = 1,
    device: torch.device | str | None = None,
    **options: Any,
) -> Tensor:
    """Make k-space sampling masks, centred: DC is at ``[height // 2, width // 2]`` and always sampled.

    Args:
        family: one of ``MASK_FAMILIES``.
        shape: height and width of the mask, each at least 1.
        rate: sampled fraction, in (0, 1].
        accel: acceleration, 1 / rate; give this or ``rate``.
        seed: an integer, or a file name (without its folder, for the same mask on every machine). Mask i of the batch
            depends on the seed and on i, not on ``batch``, nor on ``device`` but for rounding. A sequence of seeds
            makes one mask each, the first mask of that seed.
        batch: number of masks.
        device: device of the masks; None is the CPU.
        **options: options of the family, such as ``center_fraction`` or ``angle_deg``; its function lists them.

    Returns:
        Float32 0/1 ``(batch, 1, height, width)``. For instance 6554 ones in 256 x 256 at a rate of 0.1; for the
        Cartesian families 26 of 256 columns.

    Raises:
        ValueError: for an unknown family or option, a rate outside (0, 1], or a centre larger than the rate allows.
        TypeError: for a seed that is neither integer nor text.
    """
    return MaskSampler(family, rate, accel=accel, **options)(shape, seed, batch, device)


class MaskSampler:
    """``sampling_mask`` with the family, rate and options given beforehand: ``sampler(shape, seed, batch, device)``.

    In a config: ``{"_target_": "common.operators.masks.MaskSampler", "family": "radial", "rate": 0.3}``.
    """

    def __init__(self, family: str, rate: float | None = None, *, accel: float | None = None, **options: Any) -> None:
        if family not in _FAMILIES:
            raise ValueError(f"unknown mask family {family!r}; choose one of {', '.join(MASK_FAMILIES)}")
        known = [p.name for p in inspect.signature(_FAMILIES[family]).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for name in options:
            if name not in known:
                raise ValueError(f"unknown option {name!r} of mask family {family!r}; it knows {', '.join(known)}")
        self.family = family
        self.rate = _checked_rate(rate, accel)
        self.options = options

    def __call__(
        self,
        shape: tuple[int, int],
        seed: int | str | Sequence[int | str],
        batch: int = 1,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Float32 0/1 masks ``(batch, 1, height, width)``; the arguments are those of ``sampling_mask``."""
        height, width = (int(n) for n in shape)
        if min(height, width) < 1 or batch < 1:
            raise ValueError(f"height, width and batch must be at least 1, got {height=}, {width=}, {batch=}")
        wanted = torch.device("cpu" if device is None else device)
        # float64 keeps the masks alike on all devices, and MPS has none
        made_on = torch.device("cpu") if wanted.type == "mps" else wanted
        streams = mask_streams(seed, batch, made_on)
        mask = _FAMILIES[self.family](streams, (height, width), self.rate, **self.options)
        return mask[:, None].to(wanted, torch.float32)

    def drawn(self, seed: int | str) -> tuple[str, float]:
        """Return family and sampled fraction, the same for any seed."""
        return self.family, self.rate

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"MaskSampler({self.family!r}, rate={self.rate:.6g}{options})"


def _checked_rate(rate: float | None, accel: float | None) -> float:
    if (rate is None) == (accel is None):
        raise ValueError(f"give either rate or accel (= 1 / rate), got {rate=} and {accel=}")
    if rate is not None:
        if not 0 < rate <= 1:
            raise ValueError(f"rate, the sampled fraction, must be in (0, 1], got {rate}; 0.25 is 4-fold acceleration")
        return float(rate)
    if accel is None or not accel >= 1:
        raise ValueError(f"accel must be at least 1, got {accel}; 4 samples a quarter of k-space")
    return 1 / accel
