"""`python -m tools report`: the page of a run: of an evaluation, an inference, a comparison, a training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.figures.index import INDEX, PanelIndex
from common.metrics import PROTOCOLS, get_protocol
from common.metrics.case import Case
from common.metrics.cases import (
    CaseKey,
    by_method,
    case_keys,
    case_name,
    case_table,
    differences,
    extremes,
    format_summary,
    gains,
    heading,
    label,
    leading_method,
    methods_of,
    metrics_of,
    n_cases,
    read_cases,
    summaries,
    unit_of,
)
from tools.command import command
from tools.comparison.summary import Comparison
from tools.report.charts import distributions, frame_chart, gain_histograms, hearts_chart, training_curves
from tools.report.images import case_viewer, series_strip
from tools.report.page import Command, Section, Table, write_page
from tools.report.result_file import RESULT_FILE, ResultFile, open_result

METRICS, FRAMES, HEARTS, HISTORY, RUN = (
    "metrics.csv",
    "metrics_per_frame.csv",
    "ejection_fraction.csv",
    "history.csv",
    "run.json",
)
SERIES = "cine_series"


@command
def report(results_dir: str, out: str = "", title: str = "", dataset_dir: str = "") -> str:
    """Write a page of RESULTS_DIR: numbers, cases to look at, series that beat, charts, and how they were made.

    Read are, where they are there, metrics.csv, metrics_per_frame.csv, ejection_fraction.csv, panels/, result.h5,
    history.csv, comparison.json and run.json.

    Args:
        results_dir: folder that an evaluation, an inference, a training or `python -m tools compare` wrote; or a
            result.h5.
        out: HTML file to write; RESULTS_DIR/report.html if empty.
        title: headline.
        dataset_dir: folder of the data; its dataset.json tells where they come from. If empty, looked for beside the
            evaluated files.
    """
    return f"wrote {report_results(str(results_dir), str(out), title=str(title), dataset_dir=str(dataset_dir))}"


def report_results(
    results_dir: str | Path, out: str | Path = "", *, title: str = "", dataset_dir: str | Path = ""
) -> Path:
    """Report a run; arguments as for the command `report`.

    Returns:
        the page.

    Raises:
        FileNotFoundError: there is nothing to report.
        ValueError: a file is not what a run writes.
    """
    with open_run(results_dir, dataset_dir) as run:
        return run.write(out, title)


@contextmanager
def open_run(results_dir: str | Path, dataset_dir: str | Path = "") -> Iterator[RunReport]:
    """Open the results of a run; arguments and errors as for `report_results`."""
    given = Path(results_dir)
    folder = given.parent if given.is_file() else given
    result = given if given.is_file() else folder / RESULT_FILE
    with open_result(result) if result.is_file() else nullcontext() as file:
        yield RunReport(folder, file, dataset_dir)


class RunReport:
    """The page of a folder, of which each file is read once."""

    def __init__(self, folder: Path, result: ResultFile | None, dataset_dir: str | Path) -> None:
        self.folder = folder
        self.result = result
        self.dataset_dir = dataset_dir
        self.comparison = Comparison.read(folder)
        self.index = PanelIndex.read(folder / "panels") if (folder / "panels" / INDEX).is_file() else None
        self.table = read_cases(folder / METRICS) if (folder / METRICS).is_file() else self._measured()
        if self.table is None and self.index is None and result is None and not (folder / HISTORY).is_file():
            raise FileNotFoundError(
                f"{folder}: no {METRICS}, {RESULT_FILE}, {HISTORY} or panels; evaluate first, or name the folder that "
                "an evaluation or a training wrote"
            )
        self.protocols = [] if self.table is None else list(self.table["protocol"].unique())

    def _measured(self) -> pd.DataFrame | None:
        """Values of the series of a result file, where it has a truth and no table was written."""
        if self.result is None:
            return None
        rows = []
        for index in range(len(self.result)):
            case = self.result.case(index)
            for method in case.methods if case.target is not None else ():
                place = {"protocol": SERIES, "file": case.path, "slice": case.slice_index, "method": method}
                rows.append({**place, **case.values(get_protocol(SERIES), method)})
        return case_table(rows) if rows else None

    def write(self, out: str | Path, title: str) -> Path:
        """Write the page, with a headline that fits if `title` is empty, and return its path."""
        tables: list[Any] = []
        charts: list[Any] = []
        for protocol in self.protocols:
            part = self._part(protocol)
            reference = self._reference(part)
            tables.append(self._summary(protocol, part, reference))
            found = {method: gains(part, method, reference) for method in methods_of(part) if method != reference}
            found = {method: row for method, row in found.items() if row}
            if found:
                tables.append(_extremes_table(protocol, part, reference))
                charts += gain_histograms(protocol, found, reference)
            if n_cases(part) > 2:
                charts.append(distributions(protocol, part))
        history = self.folder / HISTORY
        return write_page(
            Path(out) if str(out) else self.folder / "report.html",
            title or ("Training" if not self.protocols and history.is_file() else "Report of a run"),
            self._intro(),
            [
                Section("Numbers", tables),
                *self.cases(),
                Section("Ejection fraction", self._hearts()),
                Section("Charts", charts),
                Section("Training", training_curves(history) if history.is_file() else []),
                Section("How the numbers were made", self._made()),
                Section("How to go on", self._commands()),
            ],
        )

    def _part(self, protocol: str) -> pd.DataFrame:
        assert self.table is not None  # else there is no protocol
        return self.table[self.table["protocol"] == protocol]

    def _reference(self, table: pd.DataFrame) -> str:
        """Method that the others are compared with: of an evaluation bicubic enlargement, or the first."""
        if self.comparison is not None:
            return self.comparison.reference
        methods = methods_of(table)
        return "bicubic" if "bicubic" in methods else methods[0]

    @property
    def _enlarged(self) -> bool:
        return bool(self.protocols) and all(name.startswith("super_resolution") for name in self.protocols)

    def _intro(self) -> list[str]:
        files: list[str] = []
        intro = []
        if self.table is not None:
            files = sorted(self.table["file"].unique())
            n_slices = n_cases(self.table[self.table["slice"].notna()])
            done = (
                "Low-resolution images were enlarged and compared with their high-resolution targets"
                if self._enlarged
                else "Images were reconstructed from undersampled k-space and compared with their fully sampled targets"
            )
            kind = "series" if SERIES in self.protocols else "slice" if n_slices == 1 else "slices"
            intro.append(
                f"{done}: {len(files)} {'file' if len(files) == 1 else 'files'}"
                f"{f', {n_slices} {kind}' if n_slices else ''}."
            )
            if "zero_filled" in methods_of(self.table):
                intro[0] += (
                    " The zero-filled image, the plain inverse Fourier transform of the measured samples, is the "
                    "baseline."
                )
        elif self.result is not None or self.index is not None:
            intro.append("There is no target, so nothing can be measured; the first cases are shown.")
        if self.comparison is not None:
            options = " ".join(f"--{key} {value}" for key, value in self.comparison.options.items())
            described = "; ".join(_describe_method(*method) for method in self.comparison.methods.items())
            intro.append(
                "All methods had the same measurements, made as the bundles' configurations say"
                f"{f', changed by {options}' if options else ''}. Methods: {described}."
            )
        folders = [folder for file in files for folder in list(Path(file).parents)[:2]]
        description = _describe_data([Path(self.dataset_dir)] if self.dataset_dir else list(dict.fromkeys(folders)))
        return [*intro, description] if description else intro

    def _summary(self, protocol: str, table: pd.DataFrame, reference: str) -> Table:
        metrics = metrics_of(table)
        rows: list[list[str | tuple[str, str]]] = []
        for found, sign in ((summaries(table), ""), (differences(table, reference), "+")):
            for method, values in by_method(found) if len(found) else ():
                name = f"difference ({label(method)} - {label(reference)})" if sign else label(method)
                rows.append([name, *(format_summary(values.loc[metric], metric, sign) for metric in metrics)])
        known, n = PROTOCOLS.get(protocol), n_cases(table)
        several = 1 < table["file"].nunique() < n
        return Table(
            caption=f"Protocol {protocol}, {n} {unit_of(protocol, n)}",
            header=["", *map(heading, metrics)],
            rows=rows,
            note=f"{known.description + '. ' if known else ''}Mean ± standard deviation over {unit_of(protocol, 2)}, "
            f"and below it the 95 % bootstrap interval of the mean{', over files' if several else ''}.",
        )

    def cases(self) -> list[Section]:
        """The best, the worst and further cases to look at; of series first the beating images."""
        gain: dict[CaseKey, float] = {}
        note = ""
        if self.protocols:
            named = self.index.protocol if self.index is not None and self.index.protocol in self.protocols else None
            protocol = named or self.protocols[0]
            part = self._part(protocol)
            reference = self._reference(part)
            gain = gains(part, leading_method(part, reference), reference)
            note = f"dB PSNR over {label(reference)} ({protocol})"
        best, worst = extremes(gain, 2)
        chosen = [("best", case) for case in best] + [("worst", case) for case in worst]
        viewers: list[Any] = []
        strips: list[Any] = []
        error_scale = self.index.error_scale if self.index is not None else 0.0
        std_scale = self.index.std_scale if self.index is not None else 0.0
        for kind, case, key, interval in self._images(chosen):
            gained = f", {gain[key]:+.2f} {note}" if key in gain else ""
            rank = "" if len(gain) == 1 and key in gain else f"{kind}: "
            name = f"{rank}{case_name((case.path, case.slice_index))}{gained}"
            if case.series and len(strips) < 4:
                strips += [series_strip(case, name, interval), *self._frame_chart(case)]
            viewers.append(case_viewer(case, name, error_scale, std_scale))
        viewers = viewers[:2] if strips else viewers
        return [Section("Series", strips), Section("Cases", viewers)]

    def _images(self, chosen: Sequence[tuple[str, CaseKey]]) -> list[tuple[str, Case, CaseKey, float | None]]:
        """Kind, case, its key in the gains, and the time between frames: from panels/, else from a result file."""
        found: list[tuple[str, Case, CaseKey, float | None]] = []
        if self.index is not None:
            left = dict(self.index.pictures)
            wanted = [*chosen, *(("further", place) for place in self.index.pictures)]
            for kind, (path, number) in wanted:
                for place in [one for one in left if one[0] == path and number in (None, one[1])]:
                    del left[place]
                    key: CaseKey = (path, number)
                    found.append((kind, self.index.case(self.folder / "panels", place), key, self._interval(place)))
        elif self.result is not None:
            places = {self.result.place(index): index for index in range(len(self.result))}
            known = [(kind, places[one]) for kind, one in chosen if one in places]
            for kind, index in known or list(zip(("first", "second"), range(len(self.result)), strict=False)):
                place = self.result.place(index)
                found.append((kind, self.result.case(index), place, self.result.interval_s(index)))
        return found

    def _interval(self, place: tuple[str, int]) -> float | None:
        if self.result is None:
            return None
        places = [self.result.place(index) for index in range(len(self.result))]
        return self.result.interval_s(places.index(place)) if place in places else None

    def _frame_chart(self, case: Case) -> list[Any]:
        path = self.folder / FRAMES
        if not path.is_file():
            return []
        frames = read_cases(path)
        frames = frames[(frames["file"] == case.path) & (frames["slice"] == case.slice_index)]
        if frames.empty:
            return []
        return [frame_chart(frames, f"{case_name((case.path, case.slice_index))}: each frame, protocol cine_frame")]

    def _hearts(self) -> list[Any]:
        path = self.folder / HEARTS
        if not path.is_file():
            return []
        table = read_cases(path, ["ejection_fraction"])
        hearts = 100 * table.pivot(index="file", columns="method", values="ejection_fraction")[methods_of(table)]
        if "simulator" not in hearts or hearts["simulator"].isna().all():
            return []
        hearts = hearts[hearts["simulator"].notna()]
        chart = hearts_chart(hearts)
        rows = [
            [Path(file).name, *("" if np.isnan(value) else f"{value:.1f}" for value in row)]
            for file, *row in hearts.itertuples()
        ]
        names = [{"simulator": "known", "truth": "target"}.get(name, label(name)) for name in hearts]
        every = Table("Ejection fraction, %", ["heart", *names], rows)
        return [_errors_table(hearts), *([] if chart is None else [chart]), every]

    def _made(self) -> list[Any]:
        parts: list[Any] = []
        path = self.folder / RUN
        if path.is_file():
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                parts.append(Table("run.json", ["entry", "value"], _entries(record)))
            except (ValueError, AttributeError, TypeError) as error:
                raise ValueError(f"{path}: expected the record of a run, got {error}; evaluate again") from None
        if self.result is not None:
            rows = [[name, value] for name, value in sorted(self.result.attributes.items())]
            parts.append(Table(f"Attributes of {self.result.path.name}", ["attribute", "value"], rows))
        return parts

    def _commands(self) -> list[Command]:
        data_set, baselines = (
            ("chest_ct", "nearest,bicubic,lanczos")
            if self._enlarged
            else ("cardiac_cine", "zero_filled")
            if SERIES in self.protocols or self.result is not None
            else ("brain_mri", "zero_filled,tv,wavelet")
        )
        return [
            Command("Look at the curves and images of a training.", f'tensorboard --logdir "{self.folder}"'),
            Command("Make synthetic data of any number and size.", f"python -m tools data make {data_set} DIRECTORY"),
            Command(
                "Compare bundles, weights and classical methods on own images.",
                f"python -m tools compare DIRECTORY --entries {baselines},BUNDLE",
            ),
            Command("Write this page again.", f'python -m tools report "{self.folder}"'),
        ]


def _extremes_table(protocol: str, table: pd.DataFrame, reference: str) -> Table:
    leading = leading_method(table, reference)
    gain = gains(table, leading, reference)
    best, worst = extremes(gain)
    psnr = {
        method: dict(zip(case_keys(rows), rows["psnr"], strict=True))
        for method, rows in table.groupby("method", sort=False)
    }
    rows = [
        [kind, case_name(case), *(f"{v[case]:.2f}" if case in v else "" for v in psnr.values()), f"{gain[case]:+.2f}"]
        for kind, chosen in (("best", best), ("worst", worst))
        for case in chosen
    ]
    header = ["", "case", *(f"{label(str(method))}, dB" for method in psnr), "gain, dB"]
    caption = f"Best and worst cases by PSNR gain of {label(leading)} over {label(reference)}, protocol {protocol}"
    return Table(caption, header, rows)


def _errors_table(hearts: pd.DataFrame) -> Table:
    rows = []
    for method in hearts.columns.drop("simulator"):
        errors = (hearts[method] - hearts["simulator"]).dropna()
        values = (errors.abs().mean(), errors.mean(), errors.abs().max()) if len(errors) else ()
        texts = [f"{value:{sign}.1f}" for value, sign in zip(values, ("", "+", ""), strict=False)] or ["", "", ""]
        rows.append(["target" if method == "truth" else label(method), *texts, str(len(errors))])
    n = len(hearts)
    return Table(
        caption=f"Error of the ejection fraction, points; {n} simulated heart{'s' if n > 1 else ''}",
        header=["in", "mean absolute", "mean", "largest", "hearts"],
        rows=rows,
        note="The known fraction is the simulator's. The row of the target is the error of the segmentation alone. A "
        "heart is measured where a plausible blood pool was found in at least three quarters of the frames.",
    )


def _entries(record: Mapping[str, Any]) -> list[list[str]]:
    """Rows of a record; its list of files is summed up."""
    rows = []
    for name, value in record.items():
        if name == "files":
            rates = sorted({str(one["rate"]) for one in value if "rate" in one})
            masks = sorted({str(one["mask"]) for one in value if "mask" in one})
            text = f"{len(value)}" + (f"; masks {', '.join(masks)}; rates {', '.join(rates[:8])}" if rates else "")
        elif isinstance(value, Mapping):
            text = "; ".join(f"{key} {one}" for key, one in value.items())
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
        if text:
            rows.append([name, text])
    return rows


def _describe_method(name: str, about: Mapping[str, Any]) -> str:
    bundle = f"bundle {about['bundle']} {about.get('version', '')}, " if "bundle" in about else ""
    variant = f"variant {about['variant']}, " if "variant" in about else ""
    checkpoint = f"weights {Path(str(about['checkpoint'])).name}, " if "checkpoint" in about else ""
    return f"{label(name)} ({bundle}{variant}{checkpoint}{about.get('seconds', '?')} s)"


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
