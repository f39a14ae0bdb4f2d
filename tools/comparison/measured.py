"""Measurements that all entries of a comparison share, with the check that they are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.metrics import aliased_series
from common.metrics.protocol_metric import image_from_channels
from common.operators import unpack_coils
from tools.comparison.baselines import Baseline
from tools.comparison.capture import CaseFolder
from tools.comparison.tasks import RECONSTRUCTION, SERIES, SUPER_RESOLUTION
from tools.progress import Progress

TOLERANCE = 1e-5
"""Largest difference of equal measurements, as a part of the largest value, of k-space, mask and maps separately."""

_EXAMPLES = {
    RECONSTRUCTION: "--mask_family radial --sampling_rate 0.1",
    SERIES: "--n_spokes 13",
    SUPER_RESOLUTION: "--upscale 4 --degradation_name bicubic",
}


def require_targets(label: str, cases: CaseFolder) -> None:
    """Check that there are cases and that each has a target.

    Raises:
        ValueError: there is no case, or one has no target.
    """
    if not len(cases):
        raise ValueError(f"{label}: reconstructed no case; check its inference.json")
    for number in range(len(cases)):
        if cases.read(number, "label") is None:
            raise ValueError(
                f"{cases.name(number).path}: has no target (fully sampled image) to compare with; "
                "give fully sampled data, or a folder without this file"
            )


def require_same_measurements(
    label: str, cases: CaseFolder, reference_label: str, reference: CaseFolder, task: str
) -> None:
    """Check that two bundles had the same cases, measurements and targets.

    Raises:
        ValueError: they differ.
    """
    hint = f"give options that make both measure alike, for example {_EXAMPLES[task]}"
    if len(cases) != len(reference):
        raise ValueError(f"{label} has {len(cases)} cases and {reference_label} has {len(reference)}; {hint}")
    for number in range(len(cases)):
        name, reference_name = cases.name(number), reference.name(number)
        if name != reference_name:
            raise ValueError(
                f"case {number} is slice {name.slice_index} of {name.path} in {label} and slice "
                f"{reference_name.slice_index} of {reference_name.path} in {reference_label}; {hint}"
            )
        for array, word in (("image", "measurement"), ("label", "target")):
            found = [of.read(number, array) for of in (cases, reference)]
            parts = [None if one is None else _parts(one, array, task) for one in found]
            if not _same(*parts):
                where = f"{name.path}, slice {name.slice_index}"
                raise ValueError(f"{where}: {label} has another {word} than {reference_label}; {hint}")


def reconstruct(method: Baseline, measured: CaseFolder, results: CaseFolder, progress: Progress) -> None:
    """Apply a baseline to all measurements."""
    for number in range(len(measured)):
        size = required(measured, number, "label").shape[1:]
        results.write(number, {"pred": method(required(measured, number, "image")[None], size)[0]})
        progress.update(number + 1, len(measured))


@dataclass(frozen=True)
class Images:
    """Images of all cases by one method.

    Attributes:
        cases: folder of the cases that holds the images.
        array: name of the images in each case.
    """

    cases: CaseFolder
    array: str = "pred"

    def read(self, number: int) -> Tensor:
        """Read the image of a case.

        Raises:
            ValueError: the case has no such image.
        """
        return required(self.cases, number, self.array)


def required(cases: CaseFolder, number: int, array: str) -> Tensor:
    """Read an array that each case must have.

    Raises:
        ValueError: the case has no such array.
    """
    found = cases.read(number, array)
    if found is None:
        raise ValueError(
            f"{cases.name(number).path}: the evaluator gave no {array!r}; look at the bundle's inference.json"
        )
    return found


def _parts(image: Tensor, array: str, task: str) -> Sequence[Tensor]:
    """Split an array into the parts to compare: k-space, mask and maps; of series the magnitudes; else the image."""
    if task == SERIES:
        return (aliased_series(image[None]) if array == "image" else image_from_channels(image[None]).abs(),)
    return unpack_coils(image[None]) if array == "image" and task == RECONSTRUCTION else (image,)


def _same(parts: Sequence[Tensor] | None, others: Sequence[Tensor] | None) -> bool:
    if parts is None or others is None:
        return parts is others
    return all(
        one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=TOLERANCE * float(other.abs().max()))
        for one, other in zip(parts, others, strict=True)
    )
