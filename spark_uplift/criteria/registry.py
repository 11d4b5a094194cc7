"""The split criteria by name. To add one: write its gain in one file, and one line here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from spark_uplift.criteria.divergence import chi, ed, kl
from spark_uplift.criteria.gradient import gradient
from spark_uplift.errors import ConfigError, bad_value, nearest

_ALL = ("none", "paper", "causalml")
_OWN = ("none", "paper")
_BINARY = frozenset({"binary"})
_BOTH = frozenset({"binary", "continuous"})


@dataclass(frozen=True)
class Criterion:
    """A split criterion.

    Attributes
    ----------
    name : str
        Name in the registry and in the public API.
    gain : compiled gain
        See `spark_uplift.criteria.signature`.
    needs_squares : bool
        Whether the gain reads the third column of the tables, the sums of ``w*y*y``.
    outcomes : frozenset of {"binary", "continuous"}
        Outcomes that the criterion is defined for.
    normalizations : tuple of str
        Names of `signature.NORMALIZATION_CODES` that it accepts.
    summary : str
        What it looks for, in a line.
    source : str
        Where the formula comes from.
    """

    name: str
    gain: Any
    needs_squares: bool
    outcomes: frozenset[str]
    normalizations: tuple[str, ...]
    summary: str
    source: str


def _by_name(criteria: Iterable[Criterion]) -> dict[str, Criterion]:
    return {criterion.name: criterion for criterion in criteria}


CRITERIA: dict[str, Criterion] = _by_name(
    [
        Criterion(
            "kl",
            kl,
            False,
            _BINARY,
            _ALL,
            "Kullback-Leibler divergence of the arms",
            "Rzepakowski & Jaroszewicz 2012",
        ),
        Criterion(
            "ed",
            ed,
            False,
            _BOTH,
            _ALL,
            "squared distance of the arms' means",
            "Rzepakowski & Jaroszewicz 2012",
        ),
        Criterion(
            "chi",
            chi,
            False,
            _BINARY,
            _ALL,
            "chi-squared divergence of the arms",
            "Rzepakowski & Jaroszewicz 2012",
        ),
        Criterion(
            "gradient",
            gradient,
            False,
            _BOTH,
            _OWN,
            "difference of effects, n_L*n_R-weighted",
            "Athey, Tibshirani & Wager 2019",
        ),
    ]
)
"""All criteria, by name."""


def get(name: str) -> Criterion:
    """Return the criterion called ``name``.

    Raises
    ------
    ConfigError
        When there is none; the message lists the names and the nearest one.
    """
    if name in CRITERIA:
        return CRITERIA[name]
    near = nearest(str(name), CRITERIA)
    hint = f"did you mean '{near}'?" if near else None
    raise ConfigError(bad_value("criterion", "UpliftForest", f"one of {', '.join(CRITERIA)}", name, hint))
