"""Sampling masks of dynamic MRI: another set of samples in each frame, so that aliasing differs from frame to frame."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from common.operators.masks.grid import center_span, centered_axis
from common.operators.masks.streams import mask_streams, uniform
from common.operators.masks.trajectories import rasterised_spokes, spoke_angles
from torch import Tensor

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2

KT_FAMILIES = ("radial_golden", "cartesian_random", "cartesian_golden")


class KtMasks:
    """k-t masks ``(height, width, frames)`` of one family, drawn by a seed.

    - ``radial_golden``: in each frame ``n_spokes`` spokes through DC, each turned from the one before by the golden
      angle, 111.246 degrees, also from frame to frame (Winkelmann et al. 2007, doi 10.1109/TMI.2006.885337); rounded
      to the Cartesian grid, where the source grids a radial measurement. Hauptmann et al. 2019
      (doi 10.1002/mrm.27480) use 13 spokes: they sample 13.0 % of 96 x 96 and 6.6 % of 192 x 192.
    - ``cartesian_random``: ``height / accel`` rows a frame, the ``n_center`` middle ones always, the others drawn anew
      in each frame with a density that falls as ``(1 - |k| / k_max)`` to the power ``density``.
    - ``cartesian_golden``: as many rows, taken at golden-ratio steps from frame to frame through the same density
      (after CAVA, Rich et al. 2020, doi 10.1002/mrm.27903): far apart in a frame, and new ones in the next. Like
      VISTA (Ahmad et al. 2015, doi 10.1002/mrm.25507) in purpose; without that method's optimisation.

    Args:
        family: one of ``KT_FAMILIES``.
        n_spokes: number of spokes in each frame of ``radial_golden``.
        accel: acceleration of the Cartesian families, 1 / sampled fraction of the rows, at least 1.
        n_center: number of rows about DC that every frame of the Cartesian families samples.
        density: exponent with which the density of the Cartesian families falls from the centre; 0 is uniform.

    Raises:
        ValueError: for an unknown family, a number out of range, or, at a call, more centre rows than ``accel`` allows.
    """

    def __init__(
        self,
        family: str = "radial_golden",
        n_spokes: int = 13,
        accel: float = 8.0,
        n_center: int = 4,
        density: float = 1.5,
    ) -> None:
        if family not in KT_FAMILIES:
            raise ValueError(f"unknown k-t mask family {family!r}; choose one of {', '.join(KT_FAMILIES)}")
        if n_spokes < 1 or n_center < 1:
            raise ValueError(f"n_spokes and n_center must be at least 1, got {n_spokes} and {n_center}")
        if not accel >= 1:
            raise ValueError(f"accel must be at least 1, got {accel}; 8 samples an eighth of the rows")
        if not density >= 0:
            raise ValueError(f"density must be at least 0, got {density}")
        self.family = family
        self.n_spokes = n_spokes
        self.accel = accel
        self.n_center = n_center
        self.density = density

    def __call__(
        self,
        shape: tuple[int, int, int],
        seed: int | str | Sequence[int | str],
        batch: int = 1,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw masks; the masks of a seed do not depend on the device.

        Args:
            shape: height, width and number of frames.
            seed: one seed for the batch, or one for each mask, see :func:`~common.operators.masks.sampling_mask`.
            batch: number of masks.
            device: device of the returned masks; None is the CPU.

        Returns:
            float32 0/1 ``(batch, 1, height, width, frames)``; DC, at ``[height // 2, width // 2]``, is always sampled.
        """
        height, width, n_frames = (int(n) for n in shape)
        if min(height, width, n_frames, batch) < 1:
            raise ValueError(
                f"height, width, frames and batch must be at least 1, got {height=}, {width=}, {n_frames=}, {batch=}"
            )
        streams = mask_streams(seed, batch, torch.device("cpu"))
        if self.family == "radial_golden":
            masks = self._spokes(streams, height, width, n_frames)
        else:
            masks = self._rows(streams, height, n_frames)[:, :, None].expand(-1, height, width, n_frames)
        return masks[:, None].to("cpu" if device is None else device, torch.float32)

    def drawn(self, seed: int | str) -> tuple[str, float | None]:
        """Return family and sampled fraction, None for spokes, whose fraction depends on the shape."""
        return self.family, None if self.family == "radial_golden" else 1 / self.accel

    def __repr__(self) -> str:
        own = f"n_spokes={self.n_spokes}"
        if self.family != "radial_golden":
            own = f"accel={self.accel:g}, n_center={self.n_center}, density={self.density:g}"
        return f"KtMasks({self.family!r}, {own})"

    def _spokes(self, streams: Tensor, height: int, width: int, n_frames: int) -> Tensor:
        """Bool ``(batch, height, width, frames)``."""
        angles = spoke_angles(n_frames * self.n_spokes, uniform(streams, 1) * math.pi, golden=True)
        masks = rasterised_spokes(angles.reshape(-1, self.n_spokes), (height, width))
        return masks.reshape(len(streams), n_frames, height, width).permute(0, 2, 3, 1)

    def _rows(self, streams: Tensor, height: int, n_frames: int) -> Tensor:
        """Bool ``(batch, height, frames)``."""
        count = max(1, round(height / self.accel))
        if self.n_center > count:
            raise ValueError(
                f"accel {self.accel:g} leaves {count} of {height} rows a frame, less than n_center={self.n_center}; "
                "lower one of them"
            )
        n_outer = count - self.n_center
        distance = centered_axis(height, torch.device("cpu")).abs()
        density = (1 - distance / (height / 2 + 1)) ** self.density
        density[center_span(height, self.n_center / height)] = 0
        numbers = uniform(streams, max(1, n_frames * n_outer) if self.family == "cartesian_random" else 1)
        masks = torch.zeros(len(streams), height, n_frames, dtype=torch.bool)
        masks[:, center_span(height, self.n_center / height)] = True
        for mask, own in zip(masks, numbers, strict=True):
            for frame in range(n_frames):
                places = torch.arange(frame * n_outer, (frame + 1) * n_outer)
                golden = self.family == "cartesian_golden"
                wanted = (own[0] + places * GOLDEN_RATIO) % 1 if golden else own[places]
                _take(mask[:, frame], density, wanted.tolist())
        return masks


def _take(rows: Tensor, density: Tensor, wanted: list[float]) -> None:
    """Mark one further row for each number in [0, 1): where the density's distribution has that quantile."""
    for quantile in wanted:
        free = (density * ~rows).cumsum(0)
        rows[min(int((free <= quantile * free[-1]).sum()), len(rows) - 1)] = True
