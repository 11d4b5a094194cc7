"""Predictions against a known truth: simulations, where the effect of every unit is known.

- ``pehe`` = sqrt(mean (predicted - effect)^2), the "precision in estimation of heterogeneous effects" (Hill 2011,
  Journal of Computational and Graphical Statistics 20, section 4);
- ``bias`` = mean (predicted - effect);
- ``correlation``: Pearson's, of predicted and true effects;
- ``regret`` = mean (net value of the best arm - net value of the recommended arm), net value of arm a being
  value * effect_a - cost_a and that of control -cost_0 (Manski 2004, Econometrica 72).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.errors import DataError, bad_value

__all__ = [
    "COLUMNS_PER_TREATMENT",
    "KnownTruth",
    "known_truth",
    "net_values",
    "recommend",
    "row_columns",
    "summarise",
]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

COLUMNS_PER_TREATMENT = 7
"""Additive columns a treatment: error, its square, effect and prediction, their squares, their product."""

_COMMON = 3  # value of the best arm, of the recommended one, whether they are the same


@dataclass(frozen=True)
class KnownTruth:
    """How predictions compare with the truth.

    Parameters
    ----------
    pehe, bias, correlation : ndarray of shape (K,), dtype=float64
        Of each treatment; in units of the outcome, but for the correlation, which is NaN where effects or predictions
        don't vary.
    best_value, value, regret : float
        Mean net value of each unit's best arm, of the recommended ones, and their difference: never negative.
    agreement : float
        Share of units whose recommended arm is one of the best [0-1].
    """

    pehe: F64
    bias: F64
    correlation: F64
    best_value: float
    value: float
    regret: float
    agreement: float


def net_values(effects: F64, value: float, costs: F64) -> F64:
    """Return each arm's net value, control first, shape (n, K + 1)."""
    gains = np.concatenate([np.zeros((effects.shape[0], 1)), effects], axis=1)
    return np.asarray(value * gains - costs)


def recommend(predicted: F64, value: float, costs: F64) -> I64:
    """Return the arm of the largest predicted net value, the first of equal ones (so control before treatments)."""
    return np.asarray(np.argmax(net_values(predicted, value, costs), axis=1), np.int64)


def row_columns(
    effects: F64, predicted: F64, chosen: I64, value: float, costs: F64, centres: tuple[F64, F64]
) -> F64:
    """Return what is averaged over rows.

    Parameters
    ----------
    effects, predicted : ndarray of shape (n, K), dtype=float64
        True and predicted effects.
    chosen : ndarray of shape (n,), dtype=int64
        Recommended arm, 0 for control.
    value : float
        Of a unit of the outcome.
    costs : ndarray of shape (K + 1,), dtype=float64
        Of each arm.
    centres : pair of ndarrays of shape (K,)
        Taken off effects and predictions before they are squared, so that no digits cancel.

    Returns
    -------
    ndarray of shape (n, 7 K + 3), dtype=float64
    """
    error, t, p = predicted - effects, effects - centres[0], predicted - centres[1]
    net = net_values(effects, value, costs)
    best, got = net.max(axis=1), net[np.arange(net.shape[0]), chosen]
    # Regret is summed as such: a difference of two means would lose digits.
    ends = np.column_stack([best, best - got, (got >= best).astype(np.float64)])
    return np.concatenate([error, error**2, t, p, t**2, p**2, t * p, ends], axis=1)


def summarise(means: F64) -> KnownTruth:
    """Return the metrics from the weighted means of `row_columns`, shape (7 K + 3,)."""
    error, square, t, p, tt, pp, tp = means[:-_COMMON].reshape(COLUMNS_PER_TREATMENT, -1)
    spread_t, spread_p = np.maximum(tt - t**2, 0.0), np.maximum(pp - p**2, 0.0)
    # A mean of squares of at most 1e-12 times the squares is rounding, not variation.
    varies = (spread_t > 1e-12 * tt) & (spread_p > 1e-12 * pp)
    product = np.where(varies, spread_t * spread_p, 1.0)
    best, regret, agreement = (float(mean) for mean in means[-_COMMON:])
    return KnownTruth(
        pehe=np.sqrt(square),
        bias=error.copy(),
        correlation=np.where(varies, np.clip((tp - t * p) / np.sqrt(product), -1.0, 1.0), np.nan),
        best_value=best,
        value=best - regret,
        regret=regret,
        agreement=agreement,
    )


