"""`python -m tools compare`: bundles, checkpoints and baselines on the same measurements, in one table."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from common.metrics import PerceptualDistance, get_protocol
from common.metrics.cases import extremes, gains, leading_method
from tools.command import command
from tools.comparison.bundle_runs import configuration
from tools.comparison.entries import BundleEntry, Entry, find_entry, read_entries
from tools.comparison.options import key_of
from tools.comparison.quality import find_perceptual_weights, measure, protocol_name, protocol_of
from tools.comparison.runs import measuring_bundles, run_all
from tools.comparison.sheet import draw_cases, numbers_of, spread
from tools.comparison.summary import Comparison, markdown
from tools.comparison.sweep import TABLE, Setting, read_sweep, write_sweep
from tools.zoo.archive import scratch_folder
from tools.zoo.layout import bundle_version


@command
def compare(  # noqa: D417 - Fire takes the line of **options for a part of the one before
    dataset_dir: str,
    entries: str | Sequence[str],
    protocol: str = "",
    reference: str = "",
    measure_like: str = "",
    variant: str = "",
    perceptual_weights: str = "",
    sweep: str = "",
    n_cases: int = 4,
    out: str = "out/compare",
    **options: Any,
) -> str:
    """Reconstruct or enlarge one data set by several methods, from the same measurements, and put it in one table.

    ENTRIES are separated by commas: bundles by name, folder or zip, NAME@VARIANT with inference_VARIANT.json after its
    configuration (or VARIANT.json, where that is for inference too), NAME:FILE.pt and NAME@VARIANT:FILE.pt with other
    weights; beside bundles of reconstruction zero_filled, tv, wavelet (tv:0.02 sets the weight of the penalty, as a
    part of the zero-filled image's largest magnitude), of series zero_filled, beside those of super-resolution nearest,
    bicubic, lanczos. LABEL=ENTRY gives a row another name. A bundle whose result is the mean of several samples has two
    rows, LABEL and "LABEL, one sample".

    OUT gets metrics.csv (all cases), summary.md, sheet.png (cases side by side), panels/ (these, the best and the worst
    cases) and comparison.json. `python -m tools report OUT` makes a page of it.

    A bundle's own inference.json, of super-resolution with evaluate.json after it, says how data are read and measured,
    for the baselines too. Every further option changes a key of it in all bundles: --sampling_rate 0.2 --mask_family
    cartesian --split test --device cpu, or --degradation_name mr; --LABEL.KEY VALUE in one of them.

    While it runs, about 28 bytes a pixel and bundle are kept on disk beside OUT, 36 of one that gives samples.

    Args:
        dataset_dir: folder of data with targets, as the bundles read it.
        entries: methods to compare, separated by commas.
        protocol: how quality is measured; if empty the first of the bundles' own `protocols`, or magnitude_slice, of
            series cine_series, and of super-resolution super_resolution_x2, x4 or x8 by the sizes, with the columns
            perceptual distance and PIQE.
        reference: row that the others are compared with; the first if empty.
        measure_like: bundle whose configuration says how data are read and measured, if no entry is a bundle.
        variant: variant of the configurations of bundles that name none: inference_VARIANT.json follows inference.json,
            evaluate_VARIANT.json follows evaluate.json.
        perceptual_weights: file for the column perceptual distance; a bundle's models/vgg19_textures.pt if empty. The
            slices of a volume are divided by the maximum of its target.
        sweep: compares once for each of several settings of the bundles' keys, "accelerations=4,8,16,32
            center_fractions=0.08,0.04,0.02,0.01": first values, second values and so on. Each setting gets a folder in
            OUT, named by its first key, and OUT gets sweep.csv (all values) and summary.md, a column each.
        n_cases: cases on the sheet, evenly spread over the data.
        out: folder of the results; an older comparison there is replaced.
    """
    texts = entries.split(",") if isinstance(entries, str) else [str(entry) for entry in entries]
    summary = compare_entries(
        Path(str(dataset_dir)),
        [text.strip() for text in texts if text.strip()],
        Path(str(out)),
        protocol=str(protocol),
        reference=str(reference),
        measure_like=str(measure_like),
        variant=str(variant),
        perceptual_weights=str(perceptual_weights),
        sweep=str(sweep),
        n_cases=n_cases,
        overrides=options,
    )
    wrote = "metrics.csv, summary.md, sheet.png and panels/"
    if sweep:
        wrote = f"{TABLE}, summary.md and a folder per setting with {wrote}"
    return f"{summary}\nwrote {wrote} to {out}"


def compare_entries(
    dataset_dir: Path,
    texts: Sequence[str],
    out: Path,
    *,
    protocol: str = "",
    reference: str = "",
    measure_like: str = "",
    variant: str = "",
    perceptual_weights: str = "",
    sweep: str = "",
    n_cases: int = 4,
    overrides: Mapping[str, Any] | None = None,
) -> str:
    """Compare, and return the summary in Markdown. Arguments as for the command.

    Raises:
        ValueError: something is unknown, cannot be compared, or failed; `out` is then as it was.
        OSError: a file cannot be read or written.
    """
    if protocol:
        get_protocol(protocol)
    if not isinstance(n_cases, int) or n_cases < 1:
        raise ValueError(f"n_cases must be an integer of 1 or more, got {n_cases!r}")
    if out.exists() and any(out.iterdir()) and not any((out / file).is_file() for file in (Comparison.FILE, TABLE)):
        raise ValueError(f"{out}: holds something else than a comparison; give --out a new folder")
    with scratch_folder(out.absolute().parent) as scratch:
        entries = read_entries(texts, scratch / "bundles", variant)
        labels = [entry.label for entry in entries]
        reference = reference or labels[0]
        if reference not in labels:
            raise ValueError(f"reference must be one of {', '.join(labels)}, got {reference!r}")
        measurer = _measurer(measure_like, entries, scratch / "measurer", variant)
        bundles = measuring_bundles(entries, measurer)
        weights = find_perceptual_weights(perceptual_weights, entries)
        comparer = _Comparer(
            dataset_dir=dataset_dir,
            entries=entries,
            measurer=measurer,
            reference=reference,
            protocol=protocol_name(protocol, bundles[0]),
            distance=PerceptualDistance(weights) if weights else None,
            distance_by=weights.name if weights else "",
            n_cases=n_cases,
        )
        results = scratch / "results"
        if sweep:
            settings = read_sweep(sweep, lambda key: any(_is_list(bundle, key) for bundle in bundles))
            summary = comparer.compare_settings(settings, overrides or {}, scratch, results)
        else:
            summary = comparer.compare(overrides or {}, scratch / "runs", results)[0]
        if out.exists():
            out.rename(scratch / "replaced")
        results.rename(out)
    return summary


@dataclass(frozen=True)
class _Comparer:
    """Comparison under one setting or several, with the arguments that are the same for all settings."""

    dataset_dir: Path
    entries: Sequence[Entry]
    measurer: BundleEntry | None
    reference: str
    protocol: str
    distance: PerceptualDistance | None
    distance_by: str
    n_cases: int

    def compare(self, overrides: Mapping[str, Any], run_folder: Path, results: Path) -> tuple[str, pd.DataFrame]:
        """Compare under one setting, and return the summary and the case table."""
        started = perf_counter()
        runs = run_all(self.entries, self.dataset_dir, overrides, run_folder, self.measurer)
        chosen = protocol_of(self.protocol, runs, self.distance)
        collector = measure(chosen, runs)
        collector.write(results / "metrics.csv")
        values = collector.table
        notes = [entry.note for entry in self.entries if not isinstance(entry, BundleEntry) and entry.note]
        if "perceptual" in chosen.metrics:
            notes.insert(0, f"Perceptual distance by {self.distance_by}.")
        summary = markdown(values, self.reference, notes)
        (results / "summary.md").write_text(summary, encoding="utf-8", errors="replace")
        leading = leading_method(values, self.reference)
        best, worst = extremes(gains(values, leading, self.reference))
        further = numbers_of([*best, *worst], runs.measured)
        draw_cases(results, runs, spread(len(runs.measured), self.n_cases), further, chosen.name, leading)
        Comparison(
            dataset_dir=str(self.dataset_dir),
            reference=self.reference,
            options=dict(overrides),
            methods={entry.label: _describe(entry, runs.seconds[entry.label]) for entry in self.entries},
            seconds=round(perf_counter() - started, 1),
        ).write(results)
        return summary, values

    def compare_settings(
        self, settings: Sequence[Setting], overrides: Mapping[str, Any], scratch: Path, results: Path
    ) -> str:
        """Compare under each setting, and return the summary of all."""
        found = []
        for number, setting in enumerate(settings):
            sys.stderr.write(f"{setting.name}\n")
            options = {**overrides, **setting.overrides}
            found.append(self.compare(options, scratch / f"runs_{number}", results / setting.folder))
            shutil.rmtree(scratch / f"runs_{number}")
        by_setting = {setting.name: values for setting, (_, values) in zip(settings, found, strict=True)}
        return write_sweep(results, settings, by_setting, [summary for summary, _ in found])


def _is_list(bundle: BundleEntry, option: str) -> bool:
    return isinstance(configuration(bundle).get(key_of(option)), list)


def _measurer(measure_like: str, entries: Sequence[Entry], unpack_into: Path, variant: str) -> BundleEntry | None:
    if not measure_like:
        return None
    if any(isinstance(entry, BundleEntry) for entry in entries):
        raise ValueError("measure_like is for comparisons without a bundle; leave it out, the first bundle measures")
    found = find_entry(measure_like, unpack_into, variant)
    if not isinstance(found, BundleEntry):
        raise ValueError(f"measure_like must be a bundle, got the baseline {measure_like!r}")
    for entry in entries:
        if found.task not in entry.tasks:
            raise ValueError(f"measure_like must be a bundle of {entry.tasks[0]}, got {measure_like!r} of {found.task}")
    return found


def _describe(entry: Entry, seconds: float) -> dict[str, Any]:
    described: dict[str, Any] = {"seconds": round(seconds, 1)}
    if isinstance(entry, BundleEntry):
        described |= {"bundle": entry.root.name, "version": bundle_version(entry.root)}
        if entry.variant:
            described["variant"] = entry.variant
        if entry.checkpoint:
            described["checkpoint"] = str(entry.checkpoint)
    return described
