"""`python -m tools compare`: bundles, checkpoints and baselines on the same measurements, in one table."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from common.metrics import PerceptualDistance, get_protocol
from tools.command import command
from tools.comparison.entries import Bundle, Entry, find_entry, read_entries
from tools.comparison.record import COMPARISON, write_record
from tools.comparison.results import SWEEP, protocol_name, read_sweep, setting_folder, write_comparison, write_sweep
from tools.comparison.runs import run_all
from tools.run.reading import top_key
from tools.zoo.archive import scratch_folder
from tools.zoo.layout import bundle_version

PERCEPTUAL_WEIGHTS = "vgg19_textures.pt"
"""File in the folder models/ of a bundle, of super-resolution for one."""


def compare_entries(  # noqa: D417 - Fire takes the line of **options for a part of the one before
    dataset_dir: str | Path,
    entries: str | Sequence[str],
    out: str | Path = "out/compare",
    protocol: str = "",
    reference: str = "",
    measure_like: str = "",
    variant: str = "",
    perceptual_weights: str = "",
    sweep: str = "",
    n_cases: int = 4,
    **options: Any,
) -> str:
    """Reconstruct or enlarge one data set by several methods, from the same measurements, and put it in one table.

    ENTRIES are separated by commas: bundles by name, folder or zip, NAME@VARIANT with inference_VARIANT.json after its
    configuration (or VARIANT.json, where that is for inference too), NAME:FILE.pt and NAME@VARIANT:FILE.pt with other
    weights; beside bundles of reconstruction zero_filled, tv, wavelet (tv:0.02 sets the weight of the penalty, as a
    part of the zero-filled image's largest magnitude), of series zero_filled, beside those of super-resolution nearest,
    bicubic, lanczos. LABEL=ENTRY gives a row another name. A bundle that gives samples, too, has two
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
        out: folder of the results; an older comparison there is replaced.
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
    """
    folder = Path(str(out))
    words = entries.split(",") if isinstance(entries, str) else map(str, entries)
    texts = [text for text in map(str.strip, words) if text]
    if protocol:
        get_protocol(str(protocol))
    if not isinstance(n_cases, int) or n_cases < 1:
        raise ValueError(f"n_cases must be an integer of 1 or more, got {n_cases!r}")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / f).is_file() for f in (COMPARISON, SWEEP)):
        raise ValueError(f"{folder}: holds something else than a comparison; give --out a new folder")
    with scratch_folder(folder.absolute().parent) as scratch:
        methods = read_entries(texts, scratch / "bundles", str(variant))
        labels = [entry.label for entry in methods]
        reference = str(reference) or labels[0]
        if reference not in labels:
            raise ValueError(f"reference must be one of {', '.join(labels)}, got {reference!r}")
        bundles = _measuring_bundles(str(measure_like), methods, scratch / "measurer", str(variant))
        protocol = protocol_name(str(protocol), bundles[0])
        shipped = [bundle.root / "models" / PERCEPTUAL_WEIGHTS for bundle in bundles if bundle in methods]
        weights = Path(str(perceptual_weights) or next((path for path in shipped if path.is_file()), ""))
        distance = PerceptualDistance(weights) if weights.name else None
        notes = [f"Perceptual distance by {weights.name}."] if distance else []
        notes += [entry.note for entry in methods if not isinstance(entry, Bundle) and entry.note]

        def compare_once(overrides: Mapping[str, Any], results: Path) -> tuple[str, pd.DataFrame]:
            started = perf_counter()
            runs = run_all(methods, bundles, Path(str(dataset_dir)), overrides, scratch / "runs")
            found = write_comparison(results, runs, protocol, distance, reference, notes, n_cases)
            described = {entry.label: _describe(entry, runs.seconds[entry.label]) for entry in methods}
            record = {"dataset_dir": dataset_dir, "reference": reference, "options": overrides, "methods": described}
            write_record(results, {**record, "seconds": round(perf_counter() - started, 1)})
            shutil.rmtree(scratch / "runs")
            return found

        results, wrote = scratch / "results", "metrics.csv, summary.md, sheet.png and panels/"
        if sweep:
            wrote = f"{SWEEP}, summary.md and a folder per setting with {wrote}"
            settings, found = read_sweep(str(sweep), lambda key: any(_is_list(bundle, key) for bundle in bundles)), {}
            for name, setting in settings.items():
                sys.stderr.write(f"{name}\n")
                found[name] = compare_once({**options, **setting}, results / setting_folder(name))
            summary = write_sweep(results, settings, found)
        else:
            summary = compare_once(options, results)[0]
        if folder.exists():
            folder.rename(scratch / "replaced")
        results.rename(folder)
    return f"{summary}\nwrote {wrote} to {folder}"


compare = command(compare_entries)


def _is_list(bundle: Bundle, option: str) -> bool:
    """Return whether the key that an option `KEY`, `LABEL.KEY` or `KEY#PART` changes holds a list."""
    return isinstance(bundle.content.get(top_key(option.rpartition(".")[2])), list)


def _measuring_bundles(measure_like: str, entries: Sequence[Entry], unpack_into: Path, variant: str) -> list[Bundle]:
    """Return the bundles among the entries, or that of `measure_like`; the first measures for the baselines."""
    bundles = [entry for entry in entries if isinstance(entry, Bundle)]
    if bundles and measure_like:
        raise ValueError("measure_like is for comparisons without a bundle; leave it out, the first bundle measures")
    if bundles:
        return bundles
    if not measure_like:
        raise ValueError(
            "no entry is a bundle: give --measure_like BUNDLE, whose configuration says how data are read and measured"
        )
    found = find_entry(measure_like, unpack_into, variant)
    if not isinstance(found, Bundle):
        raise ValueError(f"measure_like must be a bundle, got the baseline {measure_like!r}")
    for entry in entries:
        if found.tasks[0] not in entry.tasks:
            raise ValueError(
                f"measure_like must be a bundle of {entry.tasks[0]}, got {measure_like!r} of {found.tasks[0]}"
            )
    return [found]


def _describe(entry: Entry, seconds: float) -> dict[str, Any]:
    described: dict[str, Any] = {"seconds": round(seconds, 1)}
    if isinstance(entry, Bundle):
        described |= {"bundle": entry.root.name, "version": bundle_version(entry.root)}
        further = {"variant": entry.variant, "checkpoint": entry.checkpoint and str(entry.checkpoint)}
        described |= {key: value for key, value in further.items() if value}
    return described
