"""Cross-fitted outcome models from sums alone, and doubly robust scores.

The data are cut into folds by the hash of the unit. From the sums of products of every (fold, arm) the driver gets the
ridge regression of each arm on all folds but one by adding up the others' sums: no row is looked at twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.core.sampling import NUISANCE, mix
from spark_uplift.metrics.nuisance_design import LINEAR_STEPS, Design, Grid

__all__ = ["OutcomeModel", "aipw", "fit_outcomes", "fold_of"]

PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
"""Ridge penalties that are tried, in rows of mean weight."""

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class OutcomeModel:
    """Ridge regressions of the outcome, one for each fold and arm.

    Parameters
    ----------
    coefficients : ndarray of shape (folds, p, A), dtype=float64
        Model f was fitted on all folds but f; per step of a column, see `Design.standardised`.
    penalties : ndarray of shape (folds, A), dtype=float64
        Chosen penalty; NaN where the model is a constant for lack of rows.
    borrowed : ndarray of shape (folds, A), dtype=bool
        The arm has no rows outside the fold: its model is the mean of all arms there.
    """

    coefficients: F64
    penalties: F64
    borrowed: npt.NDArray[np.bool_]


def fold_of(seed: int, units: U64, folds: int) -> I64:
    """Return each unit's fold, 0 … folds - 1, ndarray of shape (n,), dtype=int64.

    Parameters
    ----------
    seed : int
        The user's seed.
    units : ndarray of shape (n,), dtype=uint64
        Hashes of the units or clusters.
    folds : int
        How many there are.
    """
    high = mix(seed, NUISANCE, 0, units) >> np.uint64(32)
    return ((high * np.uint64(folds)) >> np.uint64(32)).astype(np.int64)


@dataclass(frozen=True)
class _Sums:
    """X'WX (p, p), X'Wy (p,) of some rows, in units of weight and outcome, intercept first."""

    products: F64
    outcomes: F64

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.products + other.products, self.outcomes + other.outcomes)

    @property
    def weight(self) -> float:
        return float(self.products[0, 0])

    @property
    def mean(self) -> float:
        return float(self.outcomes[0] / self.products[0, 0])


def _scaled(sums: I64, design: Design, grid: Grid) -> list[list[_Sums]]:
    """Return the sums of each fold and arm in units of the data."""
    width = sums.shape[-2]
    steps = np.ones(width)
    steps[design.linear[design.linear >= 0]] = LINEAR_STEPS
    found = []
    for of_fold in sums:
        parts = []
        for one in of_fold:
            half = one[:, :width].astype(np.float64)
            products = (half + half.T - np.diag(np.diag(half))) * grid.weight / np.outer(steps, steps)
            high, low = one[:, width].astype(np.float64), one[:, width + 1].astype(np.float64)
            outcomes = (high * 2.0**grid.lane + low) * grid.outcome * grid.weight / steps
            parts.append(_Sums(products, outcomes))
        found.append(parts)
    return found


def _ridge(sums: _Sums, penalties: tuple[float, ...]) -> F64:
    """Return the coefficients for each penalty, shape (penalties, p); the intercept is not penalised.

    Hoerl & Kennard 1970: (X'WX + penalty I)^-1 X'Wy of centred columns, by one eigendecomposition for all penalties.
    """
    means = sums.products[0, 1:] / sums.weight
    centred = sums.products[1:, 1:] - sums.weight * np.outer(means, means)
    moment = sums.outcomes[1:] - sums.outcomes[0] * means
    values, vectors = np.linalg.eigh(centred)
    rotated = vectors.T @ moment
    shrunk = rotated / (np.maximum(values, 0.0) + np.array(penalties)[:, None])
    slopes = shrunk @ vectors.T
    return np.column_stack([sums.mean - slopes @ means, slopes])


def _loss(coefficients: F64, sums: _Sums) -> F64:
    """Return each model's weighted squared error on the rows of the sums, but for a constant."""
    squares: F64 = ((coefficients @ sums.products) * coefficients).sum(axis=1)
    return squares - 2.0 * coefficients @ sums.outcomes


def fit_outcomes(sums: I64, design: Design, grid: Grid) -> OutcomeModel:
    """Fit the outcome of each arm on all folds but one, for each of these.

    The penalty is chosen for each of the models by cross-validation within the folds that it is fitted on, so that
    predictions of a fold owe nothing to its own rows. An arm without rows in these folds gets the mean outcome of all
    arms there.

    Parameters
    ----------
    sums : ndarray of shape (folds, A, p, p + 2), dtype=int64
        See `add_rows`.
    design, grid
        Columns and units.
    """
    folds, arms, width = sums.shape[:3]
    parts = _scaled(sums, design, grid)
    coefficients = np.zeros((folds, width, arms))
    penalties = np.full((folds, arms), np.nan)
    borrowed = np.zeros((folds, arms), np.bool_)
    for arm in range(arms):
        own = [parts[fold][arm] for fold in range(folds)]
        tried: dict[frozenset[int], F64] = {}
        for fold in range(folds):
            outside = [g for g in range(folds) if g != fold]
            training = _total([own[g] for g in outside])
            if training.weight <= 0.0:
                everybody = _total([parts[g][a] for g in outside for a in range(arms)])
                coefficients[fold, 0, arm] = everybody.mean if everybody.weight > 0.0 else 0.0
                borrowed[fold, arm] = True
                continue
            losses = _losses(own, fold, outside, tried)
            best = int(np.argmin(losses)) if losses is not None else len(PENALTIES) - 1
            penalties[fold, arm] = PENALTIES[best]
            coefficients[fold, :, arm] = _ridge(training, (PENALTIES[best],))[0]
    coefficients[:, design.linear[design.linear >= 0]] /= LINEAR_STEPS
    return OutcomeModel(coefficients, penalties, borrowed)


def _total(parts: list[_Sums]) -> _Sums:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _losses(own: list[_Sums], fold: int, outside: list[int], tried: dict[frozenset[int], F64]) -> F64 | None:
    """Return the loss of each penalty within the folds other than `fold`; None where nothing can be held out."""
    losses = None
    for held in outside:
        pair = frozenset((fold, held))
        training = [own[g] for g in outside if g != held]
        if not training or own[held].weight <= 0.0 or _total(training).weight <= 0.0:
            continue
        if pair not in tried:  # the pair (held, fold) leaves the same folds
            tried[pair] = _ridge(_total(training), PENALTIES)
        loss = _loss(tried[pair], own[held])
        losses = loss if losses is None else losses + loss
    return losses


def aipw(outcomes: F64, arms: I64, own_propensity: F64, predicted: F64) -> F64:
    """Return the doubly robust score of every arm (AIPW; Robins, Rotnitzky & Zhao 1994).

    mu_a + 1[arm = a] (y - mu_a) / e_a: its mean is the mean outcome under arm a if either the outcome model mu or the
    propensity e is right; differences of two arms' scores are those of Athey & Wager 2021 (policy learning), eq. 11.

    Parameters
    ----------
    outcomes : ndarray of shape (n,), dtype=float64
        y.
    arms : ndarray of shape (n,), dtype=int64
        Arm that each row got, 0 … A - 1.
    own_propensity : ndarray of shape (n,), dtype=float64
        e of that arm, in (0, 1].
    predicted : ndarray of shape (n, A), dtype=float64
        mu, cross-fitted.

    Returns
    -------
    ndarray of shape (n, A), dtype=float64
    """
    scores = predicted.copy()
    rows = np.arange(arms.shape[0])
    scores[rows, arms] += (outcomes - predicted[rows, arms]) / own_propensity
    return scores
