"""Runs of all entries of a comparison on the same measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from tools.comparison.bundle_runs import check_overrides, run_bundle
from tools.comparison.capture import CaseFolder
from tools.comparison.entries import BaselineEntry, BundleEntry, Entry
from tools.comparison.measured import Images, reconstruct, require_same_measurements, require_targets
from tools.comparison.options import options_of
from tools.progress import Progress

ONE_SAMPLE = "one sample"
"""Words after a bundle's label in the row of one sample, if the bundle gives the mean of several samples."""


@dataclass
class Runs:
    """Results of the entries: reconstructed or enlarged images.

    Attributes:
        task: task of all entries, one of those in `tools.comparison.tasks`.
        measured: "image" (the measurement, the low-resolution image) and "label" of all cases.
        methods: name of the row to the images of all cases; a bundle with samples also has "LABEL, one sample".
        seconds: label to the time of the run in seconds; for a bundle with the start of its process.
    """

    task: str
    measured: CaseFolder
    methods: dict[str, Images] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def measuring_bundles(entries: Sequence[Entry], measurer: BundleEntry | None = None) -> list[BundleEntry]:
    """Return the bundles among the entries, or the measurer if there is none; the first measures for the baselines.

    Raises:
        ValueError: there is none.
    """
    bundles = [entry for entry in entries if isinstance(entry, BundleEntry)]
    if bundles:
        return bundles
    if measurer is None:
        raise ValueError(
            "no entry is a bundle: give --measure_like BUNDLE, whose configuration says how data are read and measured"
        )
    return [measurer]


def run_all(
    entries: Sequence[Entry],
    dataset_dir: Path,
    overrides: Mapping[str, Any],
    folder: Path,
    measurer: BundleEntry | None = None,
) -> Runs:
    """Reconstruct a data set by all entries.

    The first bundle measures for the baselines, and other bundles must measure as it does.

    Args:
        entries: entries to run.
        dataset_dir: folder of the data.
        overrides: options to values; `LABEL.KEY` changes one entry, see `options_of`.
        folder: folder for the arrays: 28 bytes a pixel and bundle, 8 more with samples, 8 a pixel and baseline.
        measurer: bundle that measures where no entry is a bundle; its network runs too, with or without weights.

    Raises:
        ValueError: there is nothing that measures, a bundle does not know an override or fails, a case has no target,
            or two bundles do not have the same measurements.
    """
    bundles = measuring_bundles(entries, measurer)
    if bundles[0] is measurer:
        overrides = {"load_pretrain": False, **overrides}
    labels = [bundle.label for bundle in bundles]
    options = {label: options_of(label, labels, overrides) for label in labels}
    for bundle in bundles:
        check_overrides(bundle, options[bundle.label])
    runs: Runs | None = None
    for number, bundle in enumerate(bundles):
        started = perf_counter()
        with Progress(bundle.label) as progress:
            cases = run_bundle(bundle, dataset_dir, options[bundle.label], folder / f"bundle_{number}", progress.update)
        if runs is None:
            require_targets(bundle.label, cases)
            runs = Runs(bundle.task, cases)
        else:
            require_same_measurements(bundle.label, cases, bundles[0].label, runs.measured, runs.task)
        runs.methods[bundle.label] = Images(cases)
        if cases.read(0, "sample") is not None:
            runs.methods[f"{bundle.label}, {ONE_SAMPLE}"] = Images(cases, "sample")
        runs.seconds[bundle.label] = perf_counter() - started
    assert runs is not None  # there is a bundle
    for number, entry in enumerate(entries):
        if isinstance(entry, BaselineEntry):
            started = perf_counter()
            cases = CaseFolder(folder / f"baseline_{number}")
            with Progress(entry.label) as progress:
                reconstruct(entry.method, runs.measured, cases, progress)
            runs.methods[entry.label] = Images(cases)
            runs.seconds[entry.label] = perf_counter() - started
    rows = [row for entry in entries for row in (entry.label, f"{entry.label}, {ONE_SAMPLE}")]
    runs.methods = {row: runs.methods[row] for row in rows if row in runs.methods}
    return runs
