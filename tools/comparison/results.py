"""Results of a comparison: values of all cases, pictures of some and a summary; and those of a sweep."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from fire.parser import DefaultParseValue
from torch import Tensor

from common.figures import PanelIndex, case_figure, save_figure
from common.figures.scales import distant_frames, error_scale_of, magnitude
from common.metrics import (
    PROTOCOLS,
    Case,
    CaseCollector,
    PerceptualDistance,
    Protocol,
    get_protocol,
    super_resolution_protocol,
    write_cases,
)
from common.metrics.cases import (
    by_method,
    extremes,
    format_summary,
    gains,
    heading,
    label,
    leading_method,
    metrics_of,
    n_cases,
    summaries,
    unit_of,
)
from tools.comparison.capture import CaseFolder
from tools.comparison.entries import SERIES, SUPER_RESOLUTION, Bundle
from tools.comparison.runs import Runs, followed
from tools.tables import markdown_table, summary_rows

SWEEP = "sweep.csv"
"""All values of all settings, in the folder of a sweep."""
ZOOM = 4
"""Enlargement of the cut-outs of super-resolved images."""


def protocol_name(given: str, measurer: Bundle) -> str:
    """Return the protocol that is given, else the first of `protocols` of the bundle that measures.

    Returns:
        The name; empty for super-resolution, where it follows from the images.
    """
    task = measurer.tasks[0]
    if not given and task == SUPER_RESOLUTION:
        return ""
    named = measurer.content.get("protocols", [])
    usual = "cine_series" if task == SERIES else "magnitude_slice"
    protocol = get_protocol(str(given or (named[0] if isinstance(named, list) and named else usual)))
    if (protocol.scope == "cine") != (task == SERIES):
        raise ValueError(f"protocol must be one of {task}, such as {usual}, got {protocol.name!r}")
    return protocol.name


def _protocol(name: str, runs: Runs, distance: PerceptualDistance | None) -> Protocol:
    """Return the protocol of a name from `protocol_name`, with the perceptual distance as a further column.

    Super-resolution without a name is measured by its ratio of sizes, and by PIQE too.
    """
    if not name:
        image, target = (runs.measured.read(0, array) for array in ("image", "label"))
        return super_resolution_protocol(target.shape[-1] // image.shape[-1], distance, no_reference=True)
    protocol = get_protocol(name)
    return protocol if distance is None else _with_perceptual(protocol, distance)


def _with_perceptual(protocol: Protocol, distance: PerceptualDistance) -> Protocol:
    """Return the protocol with the metric "perceptual": the distance of its images, clipped to [0, 1].

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


def write_comparison(
    folder: Path,
    runs: Runs,
    protocol: str,
    distance: PerceptualDistance | None,
    reference: str,
    notes: Sequence[str],
    n_shown: int,
) -> tuple[str, pd.DataFrame]:
    """Measure all cases by all methods, write `metrics.csv`, `summary.md` and the pictures.

    Returns:
        The summary, and the case table.
    """
    chosen = _protocol(protocol, runs, distance)
    collector = CaseCollector([chosen])
    update = followed(len(runs.measured), "metrics")
    for number in range(len(runs.measured)):
        collector.add(runs.case(number))
        update(number + 1)
    collector.gather()
    collector.write(folder / "metrics.csv")
    table = collector.table
    rows = markdown_table([[" ".join(cell) for cell in row] for row in summary_rows(table, reference, "method")])
    summary = "\n".join([_description(table, notes), "", *rows, ""])
    (folder / "summary.md").write_text(summary, encoding="utf-8", errors="replace")
    leading = leading_method(table, reference)
    extreme = {case for cases in extremes(gains(table, leading, reference)) for case in cases}
    _draw(folder, runs, n_shown, extreme, chosen, leading)
    return summary, table


def _description(table: pd.DataFrame, notes: Sequence[str] = ()) -> str:
    protocol, n = str(table["protocol"].iloc[0]), n_cases(table)
    first = " ".join([f"Protocol {protocol}: {PROTOCOLS[protocol].description}.", *notes])
    return (
        f"{first}\n\n{n} {unit_of(protocol, n)}; mean ± standard deviation [95 % bootstrap interval of the mean]; "
        f"differences {unit_of(protocol)} by {unit_of(protocol)}."
    )


