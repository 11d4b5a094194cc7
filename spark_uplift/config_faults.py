"""Turns pydantic's errors into the package's sentences, with the nearest name for unknown keys."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal, Union

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from spark_uplift.errors import bad_value, nearest

__all__ = ["RuleError", "faults_of"]

OWNER = "the configuration"

_WORDS = {int: "an int", float: "a number", str: "a text", bool: "true or false"}


class RuleError(ValueError):
    """Faults of several keys together; the caller finds them again from the raw values."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one sentence a fault, in the order of the fields; a fault of a union's branches counts once.

    Parameters
    ----------
    error : ValidationError
        What pydantic found.
    model : type
        The model that was validated.
    """
    found: dict[str, str] = {}
    for item in error.errors(include_url=False):
        if item["type"] == "value_error" and isinstance(item.get("ctx", {}).get("error"), RuleError):
            continue
        owner, field, keys = _locate(model, item["loc"])
        where = ".".join(keys)
        if item["type"] == "extra_forbidden":
            found[where] = _unknown(where, owner)
        elif item["type"] == "missing":
            found[where] = f"The {where!r} parameter of {OWNER} is missing: {_describe(field)}."
        else:
            found.setdefault(where, _bad(where, field, item["input"], item["type"]))
    return list(found.values())


def _locate(
    model: type[BaseModel], location: tuple[int | str, ...]
) -> tuple[type[BaseModel], FieldInfo | None, list[str]]:
    """Follow an error's location; pydantic appends names of union branches and types, which are no keys."""
    owner, field, keys = model, None, []
    here: Any = model
    for part in location:
        here = _plain(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            owner, field = here, here.model_fields.get(str(part))
            keys.append(str(part))
            if field is None:
                break
            here = field.annotation
        elif typing.get_origin(here) is tuple and isinstance(part, int):
            keys.append(str(part))
            here = typing.get_args(here)[0]
    return owner, field, keys


def _plain(annotation: Any) -> Any:
    """Return what an annotation is about, without constraints and without null."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        return _plain(parts[0]) if len(parts) == 1 else annotation
    return annotation


def _unknown(where: str, owner: type[BaseModel]) -> str:
    key = where.rpartition(".")[2]
    near = nearest(key, owner.model_fields)
    hint = f"did you mean {near!r}?" if near else f"known keys here are {list(owner.model_fields)}."
    return f"The {where!r} parameter of {OWNER} is unknown. Hint: {hint}"


def _bad(where: str, field: FieldInfo | None, got: Any, kind: str) -> str:
    hint = None
    if isinstance(got, (bool, int, float)) and kind == "string_type":
        hint = f'put it in quotes: {where.rpartition(".")[2]}: "{got}"'
    return bad_value(where, OWNER, _expected(field), got, hint)


def _expected(field: FieldInfo | None) -> str:
    if field is None:
        return "left out"
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "expected" in extra:
        return str(extra["expected"])
    return _type_words(field.annotation, list(field.metadata))


def _type_words(annotation: Any, metadata: list[Any]) -> str:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_words(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, types.UnionType):
        return (
            " or ".join(_type_words(part, metadata) for part in arguments if part is not type(None))
            + " or null"
        )
    if origin is Literal:
        return f"one of {list(arguments)}"
    if origin is tuple:
        return f"a list, each {_type_words(arguments[0], [])}"
    if origin is dict:
        return f"a mapping, each value {_type_words(arguments[1], [])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a section of keys"
    words = _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))
    interval = _interval(metadata)
    if annotation is str:
        filled = any(isinstance(item, annotated_types.MinLen) for item in _flat(metadata))
        return f"{words} that is not empty" if filled else words
    return f"{words} in the range {interval}" if interval else words


def _interval(metadata: list[Any]) -> str | None:
    """Write the bounds among constraints as an interval, e.g. ``[2, 254]`` or ``(0, inf)``."""
    low = high = None
    for item in _flat(metadata):
        if isinstance(item, annotated_types.Ge):
            low = f"[{item.ge}"
        elif isinstance(item, annotated_types.Gt):
            low = f"({item.gt}"
        elif isinstance(item, annotated_types.Le):
            high = f"{item.le}]"
        elif isinstance(item, annotated_types.Lt):
            high = f"{item.lt})"
    return f"{low or '(-inf'}, {high or 'inf)'}" if low or high else None


def _flat(metadata: list[Any]) -> list[Any]:
    """Unfold ``Field(...)`` inside ``Annotated``, which carries its constraints one level down."""
    flat: list[Any] = []
    for item in metadata:
        flat.extend(_flat(list(item.metadata)) if isinstance(item, FieldInfo) else [item])
    return flat


def _describe(field: FieldInfo | None) -> str:
    text = (field.description if field is not None else None) or "a section of keys"
    return (text[0].lower() + text[1:]).rstrip(".")
