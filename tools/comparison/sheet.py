"""Pictures of compared cases: a figure each, and one sheet of some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from common.figures import PanelIndex, case_figure, save_figure
from common.figures.scales import distant_frames, error_scale_of, magnitude
from common.metrics import get_protocol
from common.metrics.case import Case
from common.metrics.cases import CaseKey
from common.metrics.protocol_metric import image_from_channels
from common.operators import unpack_coils
from tools.comparison.capture import CaseFolder
from tools.comparison.measured import required
from tools.comparison.runs import Runs
from tools.comparison.tasks import SERIES, SUPER_RESOLUTION

ZOOM = 4
"""Enlargement of the cut-outs of super-resolved images."""


def draw_cases(
    folder: Path, runs: Runs, on_sheet: Sequence[int], further: Iterable[int], protocol: str, leading: str
) -> None:
    """Write `sheet.png` with some cases, and `panels/` with a figure for each of these and of further ones.

    All error maps have one scale. If the protocol measures volumes, the images of each are divided by the maximum of
    its target. Of series the sheet shows a frame of each, the later of the two that differ most, measured by
    `cine_frame`, with error maps in a scale of their own.

    Args:
        folder: folder of the comparison.
        runs: measurements, targets, and the images of all methods.
        on_sheet: numbers of the cases of the sheet.
        further: numbers of further cases.
        protocol: name of the protocol of the PSNR and SSIM under the error maps; one that measures volumes is replaced
            by `magnitude_slice`.
        leading: method whose error the figure of a series has.
    """
    peaks: dict[str, float] = {}
    if get_protocol(protocol).scope == "volume":
        protocol, peaks = "magnitude_slice", _peaks(runs.measured)
    cases = {number: _case(runs, number, peaks, leading) for number in dict.fromkeys((*on_sheet, *further))}
    scale = error_scale_of(cases.values())
    zoom = ZOOM if runs.task == SUPER_RESOLUTION else 1
    index = PanelIndex.of([(case.path, case.slice_index) for case in cases.values()], protocol, scale)
    index.draw(list(cases.values()), folder / "panels", zoom)
    index.write(folder / "panels")
    chosen = [cases[number] for number in on_sheet]
    if runs.task == SERIES:
        sheet = case_figure([_frame(case) for case in chosen], protocol="cine_frame")
    else:
        sheet = case_figure(chosen, protocol=protocol, zoom=zoom, error_scale=scale)
    save_figure(sheet, folder / "sheet.png")


def spread(n_cases: int, n: int) -> list[int]:
    """Return the numbers of `n` cases, evenly spread: 0, 3, 6 of 9."""
    n = min(n, n_cases)
    return [number * n_cases // n for number in range(n)]


def numbers_of(cases: Sequence[CaseKey], measured: CaseFolder) -> list[int]:
    """Return the numbers of the slices of these cases; a volume has that of its middle slice."""
    wanted = set(cases)
    found = []
    for number in range(len(measured)):
        name = measured.name(number)
        is_middle = (name.path, None) in wanted and name.slice_index == name.n_slices // 2
        if is_middle or (name.path, name.slice_index) in wanted:
            found.append(number)
    return found


def _peaks(measured: CaseFolder) -> dict[str, float]:
    """The largest magnitude of each file's targets; 1 for targets of zeros."""
    peaks: dict[str, float] = {}
    for number in range(len(measured)):
        path = measured.name(number).path
        target = image_from_channels(required(measured, number, "label")[None])
        peaks[path] = max(peaks.get(path, 0.0), float(target.abs().max()))
    return {path: peak or 1.0 for path, peak in peaks.items()}


def _case(runs: Runs, number: int, peaks: Mapping[str, float], leading: str) -> Case:
    name = runs.measured.name(number)
    peak = peaks.get(name.path, 1.0)

    def image(channels: Tensor) -> Tensor:
        found = image_from_channels(channels[None])[0] / peak
        return found.clamp(0, 1) if runs.task == SUPER_RESOLUTION else found

    mask = None
    if runs.task not in (SERIES, SUPER_RESOLUTION):
        mask = unpack_coils(required(runs.measured, number, "image")[None])[1][0, 0]
    return Case(
        path=name.path,
        slice_index=name.slice_index,
        methods={label: image(images.read(number)) for label, images in runs.methods.items()},
        target=image(required(runs.measured, number, "label")),
        mask=mask,
        baseline=next(iter(runs.methods)),
        reconstruction=leading,
        series=runs.task == SERIES,
    )


def _frame(case: Case) -> Case:
    """The later of the two frames of a series that differ most."""
    assert case.target is not None  # for the type checker
    frame = distant_frames(magnitude(case.target))[-1]
    methods = {label: image[..., frame] for label, image in case.methods.items()}
    return replace(case, methods=methods, target=case.target[..., frame], series=False, _values={})
