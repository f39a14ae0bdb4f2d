"""YAML as its writer means it: a key twice is an error, and 1e-4 is a number."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key of a mapping twice, of which PyYAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key_node.value} is given twice", problem_mark=key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes a number without a point or a sign, such as 1e-4 and 1.5e3, for a text
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds one mapping, with texts as keys.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{path}{where}: expected YAML, got: {error.problem}; mend it") from None
    except OSError as error:
        raise ValueError(f"{path}: expected a YAML file, got: {error.strerror}; check the path") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: expected a YAML file, got {' '.join(str(error).split())}; mend it") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ValueError(f"{path}: expected `key: value` lines, got {type(found).__name__}; mend it")
    return found
