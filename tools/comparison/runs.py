"""Every entry of a comparison reconstructs the same measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from tools.comparison.bundle_runs import check_overrides, run_bundle
from tools.comparison.capture import CaseFolder
from tools.comparison.entries import BaselineEntry, BundleEntry, Entry
from tools.comparison.measured import reconstruct, require_same_measurements, require_targets
from tools.progress import Progress


@dataclass
class Runs:
    """What the entries reconstructed or enlarged.

    Attributes:
        task: which of the two.
        measured: "image" (the measurement, the low-resolution image) and "label" of all cases.
        methods: label to "pred" of all cases.
        seconds: label to how long it took, of a bundle with the start of its process.
    """

    task: str
    measured: CaseFolder
    methods: dict[str, CaseFolder] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


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
        entries: what to run.
        dataset_dir: of the data.
        overrides: keys of the bundles' configurations to values.
        folder: for the arrays, 28 bytes a pixel and bundle, 8 a pixel and baseline.
        measurer: bundle that measures where no entry is a bundle; its network runs too, with or without weights.

    Raises:
        ValueError: there is nothing that measures, a bundle does not know an override or fails, a case has no target,
            or two bundles do not have the same measurements.
    """
    bundles = [entry for entry in entries if isinstance(entry, BundleEntry)]
    if not bundles and measurer is None:
        raise ValueError(
            "no entry is a bundle: give --measure_like BUNDLE, whose configuration says how data are read and measured"
        )
    if not bundles and measurer is not None:
        bundles, overrides = [measurer], {"load_pretrain": False, **overrides}
    for bundle in bundles:
        check_overrides(bundle, overrides)
    runs: Runs | None = None
    for number, bundle in enumerate(bundles):
        started = perf_counter()
        with Progress(bundle.label) as progress:
            cases = run_bundle(bundle, dataset_dir, overrides, folder / f"bundle_{number}", progress.update)
        if runs is None:
            require_targets(bundle.label, cases)
            runs = Runs(bundle.task, cases)
        else:
            require_same_measurements(bundle.label, cases, bundles[0].label, runs.measured, runs.task)
        runs.methods[bundle.label] = cases
        runs.seconds[bundle.label] = perf_counter() - started
    assert runs is not None  # there is a bundle
    for number, entry in enumerate(entries):
        if isinstance(entry, BaselineEntry):
            started = perf_counter()
            cases = CaseFolder(folder / f"baseline_{number}")
            with Progress(entry.label) as progress:
                reconstruct(entry.method, runs.measured, cases, progress)
            runs.methods[entry.label] = cases
            runs.seconds[entry.label] = perf_counter() - started
    runs.methods = {entry.label: runs.methods[entry.label] for entry in entries}
    return runs