def known_truth(
    *,
    effect: npt.ArrayLike,
    predicted: npt.ArrayLike,
    recommended: npt.ArrayLike | None = None,
    value: float = 1.0,
    costs: Sequence[float] | None = None,
    weight: npt.ArrayLike | None = None,
) -> KnownTruth:
    """Compare predicted effects with true ones.

    Parameters
    ----------
    effect, predicted : array_like of shape (n, K) or (n,), dtype=float64
        True and predicted effect of each treatment.
    recommended : array_like of shape (n,), dtype=int, optional
        The arm that each unit is to get, 0 for control, k for the k-th treatment; by default the one with the
        largest predicted net value, control unless a treatment is better.
    value : float
        Money, or anything, that a unit of the outcome is worth.
    costs : sequence of K + 1 floats, optional
        Cost of each arm, control first, in the unit of `value`; by default 0.
    weight : array_like of shape (n,), dtype=float64, optional
        Weights, 0 or more.

    Returns
    -------
    KnownTruth

    Raises
    ------
    DataError
        Shapes differ, values are NaN or infinite, weights negative or all 0, an arm that does not exist; all faults
        together.

    Examples
    --------
    >>> import spark_uplift as su
    >>> found = su.metrics.known_truth(effect=[0.2, 0.0, -0.1], predicted=[0.1, 0.1, -0.1])
    >>> found.pehe.round(4), found.bias.round(4), round(found.regret, 4)
    (array([0.0816]), array([0.]), 0.0)
    """
    t, p = (np.asarray(values, np.float64) for values in (effect, predicted))
    t, p = (values[:, None] if values.ndim == 1 else values for values in (t, p))
    w = np.ones(t.shape[0]) if weight is None else np.asarray(weight, np.float64)
    faults = _faults(t, p, w, costs)
    if faults:
        raise DataError(faults)
    paid = np.zeros(t.shape[1] + 1) if costs is None else np.asarray(costs, np.float64)
    chosen = recommend(p, value, paid) if recommended is None else np.asarray(recommended)
    if chosen.shape != w.shape or not np.isin(chosen, np.arange(t.shape[1] + 1)).all():
        expected = f"one arm a row, 0 … {t.shape[1]}"
        raise DataError(bad_value("recommended", "known_truth", expected, np.unique(chosen)[:10].tolist()))
    centres = (np.average(t, axis=0, weights=w), np.average(p, axis=0, weights=w))
    columns = row_columns(t, p, chosen.astype(np.int64), value, paid, centres)
    return summarise(np.average(columns, axis=0, weights=w))


def _faults(t: F64, p: F64, w: F64, costs: Sequence[float] | None) -> list[str]:
    faults = []
    if t.ndim != 2 or t.shape != p.shape or t.shape[0] == 0:
        faults.append(
            f"'effect' and 'predicted' must have the same shape (n, K) with rows. Got {t.shape} and {p.shape} instead."
        )
    if w.shape != t.shape[:1] or not np.all(np.isfinite(w) & (w >= 0)) or not w.sum() > 0:
        faults.append("'weight' must have one finite value of 0 or more a row, and a positive sum.")
    for name, values in (("effect", t), ("predicted", p)):
        unusable = int(np.sum(~np.isfinite(values)))
        if unusable:
            faults.append(f"{name!r} has {unusable} values that are NaN or infinite.")
    if costs is not None and t.ndim == 2 and (len(costs) != t.shape[1] + 1 or not np.all(np.isfinite(costs))):
        expected = f"{t.shape[1] + 1} finite numbers, one an arm, control first"
        faults.append(bad_value("costs", "known_truth", expected, costs))
    return faults
