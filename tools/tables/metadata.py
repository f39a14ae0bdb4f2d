"""The numbers under `eval_metrics` of a bundle's metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.zoo.layout import read_json

KEY = "eval_metrics"


def read_numbers(path: Path) -> dict[str, Any]:
    """What the file has of them.

    Raises:
        ValueError: the file is damaged.
    """
    found = read_json(path).get(KEY, {})
    if not isinstance(found, dict):
        raise ValueError(f"{path}: {KEY}: expected an object, got {found!r}; mend it")
    return found


def replace_numbers(text: str, numbers: Mapping[str, float], path: Path) -> str:
    """The text of the file with other numbers; all else as it is written.

    Raises:
        ValueError: it has no such key.
    """
    key = re.search(rf'^(\s*)"{KEY}"\s*:\s*', text, re.MULTILINE)
    if key is None:
        raise ValueError(f'{path}: expected a key "{KEY}" on a line of its own, got none; add "{KEY}": {{}}')
    indent = key[1].rpartition("\n")[2]
    _, end = json.JSONDecoder().raw_decode(text, key.end())
    new = json.dumps(numbers, indent=len(indent) or 4).replace("\n", f"\n{indent}")
    return f"{text[: key.end()]}{new}{text[end:]}"
