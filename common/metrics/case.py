"""One evaluated item: its images, and its quality by protocol, each computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from common.metrics.protocols import Protocol
from torch import Tensor

RECONSTRUCTION = "reconstruction"


@dataclass(eq=False)
class Case:
    """Images of a slice, a volume or a series of frames, shared by tables, pictures and reports.

    Attributes:
        path: data file.
        slice_index: number of the slice or series in it.
        methods: name to image, complex or real, ``(height, width[, depth or frames])``, in the order of display. The
            names are those of the rows of a case table.
        target: true image of that shape, or None.
        mask: sampling mask ``(height, width)``, 1 where k-space was sampled, perhaps of another size than images that
            were cropped; None where there is none.
        baseline: method that the reconstruction is compared with.
        reconstruction: method to be judged.
        std: standard deviation of samples of the reconstruction, real, of the shape of the images, or None.
        n_samples: number of these samples, if it is known.
        series: True if the last axis of three is time and not depth.
        rate: sampled fraction of k-space, if it is known.
    """

    path: str
    slice_index: int
    methods: Mapping[str, Tensor]
    target: Tensor | None = None
    mask: Tensor | None = None
    baseline: str = "zero_filled"
    reconstruction: str = RECONSTRUCTION
    std: Tensor | None = None
    n_samples: int | None = None
    series: bool = False
    rate: float | None = None
    _values: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict, repr=False)

    def values(self, protocol: Protocol, method: str) -> dict[str, float]:
        """Metrics of a method by a protocol that measures slices, images or series.

        Each is computed when it is first asked for; metrics of one name and protocol are the same.

        Raises:
            ValueError: if there is no target, or images cannot be measured, see
                :meth:`common.metrics.Protocol.evaluate`.
        """
        if self.target is None:
            raise ValueError(f"{self.path}: {protocol.name} compares an image with its target, got none")
        known = self._values.setdefault((protocol.name, method), {})
        if missing := [metric for metric in protocol.metrics if metric not in known]:
            found = protocol.evaluate(self.methods[method][None], self.target[None], missing)
            known |= {metric: value.item() for metric, value in found.items()}
        return {metric: known[metric] for metric in protocol.metrics}

    def gain(self, protocol: Protocol) -> float:
        """PSNR of the reconstruction minus that of the baseline, in dB."""
        after, before = (self.values(protocol, method)["psnr"] for method in (self.reconstruction, self.baseline))
        return after - before

    def on_cpu(self) -> Case:
        """Return the case with its images on the CPU and its known metrics."""
        target, mask, std = (None if one is None else _on_cpu(one) for one in (self.target, self.mask, self.std))
        methods = {name: _on_cpu(image) for name, image in self.methods.items()}
        return replace(self, methods=methods, target=target, mask=mask, std=std)


def _on_cpu(image: Tensor) -> Tensor:
    return image.detach().cpu().as_subclass(Tensor)


def require_slice_protocol(protocol: Protocol) -> Protocol:
    """Return the protocol.

    Raises:
        ValueError: it measures volumes, of which a single case is a part.
    """
    if protocol.scope == "volume":
        raise ValueError(
            f"a picture shows one case and protocol {protocol.name!r} measures volumes; use 'magnitude_slice'"
        )
    return protocol
