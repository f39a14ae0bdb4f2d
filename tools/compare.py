"""`python -m tools compare`: bundles, checkpoints and baselines on the same measurements, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from common.metrics import MetricTable, PerceptualDistance, Protocol, get_protocol, super_resolution_protocol
from common.metrics.protocol_metric import image_from_channels
from tools.command import command
from tools.comparison.entries import BundleEntry, Entry, find_entry, read_entries
from tools.comparison.measured import required
from tools.comparison.runs import Runs, run_all
from tools.comparison.sheet import draw_cases, numbers_of, spread
from tools.comparison.summary import markdown
from tools.comparison.tasks import SUPER_RESOLUTION
from tools.results import Comparison, extremes, gains, leading_method, read_metrics
from tools.zoo.archive import scratch_folder
from tools.zoo.layout import bundle_version

PERCEPTUAL_WEIGHTS = "vgg19_textures.pt"
"""In the folder models/ of a bundle of super-resolution."""


@command
def compare(  # noqa: D417 - Fire takes the line of **options for a part of the one before
    dataset_dir: str,
    entries: str | Sequence[str],
    protocol: str = "",
    reference: str = "",
    measure_like: str = "",
    variant: str = "",
    perceptual_weights: str = "",
    n_cases: int = 4,
    out: str = "out/compare",
    **options: Any,
) -> str:
    """Reconstruct or enlarge one data set by several methods, from the same measurements, and put it in one table.

    ENTRIES are separated by commas: bundles by name, folder or zip (NAME:FILE.pt takes other weights); beside bundles
    of reconstruction zero_filled, tv, wavelet (tv:0.02 sets the weight of the penalty), beside those of
    super-resolution nearest, bicubic, lanczos. LABEL=ENTRY gives a row another name.

    OUT gets metrics.csv (all cases), summary.md, sheet.png (cases side by side), panels/ (these, the best and the worst
    cases) and comparison.json. `python -m tools report OUT` makes a page of it.

    A bundle's own inference.json, of super-resolution with evaluate.json after it, says how data are read and measured,
    for the baselines too. Every further option changes a key of it in all bundles: --sampling_rate 0.2 --mask_family
    cartesian --split test --device cpu, or --degradation_name mr.

    While it runs, about 28 bytes a pixel and bundle are kept on disk beside OUT.

    Args:
        dataset_dir: folder of data with targets, as the bundles read it.
        entries: what to compare.
        protocol: how quality is measured; magnitude_slice if empty, and of super-resolution super_resolution_x2, x4 or
            x8 by the sizes, with the columns perceptual distance and PIQE.
        reference: row that the others are compared with; the first if empty.
        measure_like: bundle whose configuration says how data are read and measured, if no entry is a bundle.
        variant: of the bundles' configurations: inference_VARIANT.json and evaluate_VARIANT.json come after theirs.
        perceptual_weights: file for the perceptual distance; a bundle's models/vgg19_textures.pt if empty.
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
        n_cases=n_cases,
        overrides=options,
    )
    return f"{summary}\nwrote metrics.csv, summary.md, sheet.png and panels/ to {out}"


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
    n_cases: int = 4,
    overrides: Mapping[str, Any] | None = None,
) -> str:
    """Compare, and return the summary in Markdown. Arguments as for the command.

    Raises:
        ValueError: something is unknown, cannot be compared, or failed; `out` is then as it was.
        OSError: a file cannot be read or written.
    """
    started = perf_counter()
    if protocol:
        get_protocol(protocol)
    if not isinstance(n_cases, int) or n_cases < 1:
        raise ValueError(f"n_cases must be an integer of 1 or more, got {n_cases!r}")
    if out.exists() and any(out.iterdir()) and not (out / Comparison.FILE).is_file():
        raise ValueError(f"{out}: holds something else than a comparison; give --out a new folder")
    with scratch_folder(out.absolute().parent) as scratch:
        entries = read_entries(texts, scratch / "bundles", variant)
        labels = [entry.label for entry in entries]
        reference = reference or labels[0]
        if reference not in labels:
            raise ValueError(f"reference must be one of {', '.join(labels)}, got {reference!r}")
        measurer = _measurer(measure_like, entries, scratch / "measurer", variant)
        weights = _perceptual_weights(perceptual_weights, entries)
        distance = PerceptualDistance(weights) if weights else None
        runs = run_all(entries, dataset_dir, overrides or {}, scratch / "runs", measurer)

        results = scratch / "results"
        chosen = _protocol(protocol, runs, distance)
        _table(chosen, runs).write_csv(results / "metrics.csv")
        values = read_metrics(results / "metrics.csv")[chosen.name]
        notes = [f"Perceptual distance by {weights.name}."] if weights and "perceptual" in chosen.metrics else []
        summary = markdown(chosen.name, values, reference, notes)
        (results / "summary.md").write_text(summary, encoding="utf-8", errors="replace")
        best, worst = extremes(gains(values, leading_method(values, reference), reference))
        further = numbers_of([*best, *worst], runs.measured)
        draw_cases(results, runs, spread(len(runs.measured), n_cases), further, chosen.name)
        Comparison(
            dataset_dir=str(dataset_dir),
            reference=reference,
            options=dict(overrides or {}),
            methods={entry.label: _describe(entry, runs.seconds[entry.label]) for entry in entries},
            seconds=round(perf_counter() - started, 1),
        ).write(results)
        if out.exists():
            out.rename(scratch / "replaced")
        results.rename(out)
    return summary


