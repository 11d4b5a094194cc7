"""Where configuration values come from: a YAML file, environment variables, ``--set`` options.

YAML is read by the rules of version 1.2 where they differ from 1.1 and matter here: ``no`` and ``on`` are
texts (they are names of arms), ``1e-3`` is a number, and a key given twice is a fault. Tags that build
Python objects are refused.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from spark_uplift.errors import nearest

__all__ = ["ENV_PREFIX", "merge"]

ENV_PREFIX = "SPARK_UPLIFT__"
_OPEN = ("conf", "shares")  # mappings whose keys are the user's; Spark's settings have dots in them


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no type information
    """SafeLoader with YAML 1.2's booleans and floats, and without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int, float)) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, (str, int, float)) else str(key))
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag not in (_BOOL, _FLOAT)]
    for (_BOOL, _FLOAT) in [("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")]
    for first, rules in copy.deepcopy(yaml.SafeLoader.yaml_implicit_resolvers).items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN)$"
    ),
    list("-+0123456789."),
)


def merge(
    path: str | Path,
    overrides: Sequence[str],
    environ: Mapping[str, str] | None,
    model: type[BaseModel],
) -> tuple[dict[str, Any], list[str]]:
    """Return the merged raw values, and the faults met on the way.

    Parameters
    ----------
    path : str or Path
        YAML file.
    overrides : sequence of str
        ``"section.key=value"``.
    environ : mapping of str to str, optional
        Environment; the process's by default.
    model : type
        Names the keys, which environment variables may write in any case.
    """
    values, faults = _read(Path(path))
    for variable, text in sorted((os.environ if environ is None else environ).items()):
        if variable.startswith(ENV_PREFIX):
            keys = _names(variable.removeprefix(ENV_PREFIX).split("__"), model)
            faults += _assign(values, keys, text, f"The environment variable {variable}")
    for override in overrides:
        target, equals, text = override.partition("=")
        if not equals or not target.strip():
            faults.append(
                f"The '--set' option must be KEY=VALUE, e.g. forest.numTrees=20. Got {override!r} instead."
            )
            continue
        faults += _assign(values, _split(target.strip()), text, f"The '--set' option {target.strip()!r}")
    return values, faults


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        near = None
        if path.parent.is_dir():
            near = nearest(path.name, [entry.name for entry in path.parent.iterdir()])
        hint = f" Hint: did you mean '{path.parent / near}'?" if near else ""
        return {}, [f"The configuration file '{path}' can't be read: {error.strerror}.{hint}"]
    except UnicodeDecodeError:
        return {}, [f"The configuration file '{path}' is not UTF-8 text."]
    try:
        values = yaml.load(text, _Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        return {}, [f"The configuration file '{path}' is not valid YAML: {_one_line(error)}"]
    if not isinstance(values, dict):
        return {}, [f"The configuration file '{path}' must hold keys and values. Got {values!r} instead."]
    return values, []


def _one_line(error: yaml.YAMLError) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()


def _split(target: str) -> list[str]:
    """Split a dotted key; what follows an open mapping is one key, dots and all."""
    keys = target.split(".")
    for depth, key in enumerate(keys[:-1]):
        if depth > 0 and key in _OPEN:
            return [*keys[: depth + 1], ".".join(keys[depth + 1 :])]
    return keys


def _names(keys: list[str], model: type[BaseModel]) -> list[str]:
    """Give upper-case keys the case of the model's; unknown ones stay and are reported by the validation."""
    found: list[str] = []
    here: Any = model
    for key in keys:
        fields = getattr(here, "model_fields", {})
        name = next((name for name in fields if name.lower() == key.lower()), key.lower() if fields else key)
        found.append(name)
        here = fields[name].annotation if name in fields else None
    return found


def _assign(values: dict[str, Any], keys: list[str], text: str, source: str) -> list[str]:
    try:
        value = yaml.load(text, _Loader) if text.strip() else None
    except yaml.YAMLError as error:
        return [f"{source} is not valid YAML: {_one_line(error)}"]
    here = values
    for depth, key in enumerate(keys[:-1]):
        if here.get(key) is None:
            here[key] = {}
        if not isinstance(here[key], dict):
            return [f"{source} can't be set: {'.'.join(keys[: depth + 1])!r} is not a section."]
        here = here[key]
    here[keys[-1]] = value
    return []
