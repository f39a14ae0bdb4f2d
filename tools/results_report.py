"""`python -m tools report`: what an evaluation or a comparison left in its folder, as an HTML report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.figures.index import INDEX, PanelIndex
from common.metrics import PROTOCOLS
from tools.charts import distributions, gain_histograms, training_curves
from tools.command import command
from tools.comparison.summary import Comparison
from tools.report import ReportCommand, ReportImage, ReportSection, ReportTable, write_report
from tools.results import (
    Case,
    Values,
    differences,
    extremes,
    format_summary,
    gains,
    heading,
    leading_method,
    metrics_of,
    read_metrics,
    shown,
    summaries,
    unit_of,
)

Cell = str | tuple[str, str]


@command
def report(results_dir: str, out: str = "", title: str = "Reconstruction report", dataset_dir: str = "") -> str:
    """Write a report of RESULTS_DIR: of metrics.csv, and if they are there of panels/ and history.csv.

    Args:
        results_dir: folder that an evaluation or `python -m tools compare` wrote.
        out: HTML file to write; RESULTS_DIR/report.html if empty.
        title: headline.
        dataset_dir: folder of the data; its dataset.json tells where they come from. If empty, looked for beside the
            evaluated files.
    """
    path = Path(str(out)) if out else Path(str(results_dir)) / "report.html"
    return f"wrote {report_results(str(results_dir), path, title=str(title), dataset_dir=str(dataset_dir))}"


def report_results(results_dir: str | Path, out: str | Path, *, title: str, dataset_dir: str | Path = "") -> Path:
    """Report an evaluation or a comparison; arguments as for the command `report`.

    Raises:
        FileNotFoundError: there is no metrics.csv.
        ValueError: a file is not what an evaluation, a comparison or a training writes.
    """
    results_dir = Path(results_dir)
    protocols = read_metrics(results_dir / "metrics.csv")
    comparison = Comparison.read(results_dir)
    tables: list[ReportTable] = []
    charts: list[ReportImage] = []
    history = results_dir / "history.csv"
    if history.is_file():
        charts += training_curves(history)
    for name, values in protocols.items():
        reference = _reference(values, comparison)
        tables.append(_summary_table(name, values, reference))
        found = {method: gains(values, method, reference) for method in values if method != reference}
        found = {method: row for method, row in found.items() if row}
        if found:
            tables.append(_extremes_table(name, values, reference))
            charts.append(gain_histograms(name, found, reference))
        charts.append(distributions(name, values))
    return write_report(
        out,
        title=title,
        intro=_intro(protocols, comparison, dataset_dir),
        sections=[
            ReportSection("Numbers", tables),
            ReportSection("Charts", charts),
            *_panel_sections(results_dir / "panels", protocols, comparison),
            ReportSection("How to go on", _commands(results_dir, _enlarged(protocols))),
        ],
    )


def _intro(protocols: dict[str, Values], comparison: Comparison | None, dataset_dir: str | Path) -> list[str]:
    cases = {case for values in protocols.values() for method in values.values() for case in method}
    files = sorted({case.file for case in cases})
    n_slices = len({case for case in cases if case.slice_index})
    slices = f", {n_slices} {'slice' if n_slices == 1 else 'slices'}" if n_slices else ""
    methods = list(dict.fromkeys(method for values in protocols.values() for method in values))
    done = (
        "Low-resolution images were enlarged and compared with their high-resolution targets"
        if _enlarged(protocols)
        else "Images were reconstructed from undersampled k-space and compared with their fully sampled targets"
    )
    intro = [f"{done}: {len(files)} {'file' if len(files) == 1 else 'files'}{slices}."]
    if "zero_filled" in methods:
        intro[0] += (
            " The zero-filled image, the plain inverse Fourier transform of the measured samples, is the baseline."
        )
    if comparison is not None:
        options = " ".join(f"--{key} {value}" for key, value in comparison.options.items())
        told = "; ".join(_describe_method(*method) for method in comparison.methods.items())
        intro.append(
            f"All methods had the same measurements, made as the bundles' configurations say"
            f"{f', changed by {options}' if options else ''}. Methods: {told}."
        )
    description = _describe_data([Path(dataset_dir)] if dataset_dir else _data_folders(files))
    return [*intro, description] if description else intro


def _enlarged(protocols: Iterable[str]) -> bool:
    """Whether the results are of super-resolution."""
    return all(protocol.startswith("super_resolution") for protocol in protocols)


def _reference(values: Values, comparison: Comparison | None) -> str:
    """The method that the others are compared with: of an evaluation bicubic enlargement, or the first."""
    if comparison is not None:
        return comparison.reference
    return "bicubic" if "bicubic" in values else next(iter(values))


def _describe_method(label: str, about: Mapping[str, Any]) -> str:
    bundle = f"bundle {about['bundle']} {about.get('version', '')}, " if "bundle" in about else ""
    variant = f"variant {about['variant']}, " if "variant" in about else ""
    checkpoint = f"weights {Path(str(about['checkpoint'])).name}, " if "checkpoint" in about else ""
    return f"{shown(label)} ({bundle}{variant}{checkpoint}{about.get('seconds', '?')} s)"


def _data_folders(files: list[str]) -> list[Path]:
    """Folders beside and above the evaluated files, where a data set may describe itself."""
    return list(dict.fromkeys(folder for file in files for folder in list(Path(file).parents)[:2]))


def _describe_data(folders: list[Path]) -> str:
    for folder in folders:
        try:
            found = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            kind = (
                "The data are synthetic, so the numbers say nothing about patients. " if found.get("synthetic") else ""
            )
            return f"{kind}{found.get('description', '')}".strip()
    return ""


def _summary_table(protocol: str, values: Values, reference: str) -> ReportTable:
    metrics = metrics_of(values)
    rows: list[list[Cell]] = [
        [shown(method), *(format_summary(row[metric], metric) for metric in metrics)]
        for method, row in summaries(values).items()
    ]
    rows += [
        [
            f"difference ({shown(method)} - {shown(reference)})",
            *(format_summary(row[metric], metric, sign="+") for metric in metrics),
        ]
        for method, row in differences(values, reference).items()
    ]
    known = PROTOCOLS.get(protocol)
    n = len({case for cases in values.values() for case in cases})
    return ReportTable(
        caption=f"Protocol {protocol}, {n} {unit_of(protocol, n)}",
        header=["", *map(heading, metrics)],
        rows=rows,
        note=f"{known.description + '. ' if known else ''}Mean ± standard deviation over {unit_of(protocol, 2)}, and "
        "below it the 95 % bootstrap interval of the mean.",
    )


def _extremes_table(protocol: str, values: Values, reference: str) -> ReportTable:
    leading = leading_method(values, reference)
    gain = gains(values, leading, reference)
    best, worst = extremes(gain)
    rows = [
        [
            kind,
            str(case),
            *(f"{cases[case]['psnr']:.2f}" if case in cases else "" for cases in values.values()),
            f"{gain[case]:+.2f}",
        ]
        for kind, chosen in (("best", best), ("worst", worst))
        for case in chosen
    ]
    header = ["", "case", *(f"{shown(method)}, dB" for method in values), "gain, dB"]
    caption = f"Best and worst cases by PSNR gain of {shown(leading)} over {shown(reference)}, protocol {protocol}"
    return ReportTable(caption, header, rows)


def _panel_sections(folder: Path, protocols: dict[str, Values], comparison: Comparison | None) -> list[ReportSection]:
    """Pictures of the best, the worst and further cases, as far as they were drawn."""
    if not (folder / INDEX).is_file():
        return []
    index = PanelIndex.read(folder)
    protocol = index.protocol if index.protocol in protocols else next(iter(protocols))
    values = protocols[protocol]
    reference = _reference(values, comparison)
    gain = gains(values, leading_method(values, reference), reference)
    best, worst = extremes(gain)
    left = {Case(path, str(number)): name for (path, number), name in index.pictures.items()}
    sections = []
    for title, wanted in (("Best cases", best), ("Worst cases", worst), ("Further cases", list(left))):
        images = [
            ReportImage.read(folder / left.pop(picture), _caption(picture, gain.get(case), protocol, reference))
            for case in wanted
            for picture in [found for found in left if _shows(found, case)]
        ]
        scale = (
            [f"All error maps have one scale, 0 to {index.error_scale:.3g}."] if index.error_scale and images else []
        )
        sections.append(ReportSection(title, [*scale, *images]))
    return sections


def _shows(picture: Case, case: Case) -> bool:
    """Whether a picture of a slice shows a case, which may be the whole volume."""
    return picture == case or (picture.file == case.file and not case.slice_index)


def _caption(picture: Case, gain: float | None, protocol: str, reference: str) -> str:
    gained = "" if gain is None else f": PSNR gain {gain:+.2f} dB over {shown(reference)} ({protocol})"
    return f"{picture}{gained}"


def _commands(results_dir: Path, enlarged: bool) -> Sequence[ReportCommand]:
    data_set, baselines = (
        ("chest_ct", "nearest,bicubic,lanczos") if enlarged else ("brain_mri", "zero_filled,tv,wavelet")
    )
    return [
        ReportCommand("Look at the curves and images of a training.", f'tensorboard --logdir "{results_dir}"'),
        ReportCommand(
            "Make synthetic data of any number and size.",
            f"python -m tools data make {data_set} DIRECTORY --n_train 1000",
        ),
        ReportCommand(
            "Train on own images, in the folder of a bundle.",
            "python -m monai.bundle run --config_file configs/train.json --dataset_dir DIRECTORY",
        ),
        ReportCommand(
            "Compare bundles, weights and classical methods on own images.",
            f"python -m tools compare DIRECTORY --entries {baselines},BUNDLE",
        ),
        ReportCommand("Write this report again.", f'python -m tools report "{results_dir}"'),
    ]
