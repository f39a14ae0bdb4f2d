"""Tables of a bundle's options, of the explanations in its configurations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

CONFIGS = ("train", "inference")
_TABLE = re.compile(r"^<!-- options -->\n(?:\|[^\n]*\n)*<!-- /options -->$", re.MULTILINE)


def with_options(text: str, bundle: Path) -> str:
    """Return a document whose table between ``<!-- options -->`` and ``<!-- /options -->`` is that of a bundle.

    Args:
        text: the document.
        bundle: folder of the bundle.
    """
    return _TABLE.sub(lambda _: f"<!-- options -->\n{options_table(bundle)}\n<!-- /options -->", text)


def options_table(bundle: Path) -> str:
    """Return a Markdown table of the options of training and inference.

    A row has the option, its meaning, and its defaults; an option that one of the two lacks has no default there.

    Args:
        bundle: folder of the bundle; `_desc_` of its configurations explains their top keys.
    """
    configs = [json.loads((bundle / "configs" / f"{name}.json").read_text(encoding="utf-8")) for name in CONFIGS]
    meanings = {key: text for config in reversed(configs) for key, text in config["_desc_"].items()}
    order = dict.fromkeys(key for config in configs for key in config["_desc_"])
    rows = [
        f"| `{key}` | {meanings[key]} | {' | '.join(_default(config, key) for config in configs)} |" for key in order
    ]
    return "\n".join(["| option | meaning | training | inference |", "|---|---|---|---|", *rows])


def _default(config: dict[str, Any], key: str) -> str:
    if key not in config:
        return ""
    value = config[key]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
