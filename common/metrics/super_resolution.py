"""The protocol of super-resolution, with further columns."""

from __future__ import annotations

from collections.abc import Callable

from common.metrics.no_reference import piqe
from common.metrics.protocols import Measure, Protocol, get_protocol
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]
"""Images ``(batch, 1, height, width[, depth])`` and their truth to a distance each."""


def super_resolution_protocol(upscale: int, perceptual: Distance | None = None, no_reference: bool = False) -> Protocol:
    """``super_resolution_x<upscale>``, measured inside the border of images clipped to [0, 1].

    Args:
        upscale: ratio of the sizes.
        perceptual: adds the metric "perceptual", as :class:`common.metrics.PerceptualDistance`.
        no_reference: adds the metric "piqe", of the prediction alone.

    Raises:
        ValueError: there is no protocol for this ratio.
    """
    measures: dict[str, Measure] = {}
    if perceptual is not None:
        measures["perceptual"] = lambda image, target: perceptual(image[:, None].float(), target[:, None].float())
    if no_reference:
        measures["piqe"] = lambda image, target: piqe(image[:, None])
    return get_protocol(f"super_resolution_x{upscale}").with_measures(**measures)
