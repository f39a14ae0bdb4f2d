"""`python -m tools report`: what an evaluation left in its folder, as an HTML report."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.data.files import natural_key, split_suffix
from common.metrics import PROTOCOLS, Summary, paired_difference, summarise
from tools.command import command
from tools.report import ReportImage, ReportTable, write_report

BASELINE, RESULT = "zero_filled", "reconstruction"
WORDS = {BASELINE: "zero-filled", RESULT: "reconstruction"}
DECIMALS = {"psnr": 2, "ssim": 4, "nmse": 4}
N_EXTREMES = 3


class Case(NamedTuple):
    """A slice, or a volume if `slice_index` is empty."""

    file: str
    slice_index: str

    def __str__(self) -> str:
        name = Path(self.file).name
        return f"{name}, slice {self.slice_index}" if self.slice_index else name


Values = dict[str, dict[Case, dict[str, float]]]
"""Method to case to metric to value."""


@command
def run(results_dir: str, out: str = "", title: str = "Reconstruction report", dataset_dir: str = "") -> str:
    """Write a report of RESULTS_DIR: metrics.csv, and if they are there panels/*.png and history.csv.

    Args:
        results_dir: folder that an evaluation wrote.
        out: HTML file to write; RESULTS_DIR/report.html if empty.
        title: headline.
        dataset_dir: folder of the data; its dataset.json tells where they come from. If empty, looked for beside the
            evaluated files.
    """
    path = Path(str(out)) if out else Path(str(results_dir)) / "report.html"
    return f"wrote {report_results(str(results_dir), path, title=str(title), dataset_dir=str(dataset_dir))}"


def report_results(results_dir: str | Path, out: str | Path, *, title: str, dataset_dir: str | Path = "") -> Path:
    """Report an evaluation; arguments as for the command `run`.

    Raises:
        FileNotFoundError: there is no metrics.csv.
        ValueError: a CSV file is not what an evaluation or a training writes.
    """
    results_dir = Path(results_dir)
    protocols = read_metrics(results_dir / "metrics.csv")
    tables, charts = [], []
    for name, values in protocols.items():
        tables.append(_summary_table(name, values))
        gains = _gains(values)
        finite = {case: gain for case, gain in gains.items() if math.isfinite(gain)}
        if finite:
            tables.append(_extremes_table(name, values, finite))
            charts.append(_gain_histogram(name, list(finite.values())))
    history = results_dir / "history.csv"
    if history.is_file():
        charts = [*_training_curves(history), *charts]
    return write_report(
        out,
        title=title,
        intro=_intro(protocols, dataset_dir),
        tables=tables,
        charts=charts,
        panels=_panels(results_dir / "panels", protocols),
        commands=_commands(results_dir),
    )


def read_metrics(path: Path) -> dict[str, Values]:
    """Protocol to values, of a CSV file with a row per protocol, file, slice and method.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: columns are missing, there is no row, or a value is no number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; evaluate first, or name the folder an evaluation wrote")
    keys = ("protocol", "file", "slice", "method")
    protocols: dict[str, Values] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        if missing := [key for key in (*keys, "psnr") if key not in columns]:
            raise ValueError(f"{path}: expected columns {', '.join(keys)}, psnr ..., missing {', '.join(missing)}")
        metrics = [column for column in columns if column not in keys]
        for row in reader:
            try:
                numbers = {metric: float(row[metric] or "nan") for metric in metrics}
            except ValueError as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}; evaluate again") from None
            methods = protocols.setdefault(row["protocol"], {})
            methods.setdefault(row["method"], {})[Case(row["file"], row["slice"])] = numbers
    if not protocols:
        raise ValueError(f"{path}: holds no case; evaluate data that have targets")
    return protocols


def _intro(protocols: dict[str, Values], dataset_dir: str | Path) -> list[str]:
    cases = {case for values in protocols.values() for method in values.values() for case in method}
    files = sorted({case.file for case in cases})
    n_slices = len({case for case in cases if case.slice_index})
    slices = f", {n_slices} {'slice' if n_slices == 1 else 'slices'}" if n_slices else ""
    intro = [
        f"Images were reconstructed from undersampled k-space and compared with their fully sampled targets: "
        f"{len(files)} {'file' if len(files) == 1 else 'files'}{slices}. The zero-filled image, the plain inverse "
        "Fourier transform of the measured samples, is the baseline.",
    ]
    description = _describe_data([Path(dataset_dir)] if dataset_dir else _data_folders(files))
    return [*intro, description] if description else intro


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


def _summary_table(protocol: str, values: Values) -> ReportTable:
    metrics = list(dict.fromkeys(metric for cases in values.values() for row in cases.values() for metric in row))
    rows: list[list[str | tuple[str, str]]] = []
    for method, cases in values.items():
        summaries = [summarise(_column(cases.values(), metric)) for metric in metrics]
        rows.append([WORDS.get(method, method), *map(_format, summaries, metrics)])
    baseline = values.get(BASELINE, {})
    for method, cases in values.items():
        shared = [case for case in cases if case in baseline]
        if method == BASELINE or not shared:
            continue
        differences = [
            paired_difference(
                _column([cases[case] for case in shared], metric), _column([baseline[case] for case in shared], metric)
            )
            for metric in metrics
        ]
        label = f"difference ({WORDS.get(method, method)} - zero-filled)"
        rows.append([label, *(_format(d, metric, sign="+") for d, metric in zip(differences, metrics, strict=True))])
    known = PROTOCOLS.get(protocol)
    unit = "volume" if known is not None and known.scope == "volume" else "slice"
    n = len({case for cases in values.values() for case in cases})
    return ReportTable(
        caption=f"Protocol {protocol}, {n} {unit}{'s' if n > 1 else ''}",
        header=["", *(_heading(metric) for metric in metrics)],
        rows=rows,
        note=f"{known.description + '. ' if known else ''}Mean ± standard deviation over {unit}s, and below it the "
        "95 % bootstrap interval of the mean.",
    )


def _extremes_table(protocol: str, values: Values, gains: dict[Case, float]) -> ReportTable:
    order = sorted(gains, key=lambda case: gains[case], reverse=True)
    n = min(N_EXTREMES, (len(order) + 1) // 2)
    chosen = [("best", case) for case in order[:n]] + [("worst", case) for case in order[n:][-n:]]
    rows = [
        [
            kind,
            str(case),
            *(f"{values[method][case]['psnr']:.2f}" for method in (BASELINE, RESULT)),
            f"{gains[case]:+.2f}",
        ]
        for kind, case in chosen
    ]
    header = ["", "case", "zero-filled, dB", "reconstruction, dB", "gain, dB"]
    return ReportTable(f"Best and worst cases by PSNR gain, protocol {protocol}", header, rows)


def _gains(values: Values) -> dict[Case, float]:
    """PSNR of the reconstruction minus that of the zero-filled image."""
    before, after = values.get(BASELINE, {}), values.get(RESULT, {})
    return {case: after[case]["psnr"] - before[case]["psnr"] for case in after if case in before}


def _gain_histogram(protocol: str, gains: list[float]) -> ReportImage:
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.hist(gains, bins=min(30, max(5, math.isqrt(len(gains)) * 2)), color="#3b82c4", edgecolor="white")
    axes.axvline(float(np.mean(gains)), color="#b3541e", linewidth=1.5, label=f"mean {np.mean(gains):+.2f} dB")
    axes.set(xlabel="PSNR gain over zero-filled, dB", ylabel="cases")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return ReportImage.draw(figure, f"PSNR gain of each case, protocol {protocol}")


def _training_curves(path: Path) -> list[ReportImage]:
    """Losses and validation metrics by epoch, from the table a training writes."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return []
    if "epoch" not in rows[0]:
        raise ValueError(f"{path}: expected a column epoch, got {', '.join(rows[0])}; remove the file or train again")
    columns = {name: _numbers(rows, name, path) for name in rows[0] if name not in ("phase", "learning_rate")}
    epochs = columns.pop("epoch")
    # terms differ by orders of magnitude; adversarial ones begin later, cross zero, and say little by themselves
    losses = {name: values / values[0] for name, values in columns.items() if name.startswith("loss") and values[0] > 0}
    qualities = {name: values for name, values in columns.items() if "psnr" in name.lower()}
    images = []
    for label, curves in (("loss / first epoch", losses), ("PSNR in validation, dB", qualities)):
        if curves:
            figure = Figure(figsize=(6.4, 2.8), layout="constrained")
            axes = figure.subplots()
            for name, values in curves.items():
                seen = np.isfinite(values)
                axes.plot(epochs[seen], values[seen], marker="." if seen.sum() < 30 else "", label=name)
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
            figure.legend(loc="outside right upper", fontsize=8, frameon=False)
            images.append(ReportImage.draw(figure, f"Training: {label}"))
    return images


def _numbers(rows: Sequence[dict[str, str]], name: str, path: Path) -> np.ndarray:
    try:
        return np.array([float(row[name] or "nan") for row in rows])
    except ValueError as error:
        raise ValueError(f"{path}: column {name}: {error}; remove the file or train again") from None


def _panels(folder: Path, protocols: dict[str, Values]) -> list[ReportImage]:
    gains: dict[str, str] = {}
    for name, values in protocols.items():
        for case, gain in _gains(values).items():
            if case.slice_index:
                gains.setdefault(
                    f"{split_suffix(case.file)[0]}_{case.slice_index}", f"PSNR gain {gain:+.2f} dB ({name})"
                )
    paths = sorted((path for path in folder.glob("*.png") if path.name[0] != "."), key=natural_key)
    return [
        ReportImage.read(path, f"{path.stem}: {gains[path.stem]}" if path.stem in gains else path.stem)
        for path in paths
    ]


def _commands(results_dir: Path) -> list[tuple[str, str]]:
    return [
        ("Look at the curves and images of a training.", f'tensorboard --logdir "{results_dir}"'),
        ("Make synthetic data of any number and size.", "python -m tools data make brain_mri DIRECTORY --n_train 1000"),
        (
            "Train on own images, in the folder of a bundle.",
            "python -m monai.bundle run --config_file configs/train.json --dataset_dir DIRECTORY",
        ),
        ("Write this report again.", f'python -m tools report run "{results_dir}"'),
    ]


def _column(rows: Any, metric: str) -> np.ndarray:
    return np.array([row[metric] for row in rows], dtype=np.float64)


def _heading(metric: str) -> str:
    return {"psnr": "PSNR, dB", "ssim": "SSIM", "nmse": "NMSE"}.get(metric, metric)


def _format(summary: Summary, metric: str, sign: str = "") -> tuple[str, str]:
    places = DECIMALS.get(metric, 4)
    mean, low, high = (f"{value:{sign}.{places}f}" for value in (summary.mean, summary.low, summary.high))
    left_out = f", {summary.n_undefined} undefined" if summary.n_undefined else ""
    return f"{mean} ± {summary.std:.{places}f}", f"[{low}, {high}]{left_out}"


COMMANDS = {"run": run}
