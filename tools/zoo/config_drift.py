"""Comparison of what two configs build from one key, through their `@` and `%` references."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_REFERENCE = re.compile(r"[@%]([A-Za-z_]\w*(?:(?:#|::)\w+)*)")
_ABSENT = "nothing"


def config_differences(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> list[tuple[str, Any, Any]]:
    """Return where and how the values of a key differ in two configs.

    A reference to another key stands for that key's value: if both configs say `"width": "@width"` there, then the
    two `width`s are compared. Descriptions (`_desc_`) make no difference.

    Returns:
        For each difference the place, such as `network_def#width (@width)`, and both values.
    """
    return list(_differences((one.get(key, _ABSENT), one), (other.get(key, _ABSENT), other), key, frozenset()))


def _differences(
    one: tuple[Any, Mapping[str, Any]], other: tuple[Any, Mapping[str, Any]], place: str, seen: frozenset[str]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the differences of two values, each with the config that it is from; `seen` are references on the way."""
    (mine, my_config), (yours, your_config) = one, other
    if mine == yours and isinstance(mine, str):
        for name in dict.fromkeys(_REFERENCE.findall(mine)):
            if name not in seen:
                values = (_look_up(my_config, name), my_config), (_look_up(your_config, name), your_config)
                yield from _differences(*values, f"{place} (@{name})", seen | {name})
    elif (mine_behind := _followed(mine, my_config)) is not mine or _followed(yours, your_config) is not yours:
        yield from _differences((mine_behind, my_config), (_followed(yours, your_config), your_config), place, seen)
    elif isinstance(mine, dict) and isinstance(yours, dict):
        for key in dict.fromkeys([*mine, *yours]):
            if key != "_desc_":
                values = (mine.get(key, _ABSENT), my_config), (yours.get(key, _ABSENT), your_config)
                yield from _differences(*values, f"{place}#{key}", seen)
    elif isinstance(mine, list) and isinstance(yours, list) and len(mine) == len(yours):
        for i, (a, b) in enumerate(zip(mine, yours, strict=True)):
            yield from _differences((a, my_config), (b, your_config), f"{place}#{i}", seen)
    elif mine != yours:
        yield place, mine, yours


def _followed(value: Any, config: Mapping[str, Any]) -> Any:
    """Return what a value refers to that is a reference and nothing more; any other value itself."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return _look_up(config, found[1]) if found else value


def _look_up(config: Any, name: str) -> Any:
    for part in re.split("#|::", name):
        if isinstance(config, Mapping) and part in config:
            config = config[part]
        elif isinstance(config, list) and part.isdigit() and int(part) < len(config):
            config = config[int(part)]
        else:
            return _ABSENT
    return config
