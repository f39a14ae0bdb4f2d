"""Files of tasks and configurations: YAML or JSON, checked against a schema, errors in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from tools.zoo.layout import read_json

SCHEMA = Path(__file__).with_name("schema.json")


class _Loader(yaml.SafeLoader):
    """Loader of plain values that refuses a key given twice, of which PyYAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key_node.value} is given twice", problem_mark=key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads a number without a point or a sign, such as 1e-4 and 1.5e3, as a text
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds one mapping of values that JSON can hold.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    if path.suffix == ".json":
        return read_json(path)
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
    try:
        return json.loads(json.dumps(found))
    except TypeError as error:
        raise ValueError(f"{path}: expected texts, numbers, lists and mappings: {error}; quote it") from None


def read_list(path: Path) -> dict[str, Any]:
    """Read a file of tasks and check its structure.

    Raises:
        ValueError: the file cannot be read, or does not follow `schema.json`.
    """
    content = read_mapping(path)
    try:
        check_structure(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return content


def check_structure(content: dict[str, Any], part: str = "") -> None:
    """Check the structure of a list, or of a mapping that a definition of `schema.json` describes.

    Raises:
        ValueError: the content differs; the message has the place, what was expected, and what was found.
    """
    schema = read_json(SCHEMA)
    if part:
        schema = {"$ref": f"#/$defs/{part}", "$defs": schema["$defs"]}
    if error := best_match(Draft202012Validator(schema).iter_errors(content)):
        raise ValueError(_explain(error, content))


def _explain(error: ValidationError, content: dict[str, Any]) -> str:
    """Return what a schema error says: where, what was expected, what was found."""
    place = list(error.absolute_path)
    if place[:1] == ["tasks"] and len(place) > 1:
        entry = content["tasks"][place[1]]
        named = isinstance(entry, dict) and isinstance(entry.get("name"), str) and place[2:] != ["name"]
        place = [f"task {entry['name'] if named else int(place[1]) + 1}", *place[2:]]
    where = "".join(f"{part}: " for part in place)
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in error.instance if key not in known)
        return f"{where}unknown key {unknown!r}; expected {', '.join(known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"{where}{missing}: missing; add it"
    while "description" not in error.schema and isinstance(error.parent, ValidationError):
        error = error.parent
    # containers and addresses of servers are not repeated, because a password may stand in them
    kinds: dict[type, str] = {dict: "a mapping", list: "a list"}
    got = kinds.get(type(error.instance)) or ("another text" if "writeOnly" in error.schema else repr(error.instance))
    return f"{where}expected {error.schema.get('description', error.message)}, got {got}; correct it"
