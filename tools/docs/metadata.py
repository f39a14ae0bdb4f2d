"""The numbers under `eval_metrics` of a bundle's metadata: each key names a row of `results.csv`."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pandas as pd

from tools.docs.results import IDENTITY

_METRICS = re.compile(r'(?P<before>^ *"eval_metrics": )\{[^{}]*\}', re.MULTILINE)


def keys_of(frame: pd.DataFrame) -> pd.Series:
    """Return the key of each row: data, protocol, method, mask, rate and metric, without empty ones, joined by /."""
    return frame[list(IDENTITY)].apply(lambda row: "/".join(filter(None, row)), axis=1)


def with_metrics(text: str, path: Path, frame: pd.DataFrame) -> str:
    """Return the metadata with the mean of its row for each key under `eval_metrics`; all else stays as it is.

    Raises:
        ValueError: a key names no row, or a row without a finite mean.
    """
    found = _METRICS.search(text)
    if found is None:
        raise ValueError(f'{path}: expected a key "eval_metrics" on a line of its own, got none; add it')
    keys = json.loads(text)["eval_metrics"]
    means = dict(zip(keys_of(frame), frame["mean"], strict=True))
    for key in keys:
        if key not in means or not math.isfinite(means[key]):
            raise ValueError(
                f"{path}: eval_metrics: {key}: results.csv has no such row with a finite mean; a key is "
                f"{'/'.join(IDENTITY)} of a row, for example {next(iter(means), '')}"
            )
    indent = len(found["before"]) - len(found["before"].lstrip(" "))
    lines = json.dumps({key: means[key] for key in keys}, indent=4)
    return text[: found.start()] + found["before"] + lines.replace("\n", "\n" + " " * indent) + text[found.end() :]
