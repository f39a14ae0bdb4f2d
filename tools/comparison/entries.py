"""Entries of a comparison, read from the command line: methods without a network, or bundles with their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from common.metrics import aliased_series
from common.operators import complex_to_channels
from common.operators.cropping import center_crop
from common.operators.degradation import resize
from common.operators.zero_filled import zero_filled_image
from tools.classical import TV_WEIGHT, WAVELET_WEIGHT, require_sigpy, total_variation, wavelet
from tools.run.reading import merged, top_key
from tools.zoo.archive import unpack
from tools.zoo.layout import bundle_names, find_bundle, read_json

RECONSTRUCTION, SUPER_RESOLUTION, SERIES = "reconstruction", "super-resolution", "reconstruction of series"
"""Tasks; all methods of a comparison have the same one."""

CLASSICAL = {"tv": (total_variation, TV_WEIGHT), "wavelet": (wavelet, WAVELET_WEIGHT)}
"""Name to method and default weight of its penalty."""
ENLARGEMENTS = ("nearest", "bicubic", "lanczos")
BASELINES: dict[str, tuple[str, ...]] = {
    "zero_filled": (RECONSTRUCTION, SERIES),
    **dict.fromkeys(CLASSICAL, (RECONSTRUCTION,)),
    **dict.fromkeys(ENLARGEMENTS, (SUPER_RESOLUTION,)),
}
"""Name to the tasks that the baseline can do."""


@dataclass(frozen=True)
class Baseline:
    """A method without a network; every comparison should have one.

    Attributes:
        label: name of its row.
        tasks: tasks that the method can do.
        method: function from a measurement `(batch, channels, height, width[, depth or frames])` and the target's size
            to images. Of slices, k-space and mask become a real and imaginary image `(batch, 2, height, width)`, its
            middle part if k-space is larger. Of series, a measurement or aliased magnitudes become aliased magnitudes
            `(batch, 1, height, width, frames)`. A low-resolution image becomes a larger one.
        note: sentence below the table about its row; empty if there is none.
    """

    label: str
    tasks: tuple[str, ...]
    method: Callable[[Tensor, Sequence[int]], Tensor]
    note: str = ""


@dataclass(frozen=True)
class Bundle:
    """A bundle and its weights.

    Attributes:
        label: name of its row.
        tasks: its task.
        root: the bundle's folder, absolute.
        configs: configurations of an evaluator of truth and result, each over the one before.
        checkpoint: file of weights, absolute; None for the weights that the configuration names.
        variant: name of a variant of the configuration; empty if none.
    """

    label: str
    tasks: tuple[str, ...]
    root: Path
    configs: tuple[Path, ...]
    checkpoint: Path | None = None
    variant: str = ""
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)


Entry = Baseline | Bundle


def read_entries(texts: Sequence[str], unpack_into: Path, variant: str = "") -> list[Entry]:
    """Find the entries of texts `[LABEL=]WHAT`, see `find_entry`."""
    if not texts:
        raise ValueError("nothing to compare; give --entries, for example zero_filled,tv,NAME_OF_A_BUNDLE")
    entries = [find_entry(text, unpack_into / str(number), variant) for number, text in enumerate(texts)]
    labels = [entry.label for entry in entries]
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"two entries are called {repeated[0]}; give them names: --entries ONE={repeated[0]},...")
    if reserved := [label for label in labels if label in ("mask", "target")]:
        raise ValueError(f"an entry cannot be called {reserved[0]}, which is in every figure; give it another name")
    decisive = min(entries, key=lambda entry: len(entry.tasks))
    for entry in entries:
        if not set(decisive.tasks) <= set(entry.tasks):
            one, other = sorted((decisive, entry), key=entries.index)
            raise ValueError(
                f"{one.label} is a method of {one.tasks[0]} and {other.label} one of {other.tasks[0]}; compare methods "
                "of one task"
            )
    return entries


def find_entry(text: str, unpack_into: Path, variant: str = "") -> Entry:
    """Find the baseline of an entry, or its bundle by name, folder or zip.

    `tv:WEIGHT` and `wavelet:WEIGHT` set the weight of the penalty, `BUNDLE:FILE.pt` other weights for the same network,
    `BUNDLE@VARIANT` and `BUNDLE@VARIANT:FILE.pt` a variant of its configuration, `BUNDLE@` none.

    Args:
        text: entry of the command line, `[LABEL=]WHAT`.
        unpack_into: folder into which a zip is unpacked.
        variant: variant of the configuration for a bundle whose text names none; empty if none.
    """
    label, equals, what = text.partition("=")
    if not equals or "/" in label or ":" in label:  # the sign belongs to a path
        label, what = "", text
    name, _, parameter = what.partition(":")
    if name in BASELINES:
        return _baseline(label or what, name, parameter)
    place, checkpoint = what, ""
    if what.endswith(".pt"):
        place, _, checkpoint = what.rpartition(":")
        if not Path(checkpoint).is_file():
            raise ValueError(f"{what}: no file of weights {checkpoint}; check the path")
    before, sign, own_variant = place.rpartition("@")
    if sign and "/" not in own_variant and not Path(place).exists():  # else the sign belongs to a path
        place, variant = before, own_variant
    else:
        own_variant = ""
    root = _find_root(place, unpack_into)
    label = label or root.name + (f"@{own_variant}" if own_variant else "")
    label += f":{Path(checkpoint).stem}" if checkpoint and not equals else ""
    task = task_of(root)
    configs = _config_files(label, root, task, variant)
    weights = Path(checkpoint).resolve() if checkpoint else None
    return Bundle(label, (task,), root, configs, weights, variant, merged(configs))


def _baseline(label: str, name: str, parameter: str) -> Baseline:
    if name not in CLASSICAL:
        if parameter:
            raise ValueError(f"{name} has no parameter, got {parameter!r}; leave it out")
        method = partial(resize, kernel=name) if name in ENLARGEMENTS else _zero_filled
        return Baseline(label, BASELINES[name], method)
    require_sigpy()
    function, weight = CLASSICAL[name]
    try:
        weight = float(parameter or weight)
    except ValueError:
        raise ValueError(f"{name}:WEIGHT takes a number, got {parameter!r}; for example {name}:0.01") from None
    return Baseline(
        label,
        BASELINES[name],
        lambda measurement, size: center_crop(function(measurement, weight), size),
        f"{label}: weight of the penalty {weight:g} of the zero-filled image's largest magnitude, "
        f"{'as given' if parameter else 'the default, chosen on training data'}.",
    )


def _zero_filled(measurement: Tensor, size: Sequence[int]) -> Tensor:
    if len(size) == 3:
        return aliased_series(measurement)
    return complex_to_channels(zero_filled_image(measurement, size)[:, None])


def task_of(bundle: Path) -> str:
    """Find the task of a bundle from its inference.json.

    Super-resolution has the key `upscale`. Reconstruction of series reads frames with `CineDataset`; the number of axes
    of the network's input does not tell, because volumes have as many.
    """
    config = read_json(bundle / "configs" / "inference.json")
    if "upscale" in config:
        return SUPER_RESOLUTION
    dataset = config.get("dataset")
    reader = str(dataset.get("_target_")) if isinstance(dataset, dict) else ""
    return SERIES if reader.endswith(".CineDataset") else RECONSTRUCTION


def _config_files(label: str, bundle: Path, task: str, variant: str) -> tuple[Path, ...]:
    """List the configurations of an evaluator of truth and result; each overrides those before it.

    A bundle of reconstruction uses `inference.json`, with or without a truth in the data. A bundle of super-resolution
    would enlarge the truth with `inference.json` alone, so `evaluate.json` follows it. A variant adds
    `inference_<variant>.json` and `evaluate_<variant>.json`, each after the file it changes. If neither exists,
    `<variant>.json`, which serves training too, comes last, provided that it changes keys of the others, and that all
    further ones are whole keys of `train.json`, which inference does not read.
    """
    configs = bundle / "configs"
    plain = tuple(configs / f"{name}.json" for name in ("inference", "evaluate")[: 1 + (task == SUPER_RESOLUTION)])
    if not variant:
        return plain
    own = {path: path.with_name(f"{path.stem}_{variant}.json") for path in plain}
    if any(path.is_file() for path in own.values()):
        return tuple(path for pair in own.items() for path in pair if path in own or path.is_file())
    shared = configs / f"{variant}.json"
    training = configs / "train.json"
    if shared.is_file() and shared not in (*plain, training):
        known = {top_key(key) for key in merged(plain)}
        keys = {key for key in read_json(shared) if key[0] != "_"}
        further = {key for key in keys if top_key(key) not in known}
        if further != keys and further <= (read_json(training).keys() if training.is_file() else set()):
            return (*plain, shared)
    raise ValueError(f"{label}: has no variant {variant!r}, no {' or '.join(map(str, own.values()))}")


def _find_root(bundle: str, unpack_into: Path) -> Path:
    if bundle.endswith(".zip") and Path(bundle).is_file():
        return unpack(Path(bundle), unpack_into).resolve()
    try:
        return find_bundle(bundle)
    except ValueError:
        raise ValueError(
            f"unknown entry {bundle!r}: expected {', '.join(BASELINES)}, or a bundle ({', '.join(bundle_names())}, "
            "its folder or its zip); correct it"
        ) from None
