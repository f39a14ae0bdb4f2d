"""Entries of a comparison: baselines, or bundles with their weights, read from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.comparison.baselines import BASELINES, CLASSICAL, Baseline, find_baseline, penalty_weight
from tools.comparison.tasks import task_of
from tools.zoo.archive import unpack
from tools.zoo.layout import bundle_names, find_bundle


@dataclass(frozen=True)
class BaselineEntry:
    """A method without a network.

    Attributes:
        label: name of its row.
        method: function that reconstructs or enlarges.
        tasks: tasks that the method can do.
        note: sentence below the table about its row; empty if there is none.
    """

    label: str
    method: Baseline
    tasks: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class BundleEntry:
    """A bundle and its weights.

    Attributes:
        label: name of its row.
        root: the bundle's folder, absolute.
        checkpoint: file of weights, absolute; None for the weights that the configuration names.
        variant: name of a variant of the configuration, see `bundle_runs.config_files`; empty if none.
    """

    label: str
    root: Path
    checkpoint: Path | None = None
    variant: str = ""

    @property
    def task(self) -> str:
        """Task of the bundle."""
        return task_of(self.root)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task of the bundle, as the only one."""
        return (self.task,)


Entry = BaselineEntry | BundleEntry


def read_entries(texts: Sequence[str], unpack_into: Path, variant: str = "") -> list[Entry]:
    """Find the entries of texts `[LABEL=]WHAT`, see `find_entry`.

    Raises:
        ValueError: as `find_entry`, no entry is given, two have one label, or two do different tasks.
    """
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

    Raises:
        ValueError: it is none of these, or a file is missing.
    """
    label, equals, what = text.partition("=")
    if not equals or "/" in label or ":" in label:  # the sign belongs to a path
        label, what = "", text
    name, _, parameter = what.partition(":")
    if name in BASELINES:
        return BaselineEntry(
            label or what, find_baseline(name, parameter), BASELINES[name], _note(label or what, name, parameter)
        )
    bundle, checkpoint = what, ""
    if what.endswith(".pt"):
        bundle, _, checkpoint = what.rpartition(":")
        if not Path(checkpoint).is_file():
            raise ValueError(f"{what}: no file of weights {checkpoint}; check the path")
    place, own_variant = _split_variant(bundle)
    root = _find_root(place, unpack_into)
    own_label = "".join(
        [root.name, f"@{own_variant}" if own_variant else "", f":{Path(checkpoint).stem}" if checkpoint else ""]
    )
    return BundleEntry(
        label or own_label,
        root,
        Path(checkpoint).resolve() if checkpoint else None,
        variant if own_variant is None else own_variant,
    )


def _split_variant(bundle: str) -> tuple[str, str | None]:
    """Split a bundle from its variant: None if there is no `@`, empty if the text ends with it."""
    place, sign, variant = bundle.rpartition("@")
    if not sign or "/" in variant or Path(bundle).exists():  # the sign belongs to a path
        return bundle, None
    return place, variant


def _note(label: str, name: str, parameter: str) -> str:
    if name not in CLASSICAL:
        return ""
    return (
        f"{label}: weight of the penalty {penalty_weight(name, parameter):g} of the zero-filled image's largest "
        f"magnitude, {'as given' if parameter else 'the default, chosen on training data'}."
    )


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