def _measurer(measure_like: str, entries: Sequence[Entry], unpack_into: Path, variant: str) -> BundleEntry | None:
    if not measure_like:
        return None
    if any(isinstance(entry, BundleEntry) for entry in entries):
        raise ValueError("measure_like is for comparisons without a bundle; leave it out, the first bundle measures")
    found = find_entry(measure_like, unpack_into, variant)
    if not isinstance(found, BundleEntry):
        raise ValueError(f"measure_like must be a bundle, got the baseline {measure_like!r}")
    if found.task != entries[0].task:
        raise ValueError(f"measure_like must be a bundle of {entries[0].task}, got {measure_like!r} of {found.task}")
    return found


def _perceptual_weights(given: str, entries: Sequence[Entry]) -> Path | None:
    """The file of the perceptual distance: the one given, else the first that a bundle of super-resolution brings."""
    if given:
        return Path(given)
    bundles = [entry for entry in entries if isinstance(entry, BundleEntry) and entry.task == SUPER_RESOLUTION]
    found = [entry.root / "models" / PERCEPTUAL_WEIGHTS for entry in bundles]
    return next((path for path in found if path.is_file()), None)


def _protocol(name: str, runs: Runs, distance: PerceptualDistance | None) -> Protocol:
    if name or runs.task != SUPER_RESOLUTION:
        return get_protocol(name or "magnitude_slice")
    image, label = (required(runs.measured, 0, array) for array in ("image", "label"))
    return super_resolution_protocol(label.shape[-1] // image.shape[-1], distance, no_reference=True)


def _table(protocol: Protocol, runs: Runs) -> MetricTable:
    table = MetricTable(protocol)
    for number in range(len(runs.measured)):
        path, slice_index, _ = runs.measured.name(number)
        target = image_from_channels(required(runs.measured, number, "label")[None])[0]
        for label, cases in runs.methods.items():
            image = image_from_channels(required(cases, number, "pred")[None])[0]
            table.add(path, slice_index, label, image, target)
    table.gather()
    return table


def _describe(entry: Entry, seconds: float) -> dict[str, Any]:
    described: dict[str, Any] = {"seconds": round(seconds, 1)}
    if isinstance(entry, BundleEntry):
        described |= {"bundle": entry.root.name, "version": bundle_version(entry.root)}
        if entry.checkpoint:
            described["checkpoint"] = str(entry.checkpoint)
    return described
