"""Is it worth to give each unit its own arm? A decision from cross-validated scores.

Each unit has an unbiased score of what each arm would earn from it, and was given a recommendation by models that have
not seen it (one a candidate). Picking the best of several candidates, or of several arms, and then looking at its
mean on the same units flatters it: the winner's luck is part of it. So the pick is cross-validated as well: for the
units of a fold, candidate and arm are those that are best on the *other* folds. What is tested is thus the
procedure "pick the best candidate" against the procedure "pick the best single arm", on the same units (paired).

Sources: Chernozhukov, Demirer, Duflo & Fernandez-Val (2018), NBER w24678 (sample splitting); Athey & Wager (2021),
"Policy learning with observational data", section 2 (doubly robust values of a policy).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from spark_uplift.metrics.inference import quantile

F64 = npt.NDArray[np.float64]

__all__ = ["Choice", "Estimate", "FoldSums", "choose"]


@dataclass(frozen=True)
class FoldSums:
    """Sums over the units of each fold; money per unit before summing.

    Parameters
    ----------
    n : ndarray of shape (folds,), dtype=float64
        Units.
    candidates, candidates_sq : ndarray of shape (folds, candidates), dtype=float64
        Sums of the score of the arm that the candidate recommends, and of its square.
    arms, arms_sq : ndarray of shape (folds, arms), dtype=float64
        Sums of the score of each arm, and of its square.
    pairs_sq : ndarray of shape (folds, candidates, arms), dtype=float64
        Sums of the squared difference of the two.
    """

    n: F64
    candidates: F64
    candidates_sq: F64
    arms: F64
    arms_sq: F64
    pairs_sq: F64


@dataclass(frozen=True)
class Estimate:
    """A mean per unit with its uncertainty."""

    value: float
    std_error: float
    lower: float
    upper: float
    p_value: float


@dataclass(frozen=True)
class Choice:
    """What was found.

    Parameters
    ----------
    candidate, arm : int
        Best candidate and best single arm on all folds.
    personalise : bool
        Whether the lower end of `gain` is above 0.
    gain : Estimate
        Of picking the best candidate over picking the best single arm, both picked on the other folds.
    personalised, single : Estimate
        Values of these two procedures.
    candidates, arms, gains : list of Estimate
        Value of each candidate and each arm, and each candidate's difference to the best single arm. These are not
        corrected for the choice among several.
    """

    candidate: int
    arm: int
    personalise: bool
    gain: Estimate
    personalised: Estimate
    single: Estimate
    candidates: list[Estimate]
    arms: list[Estimate]
    gains: list[Estimate]


def choose(sums: FoldSums, level: float) -> Choice:
    """Return the best candidate, the best single arm, and whether the first is proven to be better.

    Ties go to the first. The interval is normal, with the variance taken within folds.

    Parameters
    ----------
    sums : FoldSums
        At least two folds with units.
    level : float
        Coverage of the intervals, in (0, 1). Where nothing is to be gained, personalisation is chosen with
        probability (1 - level) / 2 at most.
    """
    others = sums.n.sum() - sums.n
    best_candidate = np.argmax((sums.candidates.sum(0) - sums.candidates) / others[:, None], axis=1)
    best_arm = np.argmax((sums.arms.sum(0) - sums.arms) / others[:, None], axis=1)
    fold = np.arange(sums.n.shape[0])
    ours, ours_sq = sums.candidates[fold, best_candidate], sums.candidates_sq[fold, best_candidate]
    theirs, theirs_sq = sums.arms[fold, best_arm], sums.arms_sq[fold, best_arm]
    gain = _estimate(sums.n, ours - theirs, sums.pairs_sq[fold, best_candidate, best_arm], level)
    candidate = int(np.argmax(sums.candidates.sum(0)))
    arm = int(np.argmax(sums.arms.sum(0)))
    columns = range(sums.candidates.shape[1])
    return Choice(
        candidate=candidate,
        arm=arm,
        personalise=gain.lower > 0.0,
        gain=gain,
        personalised=_estimate(sums.n, ours, ours_sq, level),
        single=_estimate(sums.n, theirs, theirs_sq, level),
        candidates=[
            _estimate(sums.n, sums.candidates[:, c], sums.candidates_sq[:, c], level) for c in columns
        ],
        arms=[
            _estimate(sums.n, sums.arms[:, a], sums.arms_sq[:, a], level) for a in range(sums.arms.shape[1])
        ],
        gains=[
            _estimate(sums.n, sums.candidates[:, c] - sums.arms[:, arm], sums.pairs_sq[:, c, arm], level)
            for c in columns
        ],
    )


def _estimate(n: F64, total: F64, squares: F64, level: float) -> Estimate:
    """Return the mean over all units; its variance is that of independent folds with means of their own."""
    spread = np.maximum(squares - total**2 / n, 0.0) * n / np.maximum(n - 1.0, 1.0)
    mean, error = float(total.sum() / n.sum()), float(np.sqrt(spread.sum()) / n.sum())
    z = quantile(level)
    p = 2.0 * NormalDist().cdf(-abs(mean) / error) if error > 0.0 else float(mean == 0.0)
    return Estimate(mean, error, mean - z * error, mean + z * error, p)
