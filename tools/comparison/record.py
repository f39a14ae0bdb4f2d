"""Record of a comparison in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.io.atomic import atomic_path
from tools.zoo.layout import read_json

COMPARISON = "comparison.json"
RECORD_KEYS = ("dataset_dir", "reference", "options", "methods", "seconds")


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a comparison.

    Args:
        folder: folder of the comparison.
        record: "dataset_dir"; "reference", the method that the others are compared with; "options", the changed keys of
            the configurations; "methods", for each label "seconds", of a bundle also "bundle", "version", and "variant"
            and "checkpoint" if given; "seconds" of the whole comparison.
    """
    with atomic_path(folder / COMPARISON) as temporary:
        temporary.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read what `write_record` has written; None if the folder is not that of a comparison."""
    path = folder / COMPARISON
    record = read_json(path) if path.is_file() else None
    if record is not None and (missing := [key for key in RECORD_KEYS if key not in record]):
        raise ValueError(f"{path}: expected the description of a comparison, got no {missing[0]}; compare again")
    return record
