"""`python -m tools cine_report`: the result file of a cine prediction, as a page with beating hearts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.io.atomic import atomic_path
from tools.cine_report.charts import Chart, frame_chart, hearts_chart, histogram
from tools.cine_report.hearts import FILE, error_table, hearts_table, read_hearts
from tools.cine_report.pictures import Moving, error_scale, moving, profile_row, profiles
from tools.cine_report.result_file import ResultFile, Series, open_result
from tools.cine_report.scores import (
    METRICS,
    Scores,
    best_and_worst,
    frame_scores,
    n_measured,
    series_scores,
    summary_table,
    values_table,
)
from tools.command import command
from tools.report import ReportImage, ReportTable

TEMPLATE = Path(__file__).resolve().parent.parent / "cine_report.html"
PAGE = "cine_report.html"


@dataclass(frozen=True)
class Example:
    """One series on the page; what needs a truth is None without it."""

    heading: str
    name: str
    moving: Moving
    values: ReportTable | None
    profile_note: str
    profiles: Mapping[str, ReportImage]
    frames: Chart | None


@dataclass(frozen=True)
class HeartsSection:
    """The ejection fractions."""

    chart: Chart | None
    errors: ReportTable
    every: ReportTable


@command
def cine_report(result: str, out: str = "", title: str = "Cine reconstruction") -> str:
    """Write a page of RESULT, the result.h5 of a cine prediction: numbers, best and worst series, charts.

    Of ejection_fraction.csv beside RESULT, if it is there, the page tells too.

    Args:
        result: HDF5 file with input, result and perhaps truth, each [series, height, width, frames].
        out: folder of cine_report.html, or an HTML file; the folder of RESULT if empty.
        title: headline.
    """
    source = Path(str(result))
    path = Path(str(out)) if out else source.parent
    return f"wrote {report_cine(source, path if path.suffix == '.html' else path / PAGE, title=str(title))}"


def report_cine(result: str | Path, out: str | Path, *, title: str) -> Path:
    """Write the page of a result file.

    The file is read one series at a time, so that it may be larger than memory, and the page shows two of them, so that
    its size does not grow with the file.

    Args:
        result: as for the command.
        out: the HTML file; it appears whole or not at all.
        title: headline.

    Returns:
        `out`.

    Raises:
        FileNotFoundError: there is no such result.
        ValueError: the file is no result, holds NaN, or ejection_fraction.csv beside it cannot be read.
    """
    hearts = _hearts(Path(result).parent / FILE)
    with open_result(Path(result)) as file:
        scores = series_scores(file)
        several = scores is not None and n_measured(scores) > 1  # one alone has its numbers beside it
        page = {
            "title": title,
            "intro": _intro(file, scores is not None),
            "summary": summary_table(scores) if scores and several else None,
            "examples": _examples(file, scores),
            "histograms": [chart for metric in METRICS if (chart := histogram(scores, metric))]
            if scores and several
            else [],
            "hearts": hearts,
            "made": _made(file),
        }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda png: base64.b64encode(png).decode("ascii")
    html = environment.get_template(TEMPLATE.name).render(page)
    with atomic_path(out) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")
    return Path(out)


def _intro(file: ResultFile, measured: bool) -> list[str]:
    n, height, width, n_frames = file.shape
    size = f"{n} series of {height} x {width} pixels and {n_frames} frame{'s' if n_frames > 1 else ''}"
    told = [f"{file.path.name}: {size}. The input is the aliased series, the result what the network made of it."]
    if not measured:
        told.append("There is no truth in the file, so nothing can be measured; the first series are shown.")
    if file.attributes.get("synthetic") == "True":
        told.append("The data are synthetic, so the numbers say nothing about patients.")
    return told


def _examples(file: ResultFile, scores: Scores | None) -> list[Example]:
    if scores is None:
        chosen = list(zip(("First", "Second"), range(len(file)), strict=False))
    else:
        chosen = best_and_worst(scores["ssim"]["result"])
    series = [(kind, file[index]) for kind, index in chosen]
    error_end = error_scale([one for _, one in series])
    return [_example(kind, one, error_end, scores) for kind, one in series]


def _example(kind: str, series: Series, error_end: float, scores: Scores | None) -> Example:
    caption = f"{kind} series, {series.name}"
    row, why = profile_row(series)
    return Example(
        heading=f"{kind} series{' by SSIM' if kind in ('Best', 'Worst') else ''}",
        name=series.name,
        moving=moving(series, caption, error_end),
        values=values_table(scores, series.index) if scores else None,
        profile_note=f"Row {row}, through {why}. The place in the row goes down, time to the right.",
        profiles=profiles(series, row),
        frames=frame_chart(frame_scores(series), f"{caption}: each frame, protocol cine_frame") if scores else None,
    )


def _hearts(path: Path) -> HeartsSection | None:
    hearts = read_hearts(path) if path.is_file() else {}
    return HeartsSection(hearts_chart(hearts), error_table(hearts), hearts_table(hearts)) if hearts else None


def _made(file: ResultFile) -> ReportTable:
    rows = [[name, value] for name, value in sorted(file.attributes.items())]
    note = "" if rows else "The file has no attributes."
    return ReportTable(caption=f"Attributes of {file.path.name}", header=["attribute", "value"], rows=rows, note=note)
