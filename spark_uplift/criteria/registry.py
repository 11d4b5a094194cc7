"""The split criteria by name. To add one: write its gain in one file, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spark_uplift.criteria.divergence import chi, ed, kl
from spark_uplift.criteria.effect import causal_mse, cit, cts, ddp, iddp, it
from spark_uplift.criteria.gradient import gradient
from spark_uplift.criteria.signature import compiled
from spark_uplift.errors import ConfigError, bad_value, nearest

_RJ = "Rzepakowski & Jaroszewicz 2012"
_GRF = "Athey, Tibshirani & Wager 2019"
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
    formula : callable
        The gain in Python, see `spark_uplift.criteria.signature`.
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
    formula: Callable[..., float]
    needs_squares: bool
    outcomes: frozenset[str]
    normalizations: tuple[str, ...]
    summary: str
    source: str

    @property
    def gain(self) -> Any:
        """The compiled gain, which kernels take as an argument of type `signature.GAIN_TYPE`."""
        return compiled(self.formula)


def _by_name(*criteria: Criterion) -> dict[str, Criterion]:
    return {criterion.name: criterion for criterion in criteria}


# name, formula, needs_squares, outcomes, normalizations, summary, source; one line each
CRITERIA: dict[str, Criterion] = _by_name(
    Criterion("kl", kl, False, _BINARY, _ALL, "Kullback-Leibler divergence of the arms", _RJ),
    Criterion("ed", ed, False, _BOTH, _ALL, "squared distance of the arms' means", _RJ),
    Criterion("chi", chi, False, _BINARY, _ALL, "chi-squared divergence of the arms", _RJ),
    Criterion("cts", cts, False, _BOTH, _ALL, "outcome under the best arm", "Zhao, Fang & Simchi-Levi 2017"),
    Criterion("ddp", ddp, False, _BOTH, _ALL, "difference of effects", "Hansotia & Rukstales 2002"),
    Criterion(
        "iddp", iddp, False, _BOTH, _ALL, "difference of effects beyond the node's", "Rößler et al. 2022"
    ),
    Criterion("it", it, True, _BOTH, _ALL, "squared t statistic of the interaction", "Su et al. 2009"),
    Criterion("cit", cit, True, _BOTH, _ALL, "likelihood ratio of arm and outcome", "Su et al. 2012"),
    Criterion("causal_mse", causal_mse, True, _BOTH, _ALL, "honest error of effects", "Athey & Imbens 2016"),
    Criterion("gradient", gradient, False, _BOTH, _OWN, "difference of pseudo-outcomes", _GRF),
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
