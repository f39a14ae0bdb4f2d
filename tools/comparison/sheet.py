"""Pictures of compared cases: a figure each, and one sheet of some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from common.figures import CaseImages, case_figure, enlarged_case, error_scale_of, save_figure
from common.metrics import get_protocol
from common.metrics.protocol_metric import image_from_channels
from common.operators import unpack_coils
from common.panel_files import PanelIndex
from common.series_figure import SeriesImages, series_error_scale, series_figure
from tools.comparison.capture import CaseFolder
from tools.comparison.measured import required
from tools.comparison.runs import Runs
from tools.comparison.tasks import SERIES, SUPER_RESOLUTION
from tools.results import Case, shown

ZOOM = 4
"""Of the parts that are shown of super-resolved images."""


def draw_cases(
    folder: Path, runs: Runs, on_sheet: Sequence[int], further: Iterable[int], protocol: str, leading: str
) -> None:
    """Write `sheet.png` with some cases, and `panels/` with a figure for each of these and of further ones.

    All error maps have one scale. If the protocol measures volumes, the images of each are divided by the maximum of
    its target. Of series the sheet shows a frame of each, the later of the two that differ most, measured by
    `cine_frame`, with error maps in a scale of their own.

    Args:
        folder: where.
        runs: what was measured, the targets, and what the methods made.
        on_sheet: numbers of the cases of the sheet.
        further: numbers of further cases.
        protocol: of the PSNR and SSIM under the error maps; if it measures volumes, `magnitude_slice` instead.
        leading: method whose error is shown in the figure of a series.
    """
    wanted = dict.fromkeys((*on_sheet, *further))
    if runs.task == SERIES:
        series = {number: _series(runs, number, leading) for number in wanted}
        _draw_series(folder / "panels", list(series.values()), protocol)
        sheet = case_figure([_frame(series[number]) for number in on_sheet], protocol="cine_frame")
        save_figure(sheet, folder / "sheet.png", dpi=100)
        return
    peaks: dict[str, float] = {}
    if get_protocol(protocol).scope == "volume":
        protocol, peaks = "magnitude_slice", _peaks(runs.measured)
    cases = {number: _case(runs, number, peaks) for number in wanted}
    scale = error_scale_of(list(cases.values()))
    index = PanelIndex.of([(case.path, case.slice_index) for case in cases.values()], protocol, scale)
    index.draw(list(cases.values()), folder / "panels")
    index.write(folder / "panels")
    sheet = case_figure([cases[number] for number in on_sheet], protocol=protocol, error_scale=scale)
    save_figure(sheet, folder / "sheet.png", dpi=100)


def _draw_series(folder: Path, cases: Sequence[SeriesImages], protocol: str) -> None:
    scale = series_error_scale(cases)
    index = PanelIndex.of([(case.path, case.slice_index) for case in cases], protocol, scale)
    for case in cases:
        save_figure(series_figure(case, protocol, scale), folder / index.pictures[case.path, case.slice_index])
    index.write(folder)


def spread(n_cases: int, n: int) -> list[int]:
    """Numbers of `n` cases, evenly spread: 0, 3, 6 of 9."""
    n = min(n, n_cases)
    return [number * n_cases // n for number in range(n)]


def numbers_of(cases: Sequence[Case], measured: CaseFolder) -> list[int]:
    """Numbers of slices; of a volume, of its middle slice."""
    wanted = set(cases)
    found = []
    for number in range(len(measured)):
        name = measured.name(number)
        volume_shown = Case(name.path, "") in wanted and name.slice_index == name.n_slices // 2
        if volume_shown or Case(name.path, str(name.slice_index)) in wanted:
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


def _case(runs: Runs, number: int, peaks: Mapping[str, float]) -> CaseImages:
    name = runs.measured.name(number)
    images = {shown(label): images.read(number) for label, images in runs.methods.items()}
    target = required(runs.measured, number, "label")
    if runs.task == SUPER_RESOLUTION:
        return enlarged_case(name.path, name.slice_index, images, target, ZOOM)
    _, mask, _ = unpack_coils(required(runs.measured, number, "image")[None])
    peak = peaks.get(name.path, 1.0)
    return CaseImages(
        path=name.path,
        slice_index=name.slice_index,
        mask=mask[0, 0],
        methods={label: image_from_channels(image[None])[0] / peak for label, image in images.items()},
        target=image_from_channels(target[None])[0] / peak,
    )


def _series(runs: Runs, number: int, leading: str) -> SeriesImages:
    name = runs.measured.name(number)
    return SeriesImages(
        path=name.path,
        slice_index=name.slice_index,
        mask=None,
        methods={shown(label): _magnitudes(images.read(number)) for label, images in runs.methods.items()},
        target=_magnitudes(required(runs.measured, number, "label")),
        reconstruction=shown(leading),
    )


def _frame(case: SeriesImages) -> CaseImages:
    frame, target = case.frames[-1], case.target
    return CaseImages(
        path=case.path,
        slice_index=case.slice_index,
        mask=None,
        methods={label: image[..., frame] for label, image in case.methods.items()},
        target=None if target is None else target[..., frame],
    )


def _magnitudes(channels: Tensor) -> Tensor:
    return image_from_channels(channels[None])[0].abs()
