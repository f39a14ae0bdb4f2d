"""One page of several runs: a table of their gains, and a picture of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.metrics.case import RECONSTRUCTION
from common.metrics.cases import DECIMALS, by_method, heading, label, read_cases, summaries
from tools.report.command import open_run
from tools.report.page import Command, Section, Strip, Table, Viewer, write_page

METRICS = ("psnr", "ssim", "perceptual")


@dataclass(frozen=True)
class Part:
    """A run on the page.

    Attributes:
        heading: headline of its section.
        text: paragraph below the headline.
        folder: folder of its results, with metrics.csv and panels/.
        baseline: method that its reconstruction is compared with.
        command: command line that does the same with other data; left out if empty.
    """

    heading: str
    text: str
    folder: Path
    baseline: str
    command: str = ""


def report_runs(
    parts: Sequence[Part], out: Path, title: str, intro: Sequence[str], commands: Sequence[Command]
) -> Path:
    """Write the page.

    Args:
        parts: the runs, in the order of display.
        out: the HTML file.
        title: headline of the page.
        intro: paragraphs above all sections.
        commands: what to do next, the last section.

    Returns:
        `out`.

    Raises:
        FileNotFoundError: a run has no results.
        ValueError: a file is not what a run writes.
    """
    rows: list[list[str | tuple[str, str]]] = []
    sections = []
    for part in parts:
        means = metric_means(part.folder)
        values = [
            " → ".join(f"{means[method][metric]:.{DECIMALS[metric]}f}" for method in (part.baseline, RECONSTRUCTION))
            if metric in means[part.baseline]
            else ""
            for metric in METRICS
        ]
        rows.append([part.heading, label(part.baseline), *values])
        with open_run(part.folder) as run:
            images = [image for section in run.cases() for image in section.parts if isinstance(image, Strip | Viewer)]
        command = [Command("Do the same with your own data:", part.command)] if part.command else []
        sections.append(Section(part.heading, [part.text, images[0], *command]))
    table = Table("Baseline → reconstruction", ["", "baseline", *map(heading, METRICS)], rows)
    return write_page(out, title, intro, [Section("Numbers", [table]), *sections, Section("How to go on", commands)])


def metric_means(folder: Path) -> dict[str, dict[str, float]]:
    """Return the mean of each metric over the cases of a run, by method, in the first protocol of its table."""
    table = read_cases(folder / "metrics.csv")
    found = summaries(table[table["protocol"] == table["protocol"].iloc[0]])
    return {method: dict(values["mean"]) for method, values in by_method(found)}
