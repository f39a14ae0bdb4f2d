"""`python -m tools report`: the page of a run: of an evaluation, an inference, a comparison, a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.figures.index import INDEX, PanelIndex
from common.metrics import PROTOCOLS
from common.metrics.case import Case
from common.metrics.cases import (
    CaseKey,
    case_keys,
    case_name,
    extremes,
    gains,
    label,
    leading_method,
    methods_of,
    n_cases,
    read_cases,
    unit_of,
)
from tools.command import command
from tools.comparison.record import read_record
from tools.report.charts import distributions, frame_chart, gain_histograms, hearts_chart, training_curves
from tools.report.images import case_viewer, series_strip
from tools.report.page import Command, Part, Section, Strip, Table, Viewer, write_page
from tools.report.result_file import RESULT_FILE, ResultFile, open_result
from tools.tables import summary_rows
from tools.zoo.layout import BUNDLES, read_json

METRICS, FRAMES, HEARTS = "metrics.csv", "metrics_per_frame.csv", "ejection_fraction.csv"
HISTORY, RUN = "history.csv", "run.json"
SERIES = "cine_series"


@command
def report(results_dir: str, out: str = "", title: str = "", dataset_dir: str = "") -> str:
    """Write a page of RESULTS_DIR: numbers, cases to look at, series that beat, charts, and how they were made.

    Read are, where they are there, metrics.csv, metrics_per_frame.csv, ejection_fraction.csv, panels/, result.h5,
    history.csv, comparison.json and run.json.

    Args:
        results_dir: folder that an evaluation, an inference, a training, `python -m tools compare` or a task of
            `python -m tools run` wrote; or a result.h5.
        out: HTML file to write; RESULTS_DIR/report.html if empty.
        title: headline.
        dataset_dir: folder of the data; its dataset.json tells where they come from. If empty, looked for beside the
            evaluated files.
    """
    return f"wrote {report_results(str(results_dir), str(out), title=str(title), dataset_dir=str(dataset_dir))}"


def report_results(
    results_dir: str | Path, out: str | Path = "", *, title: str = "", dataset_dir: str | Path = ""
) -> Path:
    """Report a run; arguments as for the command `report`."""
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
        self.page = folder / "report.html"
        self.history = folder / HISTORY
        if not any((folder / name).exists() for name in (METRICS, HISTORY, "panels")) and (folder / "predict").is_dir():
            folder, self.history = folder / "predict", folder / "train" / HISTORY  # a task
        self.folder = folder
        self.result = result
        self.dataset_dir = dataset_dir
        self.comparison = read_record(folder)
        self.index = PanelIndex.read(folder / "panels") if (folder / "panels" / INDEX).is_file() else None
        self.table = read_cases(folder / METRICS) if (folder / METRICS).is_file() else None
        if self.table is None and self.index is None and result is None and not self.history.is_file():
            raise FileNotFoundError(
                f"{folder}: no {METRICS}, {RESULT_FILE}, {HISTORY} or panels; evaluate first, or name the folder that "
                "an evaluation or a training wrote"
            )
        self.protocols = [] if self.table is None else list(self.table["protocol"].unique())

    def write(self, out: str | Path, title: str) -> Path:
        """Write the page, with a headline that fits if `title` is empty, and return its path."""
        tables: list[Part] = []
        charts: list[Part] = []
        for protocol in self.protocols:
            part = self._part(protocol)
            reference = self._reference(part)
            tables.append(_summary(protocol, part, reference))
            found = {method: gains(part, method, reference) for method in methods_of(part) if method != reference}
            if found := {method: row for method, row in found.items() if row}:
                tables.append(_extremes_table(protocol, part, reference))
                charts += gain_histograms(protocol, found, reference)
            if n_cases(part) > 2:
                charts.append(distributions(protocol, part))
        trained = self.history.is_file()
        return write_page(
            Path(out) if str(out) else self.page,
            title or ("Training" if not self.protocols and trained else "Report of a run"),
            self._intro(),
            [
                ("Numbers", tables),
                *self.cases(),
                ("Ejection fraction", self._hearts()),
                ("Charts", charts),
                ("Training", training_curves(self.history) if trained else []),
                ("How the numbers were made", self._made()),
                ("How to go on", self._commands()),
            ],
        )

    def _part(self, protocol: str) -> pd.DataFrame:
        assert self.table is not None  # else there is no protocol
        return self.table[self.table["protocol"] == protocol]

    def _reference(self, table: pd.DataFrame) -> str:
        """Return the method that the others are compared with: of an evaluation the best one without a network."""
        if self.comparison is not None:
            return str(self.comparison["reference"])
        methods = methods_of(table)
        return next((name for name in ("bicubic", "view_shared") if name in methods), methods[0])

    @property
    def _enlarged(self) -> bool:
        return bool(self.protocols) and all(name.startswith("super_resolution") for name in self.protocols)

    def _intro(self) -> list[str]:
        files: list[str] = []
        intro = []
        if self.table is not None:
            files = sorted(self.table["file"].unique())
            n_slices = n_cases(self.table[self.table["slice"].notna()])
            kind = "series" if SERIES in self.protocols else "slice" if n_slices == 1 else "slices"
            counts = [f"{len(files)} {'file' if len(files) == 1 else 'files'}", *[f"{n_slices} {kind}"][: n_slices > 0]]
            what = (
                "Low-resolution images were enlarged and compared with their high-resolution targets"
                if self._enlarged
                else "Images were reconstructed from undersampled k-space and compared with their fully sampled targets"
            )
            intro.append(f"{what}: {', '.join(counts)}.")
            if "zero_filled" in methods_of(self.table):
                intro.append("The zero-filled baseline is the plain inverse Fourier transform of the measured samples.")
        elif self.result is not None or self.index is not None:
            intro.append("There is no target, so nothing can be measured; the first cases are shown.")
        if self.comparison is not None:
            options = " ".join(f"--{key} {value}" for key, value in self.comparison["options"].items())
            described = "; ".join(_describe_method(*method) for method in self.comparison["methods"].items())
            intro.append(
                "All methods had the same measurements, made as the bundles' configurations say"
                f"{f', changed by {options}' if options else ''}. Methods: {described}."
            )
        beside = dict.fromkeys(folder for file in files for folder in list(Path(file).parents)[:2])
        description = _describe_data([Path(self.dataset_dir)] if self.dataset_dir else list(beside))
        return [*intro, description] if description else intro

    def cases(self) -> list[Section]:
        """Return the sections of images: the best, the worst and further cases; of series first the beating images."""
        gain: dict[CaseKey, float] = {}
        note = ""
        if self.protocols:
            named = self.index.protocol if self.index is not None else ""
            protocol = named if named in self.protocols else self.protocols[0]
            part = self._part(protocol)
            reference = self._reference(part)
            gain = gains(part, leading_method(part, reference), reference)
            note = f"dB PSNR over {label(reference)} ({protocol})"
        best, worst = extremes(gain, 2)
        kinds = {**dict.fromkeys(best, "best"), **dict.fromkeys(worst, "worst")}
        viewers: list[Viewer] = []
        strips: list[Part] = []
        scales = (self.index.error_scale, self.index.std_scale) if self.index is not None else (0.0, 0.0)
        for kind, key, case in self._images(kinds):
            gained = f", {gain[key]:+.2f} {note}" if key in gain else ""
            rank = "" if len(gain) == 1 and key in gain else f"{kind}: "
            place = (case.path, case.slice_index)
            name = f"{rank}{case_name(place)}{gained}"
            if case.series and sum(isinstance(one, Strip) for one in strips) < 2:
                strips += [
                    series_strip(case, name, self.result.interval_s(place) if self.result is not None else None),
                    *self._frame_chart(place),
                ]
            viewers.append(case_viewer(case, name, *scales))
        return [("Series", strips), ("Cases", viewers[:2] if strips else viewers)]

    def _images(self, kinds: Mapping[CaseKey, str]) -> Iterator[tuple[str, CaseKey, Case]]:
        """Yield kind, key in the gains and images of cases, those of `kinds` first: from panels/, or a result file."""
        if self.index is not None:
            left = list(self.index.pictures)
            wanted: dict[CaseKey, str] = {**kinds, **{place: "further" for place in left if place not in kinds}}
            for (path, number), kind in wanted.items():
                for place in [one for one in left if one[0] == path and number in (None, one[1])]:
                    left.remove(place)
                    yield kind, (path, number), self.index.case(self.folder / "panels", place)
        elif self.result is not None:
            known: list[tuple[Any, str]] = [(key, kind) for key, kind in kinds.items() if key in self.result.places]
            for key, kind in known or zip(self.result.places, ("first", "second"), strict=False):
                yield kind, key, self.result.case(key)

    def _frame_chart(self, place: tuple[str, int]) -> list[Part]:
        path = self.folder / FRAMES
        if not path.is_file():
            return []
        frames = read_cases(path)
        frames = frames[(frames["file"] == place[0]) & (frames["slice"] == place[1])]
        return [] if frames.empty else [frame_chart(frames, f"{case_name(place)}: each frame, protocol cine_frame")]

    def _hearts(self) -> list[Part]:
        path = self.folder / HEARTS
        table = read_cases(path, ["ejection_fraction"]) if path.is_file() else pd.DataFrame({"method": []})
        if "simulator" not in methods_of(table):
            return []
        hearts = 100 * table.pivot(index="file", columns="method", values="ejection_fraction")[methods_of(table)]
        hearts = hearts[hearts["simulator"].notna()]
        if hearts.empty:
            return []
        texts = hearts.map(lambda value: "" if np.isnan(value) else f"{value:.1f}")
        names = [{"simulator": "known", "truth": "target"}.get(name, label(name)) for name in hearts]
        rows = [[Path(file).name, *row] for file, *row in texts.itertuples()]
        every = Table("Ejection fraction, %", ["heart", *names], rows)
        return [_errors_table(hearts), *hearts_chart(hearts), every]

    def _made(self) -> list[Part]:
        parts: list[Part] = []
        if (self.folder / RUN).is_file():
            parts.append(Table("run.json", ["entry", "value"], _entries(read_json(self.folder / RUN))))
        if self.result is not None:
            rows = sorted(self.result.attributes.items())
            parts.append(Table(f"Attributes of {self.result.path.name}", ["attribute", "value"], rows))
        return parts

    def _commands(self) -> list[Part]:
        """Return what to do next, with the bundle of the run where it is known, and data and baselines that fit it."""
        data_set, baselines = "brain_mri", "zero_filled,tv,wavelet"
        if self._enlarged:
            data_set, baselines = "chest_ct", "nearest,bicubic,lanczos"
        elif SERIES in self.protocols or self.result is not None:
            data_set, baselines = "cardiac_cine", "zero_filled"
        methods = self.comparison["methods"].values() if self.comparison is not None else []
        records = [*methods, read_json(self.folder / RUN) if (self.folder / RUN).is_file() else {}]
        bundle = next((str(one["bundle"]) for one in records if "bundle" in one), "BUNDLE")
        if (smoke := BUNDLES / bundle / "configs" / "smoke.json").is_file():
            data_set = read_json(smoke).get("synthetic_data", data_set)
        return [
            Command("Look at the curves and images of a training.", f'tensorboard --logdir "{self.folder}"'),
            Command("Make synthetic data of any number and size.", f"python -m tools data make {data_set} DIRECTORY"),
            Command(
                "Compare bundles, weights and classical methods on your own images.",
                f"python -m tools compare DIRECTORY --entries {baselines},{bundle}",
            ),
            Command("Write this page again.", f'python -m tools report "{self.folder}"'),
        ]


def _summary(protocol: str, table: pd.DataFrame, reference: str) -> Table:
    (header, *rows), known, n = summary_rows(table, reference), PROTOCOLS.get(protocol), n_cases(table)
    several = 1 < table["file"].nunique() < n
    return Table(
        f"Protocol {protocol}, {n} {unit_of(protocol, n)}",
        [cell[0] for cell in header],
        [[cell if len(cell) > 1 else cell[0] for cell in row] for row in rows],
        f"{known.description + '. ' if known else ''}Mean ± standard deviation over {unit_of(protocol, 2)}, and below "
        f"it the 95 % bootstrap interval of the mean{', over files' if several else ''}.",
    )


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
        values = [f"{errors.abs().mean():.1f}", f"{errors.mean():+.1f}", f"{errors.abs().max():.1f}"]
        texts = values if len(errors) else ["", "", ""]
        rows.append(["target" if method == "truth" else label(method), *texts, str(len(errors))])
    n = len(hearts)
    return Table(
        caption=f"Error of the ejection fraction, points; {n} simulated heart{'s' if n > 1 else ''}",
        header=["in", "mean absolute", "mean", "largest", "hearts"],
        rows=rows,
        note="The known fraction is the simulator's. The row of the target is the error of the segmentation alone. A "
        "heart is measured where a plausible blood pool was found in at least three quarters of the frames.",
    )


def _entries(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of a record; its list of files is summed up."""
    rows = []
    for name, value in record.items():
        if name == "files":
            masks, rates = (sorted({str(one[key]) for one in value if key in one}) for key in ("mask", "rate"))
            text = f"{len(value)}" + (f"; masks {', '.join(masks)}; rates {', '.join(rates[:8])}" if rates else "")
        elif isinstance(value, Mapping):
            text = "; ".join(f"{key} {one}" for key, one in value.items())
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
        if text:
            rows.append((name, text))
    return rows


def _describe_method(name: str, about: Mapping[str, Any]) -> str:
    bundle = f"bundle {about['bundle']} {about.get('version', '')}, " if "bundle" in about else ""
    variant = f"variant {about['variant']}, " if "variant" in about else ""
    checkpoint = f"weights {Path(str(about['checkpoint'])).name}, " if "checkpoint" in about else ""
    return f"{label(name)} ({bundle}{variant}{checkpoint}{about.get('seconds', '?')} s)"


def _describe_data(folders: list[Path]) -> str:
    for path in (folder / "dataset.json" for folder in folders):
        if path.is_file():
            found = read_json(path)
            synthetic = "The data are synthetic, so the numbers say nothing about patients. "
            return f"{synthetic if found.get('synthetic') else ''}{found.get('description', '')}".strip()
    return ""
