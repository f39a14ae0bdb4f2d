"""Runs of all entries of a comparison on the same measurements, with the check that they are the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from common.metrics import Case, aliased_series
from common.metrics.protocol_metric import image_from_channels
from common.operators import unpack_coils
from tools.comparison.capture import PROGRESS, CaseFolder
from tools.comparison.entries import RECONSTRUCTION, SERIES, SUPER_RESOLUTION, Baseline, Bundle, Entry
from tools.run.process import run_bundle
from tools.run.reading import check_known

CAPTURE = "tools.comparison.capture.SaveCases"
ONE_SAMPLE = "one sample"
"""Words after a bundle's label in the row of one sample, if the bundle gives samples, too."""
TOLERANCE = 1e-5
"""Largest difference of equal measurements, as a part of the largest value, of k-space, mask and maps separately."""
_EXAMPLES = {
    RECONSTRUCTION: "--mask_family radial --sampling_rate 0.1",
    SERIES: "--n_spokes 13",
    SUPER_RESOLUTION: "--upscale 4 --degradation_name bicubic",
}


@dataclass
class Runs:
    """Results of the entries: reconstructed or enlarged images.

    Attributes:
        task: task of all entries.
        measured: "image" (the measurement, the low-resolution image) and "label" of all cases.
        methods: name of the row to the folder of all cases and the name of the array there; a bundle with samples also
            has "LABEL, one sample".
        seconds: label to the time of the run in seconds; for a bundle with the start of its process.
    """

    task: str
    measured: CaseFolder
    methods: dict[str, tuple[CaseFolder, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def case(self, number: int, peak: float = 1.0, leading: str = "") -> Case:
        """Read the images of a case, divided by `peak`."""
        name = self.measured.name(number)

        def image(channels: Tensor) -> Tensor:
            return image_from_channels(channels[None])[0] / peak

        mask = None
        if self.task == RECONSTRUCTION:
            mask = unpack_coils(self.measured.read(number, "image")[None])[1][0, 0]
        return Case(
            path=name.path,
            slice_index=name.slice_index,
            methods={label: image(cases.read(number, array)) for label, (cases, array) in self.methods.items()},
            target=image(self.measured.read(number, "label")),
            mask=mask,
            baseline=next(iter(self.methods)),
            reconstruction=leading,
            series=self.task == SERIES,
        )


def followed(n: int, label: str) -> Callable[[int], None]:
    """Return a function that shows on stderr how many of `n` are done: a bar, elsewhere a line at every tenth."""
    bar = tqdm(total=n, desc=label, unit="case", leave=False, disable=None)
    start = perf_counter()

    def update(done: int) -> None:
        if bar.disable and done * 10 // n > bar.n * 10 // n:
            seconds = (perf_counter() - start) / done * (n - done)
            sys.stderr.write(f"{label}: {done} of {n} cases" + (f", {seconds:.0f} s to go\n" if done < n else "\n"))
        bar.update(done - bar.n)
        bar.n = done  # a disabled bar does not count
        if done == n:
            bar.close()

    return update


def options_of(label: str, labels: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Select the options of one entry: those for all entries, replaced by its own, `LABEL.KEY`."""
    prefixes = {name: f"{name.replace('-', '_')}." for name in labels}
    own = prefixes[label]
    for_all = {key: value for key, value in options.items() if not key.startswith(tuple(prefixes.values()))}
    return for_all | {key.removeprefix(own): value for key, value in options.items() if key.startswith(own)}


def run_all(
    entries: Sequence[Entry], bundles: Sequence[Bundle], dataset_dir: Path, overrides: Mapping[str, Any], folder: Path
) -> Runs:
    """Reconstruct a data set by all entries.

    The first bundle measures for the baselines, and other bundles must measure as it does.

    Args:
        entries: entries to run.
        bundles: bundles among them, or the one that measures where there is none; its network runs too, with or without
            weights.
        dataset_dir: folder of the data.
        overrides: options to values; `LABEL.KEY` changes one entry, see `options_of`.
        folder: folder for the arrays: 28 bytes a pixel and bundle, 8 more with samples, 8 a pixel and baseline.

    Raises:
        ValueError: a bundle does not know an override or fails, a case has no target, or two bundles do not have the
            same measurements.
    """
    if bundles[0] not in entries:
        overrides = {"load_pretrain": False, **overrides}
    labels = [bundle.label for bundle in bundles]
    options = {label: options_of(label, labels, overrides) for label in labels}
    for bundle in bundles:
        further = {"checkpoint": str(bundle.checkpoint)} if bundle.checkpoint else {}
        options[bundle.label] |= further
        check_known(options[bundle.label], bundle.content, bundle.configs, bundle.label)
    runs: Runs | None = None
    for number, bundle in enumerate(bundles):
        started = perf_counter()
        cases = run_captured(bundle, dataset_dir, options[bundle.label], folder / f"bundle_{number}")
        if runs is None:
            _require_targets(bundle.label, cases)
            runs = Runs(bundle.tasks[0], cases)
        else:
            _require_same_measurements(bundle.label, cases, labels[0], runs.measured, runs.task)
        runs.methods[bundle.label] = cases, "pred"
        if cases.find(0, "sample") is not None:
            runs.methods[f"{bundle.label}, {ONE_SAMPLE}"] = cases, "sample"
        runs.seconds[bundle.label] = perf_counter() - started
    assert runs is not None  # there is a bundle
    for entry in entries:
        if isinstance(entry, Baseline):
            started, cases = perf_counter(), CaseFolder(folder / f"baseline {entry.label}")
            update = followed(len(runs.measured), entry.label)
            for number in range(len(runs.measured)):
                size = runs.measured.read(number, "label").shape[1:]
                cases.write(number, {"pred": entry.method(runs.measured.read(number, "image")[None], size)[0]})
                update(number + 1)
            runs.methods[entry.label] = cases, "pred"
            runs.seconds[entry.label] = perf_counter() - started
    rows = [row for entry in entries for row in (entry.label, f"{entry.label}, {ONE_SAMPLE}")]
    runs.methods = {row: runs.methods[row] for row in rows if row in runs.methods}
    return runs


def run_captured(bundle: Bundle, dataset_dir: Path, overrides: Mapping[str, Any], folder: Path) -> CaseFolder:
    """Run a bundle's own evaluation with a handler that keeps its images, see `capture.SaveCases`.

    Each bundle has a process of its own, because two in one process would share the names `common` and `scripts`.
    """
    cases, update = CaseFolder(folder / "cases"), None

    def on_line(line: str) -> None:
        nonlocal update
        words = line.split()
        if len(words) == 3 and words[0] == PROGRESS:
            update = update or followed(int(words[2]), bundle.label)
            update(int(words[1]))

    handlers = {"handlers": [{"_target_": CAPTURE, "folder": str(cases.folder)}]}
    changes = {**overrides, "dataset_dir": str(dataset_dir.resolve()), **handlers}
    end = run_bundle(bundle.root, bundle.configs, changes, folder, "compare", on_line)
    if end.error:
        if not end.tail[-1:] or not end.tail[-1].startswith("error: "):  # a defect
            sys.stderr.write("\n".join([*end.tail, ""]))
        raise ValueError(f"{bundle.label}: {end.error}")
    return cases


def _require_targets(label: str, cases: CaseFolder) -> None:
    if not len(cases):
        raise ValueError(f"{label}: reconstructed no case; check its inference.json")
    for number in range(len(cases)):
        if cases.find(number, "label") is None:
            raise ValueError(
                f"{cases.name(number).path}: has no target (fully sampled image) to compare with; "
                "give fully sampled data, or a folder without this file"
            )


def _require_same_measurements(
    label: str, cases: CaseFolder, reference_label: str, reference: CaseFolder, task: str
) -> None:
    hint = f"give options that make both measure alike, for example {_EXAMPLES[task]}"
    if len(cases) != len(reference):
        raise ValueError(f"{label} has {len(cases)} cases and {reference_label} has {len(reference)}; {hint}")
    for number in range(len(cases)):
        name, other = cases.name(number), reference.name(number)
        if name != other:
            raise ValueError(
                f"case {number} is slice {name.slice_index} of {name.path} in {label} and slice {other.slice_index} of "
                f"{other.path} in {reference_label}; {hint}"
            )
        for array, word in (("image", "measurement"), ("label", "target")):
            found = [_parts(one.find(number, array), array, task) for one in (cases, reference)]
            if not _same(*found):
                where = f"{name.path}, slice {name.slice_index}"
                raise ValueError(f"{where}: {label} has another {word} than {reference_label}; {hint}")


def _parts(image: Tensor | None, array: str, task: str) -> Sequence[Tensor]:
    """Split an array into the parts to compare: k-space, mask and maps; of series the magnitudes; else the image."""
    if image is None:
        return ()
    if task == SERIES:
        return (aliased_series(image[None]) if array == "image" else image_from_channels(image[None]).abs(),)
    return unpack_coils(image[None]) if array == "image" and task == RECONSTRUCTION else (image,)


def _same(parts: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(parts) == len(others) and all(
        one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=TOLERANCE * float(other.abs().max()))
        for one, other in zip(parts, others, strict=True)
    )