def _draw(folder: Path, runs: Runs, n_shown: int, extreme: set[Any], protocol: Protocol, leading: str) -> None:
    """Write `sheet.png` with some cases, evenly spread, and `panels/` with these and the extreme ones.

    All error maps have one scale. If the protocol measures volumes, the images of each are divided by the maximum of
    its target, and PSNR and SSIM in the pictures are those of slices. Of series the sheet shows a frame of each, the
    later of the two that differ most, with error maps in a scale of their own.
    """
    n, peaks, name = len(runs.measured), dict[str, float](), protocol.name
    places = [runs.measured.name(number) for number in range(n)]
    if protocol.scope == "volume":
        name, peaks = "magnitude_slice", _peaks(runs.measured)
    on_sheet = [number * n // n_shown for number in range(n_shown)] if n_shown < n else list(range(n))
    further = [
        number
        for number, place in enumerate(places)
        if place[:2] in extreme or ((place.path, None) in extreme and place.slice_index == place.n_slices // 2)
    ]
    cases = {}
    for number in dict.fromkeys((*on_sheet, *further)):
        cases[number] = runs.case(number, peaks.get(places[number].path, 1.0), leading)
        if runs.task == SUPER_RESOLUTION:
            cases[number] = _mapped(cases[number], lambda image: image.clamp(0, 1))
    scale = error_scale_of(cases.values())
    zoom = ZOOM if runs.task == SUPER_RESOLUTION else 1
    index = PanelIndex.of([(case.path, case.slice_index) for case in cases.values()], name, scale)
    index.draw(list(cases.values()), folder / "panels", zoom)
    index.write(folder / "panels")
    chosen = [cases[number] for number in on_sheet]
    if runs.task == SERIES:
        sheet = case_figure([_frame(case) for case in chosen], protocol="cine_frame")
    else:
        sheet = case_figure(chosen, protocol=name, zoom=zoom, error_scale=scale)
    save_figure(sheet, folder / "sheet.png")


def _peaks(measured: CaseFolder) -> dict[str, float]:
    """Return the largest magnitude of each file's targets; 1 for targets of zeros."""
    peaks: dict[str, float] = {}
    for number in range(len(measured)):
        path, channels = measured.name(number).path, measured.read(number, "label")
        peaks[path] = max(peaks.get(path, 0.0), float(channels.norm(dim=0).max()))
    return {path: peak or 1.0 for path, peak in peaks.items()}


def _mapped(case: Case, function: Callable[[Tensor], Tensor], **changes: Any) -> Case:
    """Return a case with a function applied to its images and its target."""
    assert case.target is not None  # for the type checker
    methods = {method: function(image) for method, image in case.methods.items()}
    return replace(case, methods=methods, target=function(case.target), _values={}, **changes)


def _frame(case: Case) -> Case:
    """Return the later of the two frames of a series that differ most."""
    assert case.target is not None  # for the type checker
    frame = distant_frames(magnitude(case.target))[-1]
    return _mapped(case, lambda image: image[..., frame], series=False)


# -- sweeps ----------------------------------------------------------------------------------------------------------


def read_sweep(text: str, is_list: Callable[[str], bool]) -> dict[str, dict[str, Any]]:
    """Read the settings of a sweep: the first values of all keys, then the second values, and so on.

    Args:
        text: `KEY=VALUE,VALUE,... KEY=VALUE,VALUE,...`; values are read like those of other options.
        is_list: function that returns True if a key of the configurations holds a list; a single value then becomes a
            list of one.

    Returns:
        Options to values by the name of the setting, which is the first option with its value.

    Raises:
        ValueError: the text has another form, or the keys have different numbers of values.
    """
    hint = 'for example --sweep "accelerations=4,8 center_fractions=0.08,0.04"'
    columns: dict[str, list[Any]] = {}
    for part in text.split():
        key, equals, values = part.partition("=")
        if not equals or not key or key in columns:
            raise ValueError(f"a sweep is KEY=VALUE,VALUE,... of each key once, got {text!r}; {hint}")
        words = [DefaultParseValue(word) for word in re.split(r",(?![^\[]*\])", values)]  # at commas outside brackets
        columns[key] = [[word] if is_list(key) and not isinstance(word, list) else word for word in words]
    if not columns or len({len(values) for values in columns.values()}) > 1:
        counts = ", ".join(f"{len(values)} of {key}" for key, values in columns.items())
        raise ValueError(f"a sweep needs as many values of each key, got {counts or 'none'}; {hint}")
    first = next(iter(columns))
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    settings = {f"{first}={_plain(row[first])}": row for row in rows}
    if len(set(map(setting_folder, settings))) < len(rows):
        raise ValueError(f"the values of a sweep's first key name the settings and must differ, got {text!r}")
    return settings


def setting_folder(name: str) -> str:
    """Return the name of the folder of a setting's comparison."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


def write_sweep(
    folder: Path, settings: Mapping[str, Mapping[str, Any]], found: Mapping[str, tuple[str, pd.DataFrame]]
) -> str:
    """Write `sweep.csv` and `summary.md`, and return the text of `summary.md`."""
    options = {name: {key: _plain(value) for key, value in setting.items()} for name, setting in settings.items()}
    parts = []
    for name, (_, table) in found.items():
        parts.append(pd.concat([pd.DataFrame(options[name], index=table.index), table], axis=1))
    write_cases(folder / SWEEP, pd.concat(parts))
    first = next(iter(found.values()))[1]
    lines = [_description(first), ""]
    columns = [dict(by_method(summaries(table))) for _, table in found.values()]
    for metric in metrics_of(first):
        rows = [
            [label(method), *(" ".join(format_summary(column[method].loc[metric], metric)) for column in columns)]
            for method in columns[0]
        ]
        lines += [*markdown_table([[heading(metric), *found], *rows]), ""]
    for name, (summary, _) in found.items():
        lines += [f"## {', '.join(f'{key}={value}' for key, value in options[name].items())}", "", summary]
    text = "\n".join(lines)
    (folder / "summary.md").write_text(text, encoding="utf-8", errors="replace")
    return text


def _plain(value: Any) -> str:
    return str(value[0]) if isinstance(value, list) and len(value) == 1 else str(value)
