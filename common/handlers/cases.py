"""The items that an evaluator has just evaluated, as cases that all handlers share.

The evaluator decollates (MONAI's default). Per item, ``engine.state.output`` has "image", what the network got, "pred"
and "label" (None or absent without a truth), and ``engine.state.batch`` has "path", "slice" and perhaps "rate".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.metrics.case import RECONSTRUCTION, Case
from common.metrics.protocol_metric import image_from_channels, series_without_network
from common.operators.degradation.resize import KERNELS, resize
from common.operators.measurement import unpack_coils
from common.operators.zero_filled import zero_filled_image
from ignite.engine import Engine
from torch import Tensor

MakeCase = Callable[[Mapping[str, Any], Mapping[str, Any]], Case]
"""From an item of the batch and its output to a case; hashable, and equal to another that makes the same."""


class BatchCases(Sequence[Case]):
    """Cases of a batch, each made when it is first asked for.

    Attributes:
        places: data file and slice of each case.
        with_target: True for each case with a target.
    """

    def __init__(self, batch: list[dict[str, Any]], output: list[dict[str, Any]], make: MakeCase) -> None:
        self._items = list(zip(batch, output, strict=True))
        self._make = make
        self._made: dict[int, Case] = {}
        self.places = [place_of(where) for where in batch]
        self.with_target = [images.get("label") is not None for images in output]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, position: int) -> Case:  # type: ignore[override]
        if not 0 <= position < len(self):
            raise IndexError(position)
        if position not in self._made:
            self._made[position] = self._make(*self._items[position])
        return self._made[position]


def place_of(item: Mapping[str, Any]) -> tuple[str, int]:
    """Return the data file and the slice of an item."""
    return str(item["path"]), int(item["slice"])


def cases_of(engine: Engine, make: MakeCase) -> BatchCases:
    """Cases of the batch just evaluated; the same objects for every handler that makes them alike.

    Raises:
        ValueError: the evaluator does not decollate, or an item lacks something.
    """
    batch, output = engine.state.batch, engine.state.output
    if not isinstance(batch, list) or not isinstance(output, list) or len(batch) != len(output):
        raise ValueError(
            "expected the evaluator's batch and output as lists of one length, got "
            f"{type(batch).__name__} and {type(output).__name__}; build the evaluator with decollate=True"
        )
    for kind, items, keys in (("batch", batch, ("path", "slice")), ("output", output, ("image", "pred"))):
        for item in items:
            if missing := [key for key in keys if key not in item]:
                raise ValueError(
                    f"expected {list(keys)} in each item of the evaluator's {kind}, missing {missing}, got "
                    f"{sorted(map(str, item))}; let the data set, or the evaluator's output, carry them"
                )
    kept: tuple[Any, dict[MakeCase, BatchCases]] | None = getattr(engine.state, "cases", None)
    if kept is None or kept[0] is not output:
        kept = (output, {})
        engine.state.cases = kept
    return kept[1].setdefault(make, BatchCases(batch, output, make))


def measured_case(where: Mapping[str, Any], images: Mapping[str, Any]) -> Case:
    """Make the case of a reconstructed slice or series beside what can be had without a network.

    "image" is the measurement, see :func:`~common.operators.pack_measurement` and
    :func:`~common.operators.series.pack_series`, or the aliased magnitudes of a series; "pred" and "label" are
    ``(1 or 2, height, width[, frames])``. A slice may have the deviation "std" ``(1, height, width)`` and a "sample"
    beside it, see :class:`~common.transforms.SplitSamplesd`; its zero-filled image is cropped to "pred". Series are
    compared as magnitudes.
    """
    measurement, pred, label = _plain(images["image"])[None], _image(images["pred"]), images.get("label")
    target = None if label is None else _image(label)
    if pred.ndim == 3:
        without = series_without_network(measurement)
        methods = {**{name: series[0, 0] for name, series in without.items()}, RECONSTRUCTION: pred.abs()}
        target = None if target is None else target.abs()
        return Case(*place_of(where), methods, target, baseline="aliased", series=True, rate=where.get("rate"))
    _, mask, _ = unpack_coils(measurement)
    methods = {"zero_filled": zero_filled_image(measurement, images["pred"].shape[1:])[0], RECONSTRUCTION: pred}
    if "sample" in images:
        methods["sample"] = _image(images["sample"])
    std = None if images.get("std") is None else _plain(images["std"])[0]
    return Case(*place_of(where), methods, target, mask=mask[0, 0], rate=where.get("rate"), std=std)


@dataclass(frozen=True)
class EnlargedCase:
    """Makes cases of super-resolution beside enlargements by the kernels; the last of these is the baseline.

    All images are clipped to [0, 1], as they are measured.

    "image" is the low-resolution image ``(1, h, w[, d])``, "pred" and "label" are ``(1, height, width[, depth])``.

    Attributes:
        kernels: names for :func:`common.operators.degradation.resize`.
    """

    kernels: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.kernels, str) or not self.kernels or not set(self.kernels) <= set(KERNELS):
            raise ValueError(f"baselines must be a list of {', '.join(KERNELS)}, got {self.kernels!r}")

    def __call__(self, where: Mapping[str, Any], images: Mapping[str, Any]) -> Case:
        """Make a case."""
        image, pred = _plain(images["image"])[None].float(), _plain(images["pred"]).float()
        return Case(
            *place_of(where),
            methods={
                **{kernel: resize(image, pred.shape[1:], kernel)[0, 0].clamp(0, 1) for kernel in self.kernels},
                RECONSTRUCTION: pred[0].clamp(0, 1),
            },
            target=None if images.get("label") is None else _image(images["label"]).clamp(0, 1),
            baseline=self.kernels[-1],
        )


def _plain(image: Tensor) -> Tensor:
    return image.detach().as_subclass(Tensor)


def _image(channels: Tensor) -> Tensor:
    return image_from_channels(_plain(channels)[None])[0]
