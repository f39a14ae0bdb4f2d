"""Variables in definitions: `{rate}` in a text, and what stands for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def fill(value: Any, variables: Mapping[str, Any], where: str) -> Any:
    """A value with each `{name}` in its texts replaced; a text that is one variable and no more becomes its value.

    Args:
        value: of JSON, nested as it may be.
        variables: name to value.
        where: in errors.

    Raises:
        ValueError: for a variable that is not known.
    """
    if isinstance(value, dict):
        return {fill(key, variables, where): fill(inner, variables, where) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, variables, where) for inner in value]
    if not isinstance(value, str):
        return value
    if unknown := [name for name in _VARIABLE.findall(value) if name not in variables]:
        known = ", ".join(variables) or "none"
        raise ValueError(
            f"{where}: no variable {{{unknown[0]}}} for {value!r}, known here: {known}; add it under `set`"
        )
    if whole := _VARIABLE.fullmatch(value):
        return variables[whole[1]]
    return _VARIABLE.sub(lambda found: str(variables[found[1]]), value)


def variables_of(value: Any) -> set[str]:
    """The names of the variables in a value's texts."""
    if isinstance(value, dict):
        return variables_of([*value, *value.values()])
    if isinstance(value, list):
        return set().union(*map(variables_of, value))
    return set(_VARIABLE.findall(value)) if isinstance(value, str) else set()


def combinations(ranges: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    """The variables of each combination: `{"a": [1, 2], "b": [3]}` gives `{a: 1, b: 3}` and `{a: 2, b: 3}`.

    A value that is an object stands for several variables that change together: `{"rate": [{"accel": 4, "centre":
    0.08}]}` gives `{accel: 4, centre: 0.08}`.
    """
    named = [
        [dict(value) if isinstance(value, dict) else {name: value} for value in values]
        for name, values in ranges.items()
    ]
    return [{name: value for part in parts for name, value in part.items()} for parts in product(*named)]
