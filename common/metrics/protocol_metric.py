"""A protocol's metric as a MONAI metric handler, for ``key_val_metric`` and ``additional_metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from common.metrics.protocols import Protocol, get_protocol
from common.operators.degradation.resize import resize
from common.operators.fourier import channels_to_complex, complex_to_channels
from common.operators.radial_series import is_radial, unpack_radial
from common.operators.series import aliased_magnitude, batch_to_frames, view_shared
from common.operators.zero_filled import zero_filled_image
from ignite.engine import Engine
from monai.config import TensorOrList
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric
from torch import Tensor


def image_from_channels(channels: Tensor) -> Tensor:
    """Network channels ``(batch, 2 or 1, height, width)`` to images ``(batch, height, width)``.

    Two channels are real and imaginary part and become complex; one stays real. Volumes and series of frames,
    ``(batch, 2 or 1, height, width, depth or frames)``, keep their last axis. Computed in float32 at least, whatever
    autocast left.

    Raises:
        ValueError: for any other shape.
    """
    if channels.dim() not in (4, 5) or channels.shape[1] not in (1, 2):
        raise ValueError(
            "expected images of 2 channels (real, imaginary) or 1 (real), (batch, channels, height, width[, depth or "
            f"frames]), got shape {list(channels.shape)}; convert the network's output before the metric"
        )
    channels = channels.as_subclass(Tensor)
    if channels.dtype in (torch.float16, torch.bfloat16):
        channels = channels.float()
    if channels.shape[1] == 1:
        return channels[:, 0]
    return channels_to_complex(channels)[:, 0] if channels.dim() == 4 else torch.complex(channels[:, 0], channels[:, 1])


def zero_filled_and_label(output: Sequence[Mapping[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """``output_transform`` that measures the baseline: zero-filled images in place of predictions.

    Args:
        output: an evaluator's, decollated; "image" the measurement, of one coil or several, see
            :func:`~common.operators.pack_measurement`, "label" the truth, which the zero-filled images are cropped to.
    """
    labels = [item["label"] for item in output]
    sizes = [None if label is None else label.shape[1:] for label in labels]
    baseline = [zero_filled_image(item["image"][None], size) for item, size in zip(output, sizes, strict=True)]
    return [complex_to_channels(image[None])[0] for image in baseline], labels


def aliased_series(measured: Tensor) -> Tensor:
    """Magnitudes of the series that a cine network gets, ``(batch, 1, height, width, frames)``.

    Args:
        measured: ``(batch, channels, height, width, frames)``: one channel is the aliased magnitudes themselves, more
            are the measurement, see :func:`~common.operators.series.pack_series` and
            :class:`~common.operators.radial_series.RadialGridding`.
    """
    if is_radial(measured):
        return batch_to_frames(unpack_radial(measured)[0].abs(), len(measured))
    return measured if measured.shape[1] == 1 else aliased_magnitude(measured)


def series_without_network(measured: Tensor) -> dict[str, Tensor]:
    """Return the baselines of cine reconstruction by name, magnitudes ``(batch, 1, height, width, frames)``.

    ``aliased`` holds the aliased magnitudes, see :func:`aliased_series`. ``view_shared`` holds the magnitudes after
    :func:`~common.operators.series.view_shared`; it is left out if the input has only one channel.

    Args:
        measured: aliased magnitudes or measurement, as :func:`aliased_series` takes them.
    """
    series = {"aliased": aliased_series(measured)}
    if is_radial(measured):
        series["view_shared"] = batch_to_frames(unpack_radial(measured)[1].abs(), len(measured))
    elif measured.shape[1] > 1:
        series["view_shared"] = aliased_magnitude(view_shared(measured))
    return series


def aliased_and_label(output: Sequence[Mapping[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """``output_transform`` that measures the baseline of cine series: the aliased series in place of results.

    Args:
        output: decollated items of an evaluator: "image" is the input of :func:`aliased_series` without the batch
            axis, "label" the true series.
    """
    return [aliased_series(item["image"][None])[0] for item in output], [item["label"] for item in output]


def bicubic_and_label(output: Sequence[Mapping[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """``output_transform`` that measures the baseline of super-resolution: bicubic enlargements in place of results.

    Args:
        output: decollated items of an evaluator: "image" is the low-resolution image ``(channels, h, w[, d])``,
            "label" the true high-resolution image.
    """
    labels = [item["label"] for item in output]
    sizes = [label.shape[1:] for label in labels]
    return [resize(item["image"][None], size)[0] for item, size in zip(output, sizes, strict=True)], labels


class ProtocolMetric(IgniteMetricHandler):
    """Mean over all slices (of super-resolution: all images or volumes; of cine: all series) of a protocol's metric.

    Gathers over processes, and leaves the values of the slices in ``engine.state.metric_details``. Slices
    for which the metric is undefined (NaN) are left out of the mean; an infinite PSNR makes it infinite.

    Args:
        protocol: a protocol, or the name of one, that gives a value per slice or image.
        metric: name of one of the protocol's metrics. NMSE is better when
            lower, but MONAI's key metric is better when higher.
        output_transform: function from ``engine.state.output`` to (predictions, labels), each a list of
            ``(channels, height, width[, depth or frames])`` or a batch of it, with two channels (real, imaginary) or
            one.
        save_details: True if the values of the slices are stored in ``engine.state.metric_details``.
        constant: True if the value is the same at each run of the evaluator, as for a baseline in a validation whose
            masks follow from file names. It is then computed once.

    Raises:
        ValueError: for an unknown protocol or metric, and for a volume protocol.
    """

    def __init__(
        self,
        protocol: str | Protocol = "magnitude_slice",
        metric: str = "psnr",
        output_transform: Callable[[Any], Any] | None = None,
        save_details: bool = True,
        constant: bool = False,
    ) -> None:
        self.constant = constant
        self._is_computed = False
        super().__init__(
            metric_fn=_SliceValues(get_protocol(protocol) if isinstance(protocol, str) else protocol, metric),
            output_transform=from_engine(["pred", "label"]) if output_transform is None else output_transform,
            save_details=save_details,
        )

    def reset(self) -> None:
        """Forget the slices, unless the value is constant and known."""
        if not self._is_known():
            super().reset()

    def iteration_completed(self, engine: Engine) -> None:
        """Add the slices of a batch, unless the value is constant and known."""
        if not self._is_known():
            super().iteration_completed(engine)

    def compute(self) -> Any:
        """Return the mean over all slices."""
        value = super().compute()
        self._is_computed = True
        return value

    def _is_known(self) -> bool:
        return self.constant and self._is_computed


class _SliceValues(CumulativeIterationMetric):
    """Values of one metric, ``(batch, 1)``, slice by slice."""

    def __init__(self, protocol: Protocol, metric: str) -> None:
        super().__init__()
        if protocol.scope == "volume":
            raise ValueError(
                f"protocol {protocol.name!r} has a value per {protocol.scope}, and an evaluator hands over slices; "
                "use common.metrics.CaseCollector (or the handler CaseTableHandler), which collects volumes"
            )
        (self.metric,) = protocol.require([metric])
        self.protocol = protocol

    def _compute_list(self, y_pred: TensorOrList, y: TensorOrList | None = None, **_: Any) -> Tensor:
        labels = [] if y is None else [label for label in y if label is not None]
        if len(labels) < len(y_pred):
            raise ValueError(
                f"{self.protocol.name} {self.metric} compares each prediction with its label, got {len(labels)} labels "
                f"for {len(y_pred)} predictions; give the evaluator data with targets, or leave the metric out"
            )
        if len({image.shape for image in (*y_pred, *labels)}) == 1:
            return self._compute_tensor(torch.stack(list(y_pred)), torch.stack(labels))
        return torch.cat([self._compute_tensor(p[None], t[None]) for p, t in zip(y_pred, labels, strict=True)])

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **_: Any) -> Tensor:
        if y is None:
            raise ValueError(f"{self.protocol.name} {self.metric} compares a prediction with its label, got no label")
        images = image_from_channels(y_pred), image_from_channels(y)
        return self.protocol.evaluate(*images, metrics=[self.metric])[self.metric][:, None]

    def aggregate(self) -> Tensor:
        """Mean over the slices of all processes.

        Raises:
            ValueError: before the first slice.
        """
        values = self.get_buffer()
        if values is None:
            raise ValueError(f"{self.protocol.name} {self.metric} has no slice to average; check the evaluator's data")
        return values.nanmean()
