"""How the quality of what was compared is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from common.metrics import Case, CaseCollector, PerceptualDistance, Protocol, get_protocol, super_resolution_protocol
from common.metrics.protocol_metric import image_from_channels
from tools.comparison.bundle_runs import configuration
from tools.comparison.entries import BundleEntry, Entry
from tools.comparison.measured import required
from tools.comparison.runs import Runs
from tools.comparison.tasks import SERIES, SUPER_RESOLUTION
from tools.progress import Progress

PERCEPTUAL_WEIGHTS = "vgg19_textures.pt"
"""In the folder models/ of a bundle, of super-resolution for one."""


def find_perceptual_weights(given: str, entries: Sequence[Entry]) -> Path | None:
    """The file of the perceptual distance: the one given, else the first that a bundle brings."""
    if given:
        return Path(given)
    found = [entry.root / "models" / PERCEPTUAL_WEIGHTS for entry in entries if isinstance(entry, BundleEntry)]
    return next((path for path in found if path.is_file()), None)


def protocol_name(given: str, measurer: BundleEntry) -> str:
    """Name of the protocol: the one given, else the first key of `protocols` of the bundle that measures.

    Returns:
        The name; empty for super-resolution, where it follows from the images.

    Raises:
        ValueError: there is no such protocol, or one is of series and the other not.
    """
    if not given and measurer.task == SUPER_RESOLUTION:
        return ""
    named = configuration(measurer).get("protocols", [])
    usual = "cine_series" if measurer.task == SERIES else "magnitude_slice"
    protocol = get_protocol(str(given or (named[0] if isinstance(named, list) and named else usual)))
    if (protocol.scope == "cine") != (measurer.task == SERIES):
        raise ValueError(f"protocol must be one of {measurer.task}, such as {usual}, got {protocol.name!r}")
    return protocol.name


def protocol_of(name: str, runs: Runs, distance: PerceptualDistance | None) -> Protocol:
    """The protocol of a name from `protocol_name`, with the perceptual distance as a further column.

    Super-resolution without a name is measured by its ratio of sizes, and by PIQE too.
    """
    if not name:
        image, label = (required(runs.measured, 0, array) for array in ("image", "label"))
        return super_resolution_protocol(label.shape[-1] // image.shape[-1], distance, no_reference=True)
    protocol = get_protocol(name)
    return with_perceptual(protocol, distance) if distance else protocol


def with_perceptual(protocol: Protocol, distance: PerceptualDistance) -> Protocol:
    """The protocol with the metric "perceptual": the distance of its images, clipped to [0, 1].

    The slices of a volume are divided by the maximum of the target volume before; their mean is the volume's.
    """

    def of_images(image: Tensor, target: Tensor) -> Tensor:
        return distance(*(one[:, None].clamp(0, 1).float() for one in (image, target)))

    def of_volume(image: Tensor, target: Tensor) -> Tensor:
        peak = target.max()
        if not peak > 0:
            return peak.new_full((1,), torch.nan)
        return of_images(image / peak, target / peak).mean(0, keepdim=True)

    return protocol.with_measures(perceptual=of_volume if protocol.scope == "volume" else of_images)


def measure(protocol: Protocol, runs: Runs) -> CaseCollector:
    """Measure all cases and methods."""
    collector = CaseCollector([protocol])
    with Progress("metrics") as progress:
        for number in range(len(runs.measured)):
            path, slice_index, _ = runs.measured.name(number)
            target = image_from_channels(required(runs.measured, number, "label")[None])[0]
            methods = {name: image_from_channels(images.read(number)[None])[0] for name, images in runs.methods.items()}
            collector.add(Case(path, slice_index, methods, target))
            progress.update(number + 1, len(runs.measured))
    collector.gather()
    return collector
