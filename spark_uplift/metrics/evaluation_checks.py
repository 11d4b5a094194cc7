"""Can the evaluation itself be trusted? Rules on its curves, and a registry of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

import numpy as np

from spark_uplift.core.dtypes import WW, W
from spark_uplift.metrics.pair import CONTROL, TREATED, Pair, divide
from spark_uplift.metrics.styles.calibration import groups

__all__ = ["EVALUATION_CHECKS", "EvaluationFinding", "check_evaluation"]

PASS, WARN, FAIL = "pass", "warn", "fail"


@dataclass(frozen=True)
class EvaluationFinding:
    """What one check found about one curve: a row of ``evaluation_checks``.

    Parameters
    ----------
    check, status : str
        Name in the registry; ``pass``, ``warn`` or ``fail``.
    value, threshold : float
        What was measured (NaN: it could not be), and where the check turns, both in `unit`.
    unit, message : str
        Unit, and the finding in one sentence.
    hint : str or None
        What to do about it; None when it passed.
    """

    check: str
    status: str
    value: float
    threshold: float
    unit: str
    message: str
    hint: str | None

    def row(self) -> dict[str, object]:
        """Return the columns."""
        return asdict(self)


def _judged(
    check: str, value: float, limits: tuple[float, float], unit: str, message: str, hint: str, *, low: bool
) -> EvaluationFinding:
    """Compare a value with where it warns and where it fails; `low` tells that small values are bad."""
    warn, fail = limits
    sign = 1.0 if low else -1.0
    failed, warned = (sign * value < sign * limit for limit in (fail, warn))
    status = WARN if math.isnan(value) or warned else PASS
    status = FAIL if failed else status
    threshold = fail if status == FAIL else warn
    return EvaluationFinding(check, status, value, threshold, unit, message, None if status == PASS else hint)


def overlap(pair: Pair, least_propensity: float | None) -> EvaluationFinding:
    """Return the smallest probability of an arm: logged, or the smaller share of the two sides."""
    weights = pair.sides[..., W].sum(axis=-2)
    shared = float(weights.min() / weights.sum())
    value = shared if least_propensity is None else least_propensity
    what = "smallest logged propensity" if least_propensity is not None else "smaller arm's share"
    return _judged(
        "overlap", value, (0.05, 0.01), "probability", f"The {what} is {value:.3g}.",
        "Rows of a rare arm weigh a lot; log larger propensities, or leave out units that could hardly be treated.",
        low=True,
    )  # fmt: skip


def effective_sample_size(pair: Pair, least_propensity: float | None) -> EvaluationFinding:
    """Return Kish's effective number of rows, sum(w)^2 / sum(w^2), of the smaller side."""
    sums = pair.sides.sum(axis=-3)
    effective = divide(np.square(sums[..., W]), sums[..., WW])
    treated, control = float(effective[TREATED]), float(effective[CONTROL])
    return _judged(
        "effective_sample_size", min(treated, control), (1000.0, 100.0), "rows",
        f"Treated rows are worth {treated:,.0f} of weight 1, control rows {control:,.0f}.",
        "Intervals will be wide; evaluate on more rows, or keep weights and propensities closer together.",
        low=True,
    )  # fmt: skip


def ties(pair: Pair, least_propensity: float | None) -> EvaluationFinding:
    """Return the share of the population in the largest tie."""
    one_score = pair.low == pair.high
    largest = float(np.max(np.where(one_score, pair.mass, 0.0)) / pair.total)
    distinct = f"{pair.low.shape[0]:,} distinct scores" if pair.exact else "many distinct scores"
    return _judged(
        "ties", largest, (0.2, 0.999), "share",
        f"There are {distinct}; the largest tie holds {100 * largest:.3g} % of the rows.",
        "Units with equal scores can't be told apart; grow deeper or more trees, or use more features.",
        low=False,
    )  # fmt: skip


def score_mass(pair: Pair, least_propensity: float | None) -> EvaluationFinding:
    """Return the share of the positive predicted effects that the best tenth holds."""
    cuts = np.array([0.0, 0.1, 1.0])
    positive = divide(pair.mass * np.maximum(pair.score, 0.0), pair.mass)
    found = groups(replace(pair, score=positive), cuts)
    mass = found.mass * np.where(found.mass > 0, found.predicted, 0.0)
    total = float(mass.sum())
    value = float(mass[0]) / total if total > 0 else math.nan
    message = (
        "No predicted effect is positive."
        if math.isnan(value)
        else f"The best tenth holds {100 * value:.3g} % of all positive predicted effects."
    )
    return _judged(
        "score_mass", value, (0.5, 0.95), "share", message,
        "The result hangs on few units; look at their features, and at the model's shrinkage.",
        low=False,
    )  # fmt: skip


EvaluationCheck = Callable[[Pair, float | None], EvaluationFinding]

EVALUATION_CHECKS: Mapping[str, EvaluationCheck] = MappingProxyType(
    {
        "overlap": overlap,
        "effective_sample_size": effective_sample_size,
        "ties": ties,
        "score_mass": score_mass,
    }
)
"""All checks by name; a new one is a function and one line here."""


def check_evaluation(pair: Pair, least_propensity: float | None = None) -> list[EvaluationFinding]:
    """Return what all checks found about a curve.

    Parameters
    ----------
    pair : Pair
        The curve, without leading axes.
    least_propensity : float, optional
        Smallest logged propensity of the curve's arms; None: the design's, which is the arms' shares.
    """
    return [check(pair, least_propensity) for check in EVALUATION_CHECKS.values()]
