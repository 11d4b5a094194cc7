r"""Are the predicted effects right in size, and is there any heterogeneity at all?

With s the predicted effect of a row and G its doubly robust score (where there is none: the inverse-propensity
score with the arms' means taken out, see `Pair.adjusted`):

- best linear projection of the effect on the prediction, E[G | s] = a + b*s: ``calibration_slope`` is b (1 when
  differences between units are predicted in their true size, 0 when they are not predicted at all), and
  ``calibration_intercept`` a;
- ``calibration_mean``: mean of G / mean of s (1 when the average effect is predicted right);
- ``calibration_r2``: by tenths of the prediction, 1 - sum(m*(effect - predicted)^2) / sum(m*(effect - their
  mean)^2). The effects of groups are estimates, so noise lowers it: compare it between models of the same rows;
- ``heterogeneity``: b times the standard deviation of s, the spread of the effect that the ranking explains, in
  units of the outcome. Its p-value, of no heterogeneity that the scores would find, is twice the smaller one of
  those of the slope and of AUTOC (Bonferroni), each one-sided;
- ``gates_at_k``: group average treatment effect of the best share k minus that of the worst.

Sources: Chernozhukov, Demirer, Duflo & Fernandez-Val (2018), "Generic machine learning inference on heterogeneous
treatment effects", arXiv:1712.04802, sections 3 and 4 (BLP and GATES); grf's ``test_calibration`` (mean and
differential forest prediction); Dwivedi et al. (2020), arXiv:2008.10109, for calibration by bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spark_uplift.core.dtypes import WY, W
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import CONTROL, TREATED, Pair, at_each, divide, prepend_zero
from spark_uplift.metrics.registry import FAMILIES, Metric, register

__all__ = ["Groups", "gates_difference", "groups", "intercept", "r_squared", "slope"]

_TENTHS = np.arange(11) / 10.0


class Groups(NamedTuple):
    """Groups of the population by predicted effect, the best first; arrays of shape (..., groups).

    `mass` is their size in rows, `predicted` the mean prediction, `effect` the average effect: the mean doubly
    robust score, or the difference in means (NaN where an arm is missing).
    """

    mass: F64
    predicted: F64
    effect: F64


def groups(pair: Pair, shares: F64) -> Groups:
    """Cut the population at cumulative shares of it; a tie at a cut is entered in part, each of its rows alike.

    Parameters
    ----------
    pair : Pair
        The curve.
    shares : ndarray of shape (groups + 1,), dtype=float64
        Ascending cuts in [0, 1].
    """
    x = prepend_zero(pair.population)
    where = shares * pair.total[..., None]

    def between(values: F64) -> F64:
        return np.diff(at_each(where, x, prepend_zero(np.cumsum(values, axis=-1))), axis=-1)

    mass = between(pair.mass)
    predicted = divide(between(pair.mass * pair.score), mass, empty=np.nan)
    if pair.dr is not None:
        return Groups(mass, predicted, divide(between(pair.gain), mass, empty=np.nan))
    mean_t, mean_c = (
        divide(between(pair.sides[..., side, WY]), between(pair.sides[..., side, W]), empty=np.nan)
        for side in (TREATED, CONTROL)
    )
    return Groups(mass, predicted, np.asarray(mean_t - mean_c))


def _mean_score(pair: Pair) -> F64:
    return divide((pair.mass * pair.score).sum(-1), pair.total)


def _moments(pair: Pair) -> tuple[F64, F64]:
    """Return the sums over rows of (s - mean)*G and (s - mean)^2."""
    off = pair.score - _mean_score(pair)[..., None]
    return (pair.adjusted * off).sum(-1), (pair.mass * np.square(off)).sum(-1)


def slope(pair: Pair) -> F64:
    """Return b of the best linear projection; NaN when all scores are equal."""
    together, alone = _moments(pair)
    return divide(together, alone, empty=np.nan)


def _mean_effect(pair: Pair) -> F64:
    return divide(pair.adjusted.sum(-1), pair.total)


def intercept(pair: Pair) -> F64:
    """Return a of the best linear projection; NaN when all scores are equal."""
    return np.asarray(_mean_effect(pair) - slope(pair) * _mean_score(pair))


def _mean_ratio(pair: Pair) -> F64:
    return divide(_mean_effect(pair), _mean_score(pair), empty=np.nan)


def _explained(pair: Pair) -> F64:
    """Return b * sd(s); 0 when all scores are equal."""
    together, alone = _moments(pair)
    return divide(together, np.sqrt(alone * pair.total))


def r_squared(pair: Pair) -> F64:
    """Return the R^2 by tenths; those that lack an arm are left out, and NaN without any spread of effects."""
    found = groups(pair, _TENTHS)
    known = np.isfinite(found.effect) & np.isfinite(found.predicted)
    mass = np.where(known, found.mass, 0.0)
    effect, predicted = (np.where(known, v, 0.0) for v in (found.effect, found.predicted))
    mean = divide((mass * effect).sum(-1), mass.sum(-1))[..., None]
    off = (mass * np.square(effect - predicted)).sum(-1)
    spread = (mass * np.square(effect - mean)).sum(-1)
    return 1.0 - divide(off, spread, empty=np.nan)


def gates_difference(pair: Pair, k: float) -> F64:
    """Return the effect of the best share `k` minus that of the worst; NaN where one lacks an arm."""
    share = min(k, 0.5)
    effect = groups(pair, np.array([0.0, share, 1.0 - share, 1.0])).effect
    return np.asarray(effect[..., 0] - effect[..., 2])


def _gates_at(k: float, _: str) -> Metric:
    return Metric(
        f"gates_at_{100 * k:g}",
        "grf",
        f"average effect of the best {100 * k:g} % minus that of the worst {100 * k:g} %",
        lambda pair: gates_difference(pair, k),
        per_row=True,
        test="greater",
    )


_BLP = "effect projected on the prediction s, G = a + b*s + rest, G adjusted for the arms' means: "

FAMILIES["grf", "gates_at_k"] = _gates_at
for _metric in (
    Metric(
        "calibration_slope", "grf", f"{_BLP}b; 1 is right, 0 says nothing is predicted", slope,
        larger_is_better=None, reported=True, test="greater", scale_free=False,
    ),
    Metric(
        "calibration_intercept", "grf", f"{_BLP}a; 0 is right", intercept,
        larger_is_better=None, reported=True, scale_free=False,
    ),
    Metric(
        "calibration_mean", "grf", "mean effect / mean prediction; 1 is right", _mean_ratio,
        larger_is_better=None, reported=True, scale_free=False,
    ),
    Metric(
        "calibration_r2", "grf",
        "by tenths: 1 - sum m*(effect - predicted)^2 / sum m*(effect - mean effect)^2", r_squared,
        per_row=True, reported=True, scale_free=False,
    ),
    Metric(
        "heterogeneity", "grf",
        f"{_BLP}b times the standard deviation of s; p-value: twice the smaller one of calibration_slope and autoc",
        _explained, reported=True, scale_free=False,
    ),
):  # fmt: skip
    register(_metric)
