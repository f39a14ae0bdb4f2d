"""The figure of a reconstructed cine series: two frames far apart, and a row of pixels over time."""

from __future__ import annotations

from common.figures.parts import ERROR, GREY, Block, Panel, block_of, quality
from common.figures.scales import (
    distant_frames,
    error_scale_of,
    errors,
    grey_window,
    moving_part,
    moving_row,
    planes,
    reference_of,
)
from common.metrics.case import Case
from common.metrics.cases import label
from common.metrics.protocols import get_protocol

_PROFILE = (140, 256)
"""Height and width of a profile in pixels."""


def series_figure(case: Case, protocol: str = "cine_series", error_scale: float | None = None) -> list[Block]:
    """Lay a series out: its methods, the target and the error of the reconstruction in columns.

    The rows are the two frames that differ most, cut to the part that moves, and one row of pixels over time, to the
    right, which is drawn as a line in the frames. All images share one grey window. PSNR and SSIM are those of the
    whole series.

    Args:
        case: a series; without a target, the error and the values are left out.
        protocol: name of a protocol of series.
        error_scale: end of the scale of the errors; None: `error_scale_of` this series.

    Raises:
        ValueError: shapes differ, a value is not finite, or the protocol is unknown.
    """
    measures = get_protocol(protocol)
    scale = error_scale_of([case]) if error_scale is None else error_scale
    images = planes(case)
    reference = reference_of(case, images)
    row, window, (rows, columns) = moving_row(reference), grey_window(reference), moving_part(reference)
    differences = errors(case, images)
    contents = [(name, label(name), images[name], GREY, window) for name in case.methods]
    if differences:
        difference = differences[case.reconstruction]
        contents += [("target", "target", images["target"], GREY, window)]
        contents += [("", "difference to the target", difference, ERROR, scale)]
    grid: list[list[Panel | None]] = []
    for frame in distant_frames(reference):
        panels = [
            Panel(series[rows, columns, frame], f"{title}, frame {frame}", colours, end, line=row - rows.start)
            for _, title, series, colours, end in contents
        ]
        grid.append([*panels])
    profiles = [
        Panel(series[row, columns], f"row {row} in time, to the right", colours, end, size=_PROFILE)
        for _, _, series, colours, end in contents
    ]
    if differences:
        for profile, method in zip(profiles, case.methods, strict=False):
            profile.below = quality(case, method, measures)
    grid.append([*profiles])
    notes = [f"grey 0 to {window:.3g}"]
    if differences:
        notes += [f"errors 0 to {scale:.3g}", f"PSNR and SSIM of all frames by protocol {protocol}"]
    return [block_of(case, notes, grid)]
