"""Is it worth to give each unit its own arm? A decision from scores of units that the models had not seen.

Each unit has an unbiased score of what each arm would earn from it, and was given a recommendation by each candidate.
Picking the best of several candidates, or of several arms, and then looking at its mean on the same units flatters it:
the winner's luck is part of it. Cross-validating the pick does not help enough: fold 1 decides what is picked for fold
2, fold 2 for fold 1, and the luck of both comes back in the sum (in simulations without anything to gain, 7 % instead
of 2.5 % came out as proven). So time goes one way: models, candidate and single arm for the units of a fold come from
*earlier* folds alone. The sum over folds is then a martingale, and its normal interval holds even where nothing is to
be gained, which is where a mistake would be made.

Sources: Luedtke & van der Laan (2016), "Statistical inference for the mean outcome under a possibly non-unique optimal
treatment strategy", Annals of Statistics 44(2), section 4 (the online estimator); Athey & Wager (2021), "Policy
learning with observational data", section 2 (doubly robust values of a policy).
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
    """Sums over the units of each fold, the first fold first; money per unit before summing.

    Parameters
    ----------
    n : ndarray of shape (folds,), dtype=float64
        Units.
    candidates, candidates_sq : ndarray of shape (folds, candidates), dtype=float64
        Sums of the score of the arm that the candidate, fitted on earlier folds, recommends, and of its square. Those
        of the first fold are not looked at: nothing comes before it.
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
        Best candidate on all folds but the first, best single arm on all folds.
    personalise : bool
        Whether the lower end of `gain` is above 0.
    gain : Estimate
        Of picking the best candidate over picking the best single arm, both picked on earlier folds.
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
        At least two folds, each with units.
    level : float
        Coverage of the intervals, in (0, 1). Where nothing is to be gained, personalisation is chosen with
        probability (1 - level) / 2 at most.
    """
    later = np.arange(1, sums.n.shape[0])
    before = np.cumsum(sums.arms, axis=0)
    best_arm = np.argmax(before[:-1], axis=1)
    tried = np.where(np.arange(sums.n.shape[0])[:, None] > 0, sums.candidates, 0.0)
    best_candidate = np.argmax(np.cumsum(tried, axis=0)[:-1], axis=1)
    n = sums.n[later]
    ours, ours_sq = (part[later, best_candidate] for part in (sums.candidates, sums.candidates_sq))
    theirs, theirs_sq = (part[later, best_arm] for part in (sums.arms, sums.arms_sq))
    gain = _estimate(n, ours - theirs, sums.pairs_sq[later, best_candidate, best_arm], level)
    candidate = int(np.argmax(tried.sum(0)))
    arm = int(np.argmax(sums.arms.sum(0)))
    columns = range(sums.candidates.shape[1])
    return Choice(
        candidate=candidate,
        arm=arm,
        personalise=gain.lower > 0.0,
        gain=gain,
        personalised=_estimate(n, ours, ours_sq, level),
        single=_estimate(n, theirs, theirs_sq, level),
        candidates=[
            _estimate(n, sums.candidates[later, c], sums.candidates_sq[later, c], level) for c in columns
        ],
        arms=[
            _estimate(sums.n, sums.arms[:, a], sums.arms_sq[:, a], level) for a in range(sums.arms.shape[1])
        ],
        gains=[
            _estimate(
                n, sums.candidates[later, c] - sums.arms[later, arm], sums.pairs_sq[later, c, arm], level
            )
            for c in columns
        ],
    )


def _estimate(n: F64, total: F64, squares: F64, level: float) -> Estimate:
    """Return the mean over all units; its variance is that of independent folds with means of their own."""
    spread = np.maximum(squares - total**2 / n, 0.0) * n / np.maximum(n - 1.0, 1.0)
    mean, error = float(total.sum() / n.sum()), float(np.sqrt(spread.sum()) / n.sum())
    if (
        not squares.any()
    ):  # every unit has 0; sums of the same numbers in two ways may differ in the last digit
        mean = 0.0
    z = quantile(level)
    p = 2.0 * NormalDist().cdf(-abs(mean) / error) if error > 0.0 else float(mean == 0.0)
    return Estimate(mean, error, mean - z * error, mean + z * error, p)
