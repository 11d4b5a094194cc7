"""From a file, the environment and options to a validated configuration; the same for every kind of job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from spark_uplift import config_sources
from spark_uplift.config_base import Section
from spark_uplift.config_faults import faults_of
from spark_uplift.errors import ConfigError

__all__ = ["Rules", "Whole", "load", "parse"]

Rules = Mapping[str, Callable[[Mapping[str, Any]], list[str]]]
"""By section: what several keys of it get wrong together; values may be missing or ill-typed."""


class Whole(Section):
    """A whole configuration, which one file holds."""

    def canonical_json(self) -> str:
        """Return the configuration, defaults included, as JSON with sorted keys and no white space."""
        values = self.model_dump(mode="json")
        return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @property
    def sha256(self) -> str:
        """Hex digest of `canonical_json`."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()


Kind = TypeVar("Kind", bound=Whole)


def parse(values: Mapping[str, Any], model: type[Kind], rules: Rules) -> Kind:
    """Validate a configuration that is already a mapping.

    Parameters
    ----------
    values : mapping
        Sections and keys.
    model : type
        What it must be.
    rules : mapping of str to callable
        See `Rules`; the key ``""`` stands for the whole.

    Raises
    ------
    ConfigError
        With every fault.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found = faults_of(error, model)
        for section, rule in rules.items():
            part = values if section == "" else values.get(section)
            if isinstance(part, Mapping):
                found += rule(part)
        raise ConfigError(found) from None


def load(
    path: str | Path,
    overrides: Sequence[str],
    environ: Mapping[str, str] | None,
    model: type[Kind],
    rules: Rules,
) -> Kind:
    """Read a YAML file, apply environment variables and overrides, and validate the result.

    Parameters
    ----------
    path, overrides, environ
        See `spark_uplift.load_config`.
    model, rules
        See `parse`.

    Raises
    ------
    ConfigError
        With every fault of the file, the environment, the overrides and the values.
    """
    values, faults = config_sources.merge(path, overrides, environ, model)
    try:
        config = parse(values, model, rules)
    except ConfigError as error:
        raise ConfigError(faults + error.faults) from None
    if faults:
        raise ConfigError(faults)
    return config
