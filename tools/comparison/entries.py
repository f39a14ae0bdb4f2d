"""What is compared: each entry of the command line as a baseline or a bundle with its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.comparison.baselines import BASELINES, Baseline, find_baseline
from tools.zoo.archive import unpack
from tools.zoo.layout import bundle_names, find_bundle


@dataclass(frozen=True)
class BaselineEntry:
    """A method without a network.

    Attributes:
        label: name of its row.
        method: what reconstructs.
    """

    label: str
    method: Baseline


@dataclass(frozen=True)
class BundleEntry:
    """A bundle and its weights.

    Attributes:
        label: name of its row.
        root: the bundle's folder, absolute.
        checkpoint: weights, absolute; None for those its configuration names.
    """

    label: str
    root: Path
    checkpoint: Path | None = None


Entry = BaselineEntry | BundleEntry


def read_entries(texts: Sequence[str], unpack_into: Path) -> list[Entry]:
    """Find what `[LABEL=]WHAT` name; see `find_entry`.

    Raises:
        ValueError: as `find_entry`, none is given, or a label is not its own.
    """
    if not texts:
        raise ValueError("nothing to compare; give --entries, for example zero_filled,tv,NAME_OF_A_BUNDLE")
    entries = [find_entry(text, unpack_into / str(number)) for number, text in enumerate(texts)]
    labels = [entry.label for entry in entries]
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"two entries are called {repeated[0]}; give them names: --entries ONE={repeated[0]},...")
    if reserved := [label for label in labels if label in ("mask", "target")]:
        raise ValueError(f"an entry cannot be called {reserved[0]}, which is in every figure; give it another name")
    return entries


def find_entry(text: str, unpack_into: Path) -> Entry:
    """Find what an entry names: a baseline, or a bundle by name, folder or zip.

    `tv:WEIGHT` and `wavelet:WEIGHT` set the weight of the penalty, `BUNDLE:FILE.pt` other weights for the same network.

    Args:
        text: `[LABEL=]WHAT`.
        unpack_into: where a zip goes.

    Raises:
        ValueError: it is none of these, or a file is missing.
    """
    label, equals, what = text.partition("=")
    if not equals or "/" in label or ":" in label:  # the sign belongs to a path
        label, what = "", text
    name, _, parameter = what.partition(":")
    if name in BASELINES:
        return BaselineEntry(label or what, find_baseline(name, parameter))
    bundle, checkpoint = what, ""
    if what.endswith(".pt"):
        bundle, _, checkpoint = what.rpartition(":")
        if not Path(checkpoint).is_file():
            raise ValueError(f"{what}: no file of weights {checkpoint}; check the path")
    root = _find_root(bundle, unpack_into)
    own_label = f"{root.name}:{Path(checkpoint).stem}" if checkpoint else root.name
    return BundleEntry(label or own_label, root, Path(checkpoint).resolve() if checkpoint else None)


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
