"""The distinct-score curve: sufficient statistics per score and arm, from which every metric is made.

Rows with the same score are one point, so ties are never broken and the order of rows can't matter. Points
are ordered by score, best first. Three shapes occur:

- *one against control*: two slots, control and one arm;
- *policy*: a slot for every arm; the score is the largest predicted effect, and a treated row counts only
where
  its arm is the one that was recommended, with weight 1 / P(its arm) (matched-arm inverse propensity
  weighting);
- either with *logged* propensities: weights are already divided by the probability of the arm that the row
got.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import STATISTICS, W
from spark_uplift.errors import DataError

F64 = npt.NDArray[np.float64]

__all__ = [
    "Curve",
    "Rows",
    "column_faults",
    "curve_from_groups",
    "curve_from_rows",
    "merge_points",
    "policy_from_rows",
]


@dataclass(frozen=True)
class Curve:
    """Sufficient statistics per distinct score (or fine bin of scores) and slot.

    Parameters
    ----------
    low, high : ndarray of shape (points,), dtype=float64
        Smallest and largest score at each point, descending; equal when every distinct score has its point.
    stats : ndarray of shape (..., points, slots, 5), dtype=float64
        Sums in the order of `core.dtypes.STATISTICS` (n, w, wy, wyy, ww); slot 0 is control. Leading axes, if
        any, are bootstrap replicates.
    mass : ndarray of shape (..., points), dtype=float64
        Weight of the population at each point: of all rows that could have been treated, whatever their arm.
    rows : ndarray of shape (points,), dtype=float64
        Number of those rows.
    arm_mass : ndarray of shape (..., slots), dtype=float64, or None
        Weight of each arm in the population; its shares are the design's propensities. None when `logged`.
    policy : bool
        Whether treated rows are those whose arm was the recommended one.
    binary : bool
        Whether every outcome is 0 or 1.
    score : ndarray of shape (points,), dtype=float64
        Mean score at each point; the middle of `low` and `high` in a fine bin.
    exact : bool
        False when scores were binned.
    dr : ndarray of shape (..., points, 3), dtype=float64, or None
        Sums over the population of (w*G, w*G^2, w^2), G the doubly robust scores of the rows for the effect that
        the curve is about; None where there are no such scores.
    """

    low: F64
    high: F64
    stats: F64
    mass: F64
    rows: F64
    arm_mass: F64 | None
    policy: bool
    binary: bool
    score: F64
    exact: bool = True
    dr: F64 | None = None

    @property
    def logged(self) -> bool:
        """Whether the weights carry logged propensities."""
        return self.arm_mass is None


@dataclass(frozen=True)
class Rows:
    """Checked rows of an experiment.

    Parameters
    ----------
    y, weight : ndarray of shape (n,), dtype=float64
        Outcomes and weights.
    arm : ndarray of shape (n,), dtype=int64
        0 is control, k the k-th treatment.
    propensity : ndarray of shape (n,), dtype=float64, or None
        Logged probability of the arm that each row got.
    treatments : tuple
        Labels of the treatments, sorted.
    dr : ndarray of shape (n, treatments), dtype=float64, or None
        Doubly robust score of each row for each treatment's effect.
    """

    y: F64
    arm: npt.NDArray[np.int64]
    weight: F64
    propensity: F64 | None
    treatments: tuple[Any, ...]
    dr: F64 | None = None

    @classmethod
    def of(
        cls,
        *,
        y: npt.ArrayLike,
        arm: npt.ArrayLike,
        control: Any = 0,
        weight: npt.ArrayLike | None = None,
        propensity: npt.ArrayLike | None = None,
        dr: npt.ArrayLike | None = None,
    ) -> Rows:
        """Check and encode rows.

        Raises
        ------
        DataError
            Lengths differ, a value is NaN or infinite, a weight is negative, a propensity is outside (0, 1],
            doubly robust scores are not one a row and treatment, or there are no control or no treated rows;
            all faults together.
        """
        labels = np.asarray(arm)
        columns = {"y": y, "weight": weight, "propensity": propensity}
        values = {name: np.asarray(v, np.float64) for name, v in columns.items() if v is not None}
        faults = column_faults(labels.shape[0], values)
        names = sorted(set(labels.tolist()) - {control}, key=lambda label: (type(label).__name__, label))
        if not np.any(labels == control):
            faults.append(
                f"There are no control rows: no value of 'arm' equals {control!r}. Arms found: {names}."
            )
        if not names:
            faults.append(f"There are no treated rows: every value of 'arm' equals the control {control!r}.")
        scores = None if dr is None else np.asarray(dr, np.float64)
        if scores is not None:
            scores = scores[:, None] if scores.ndim == 1 else scores
            faults += _dr_faults(scores, (labels.shape[0], len(names)))
        if faults:
            raise DataError(faults)
        codes = np.zeros(labels.shape[0], np.int64)
        for code, name in enumerate(names, start=1):
            codes[labels == name] = code
        weights = values.get("weight", np.ones(labels.shape[0]))
        return cls(values["y"], codes, weights, values.get("propensity"), tuple(names), scores)


def _dr_faults(scores: F64, shape: tuple[int, int]) -> list[str]:
    if scores.shape != shape:
        return [
            f"'dr' must have one doubly robust score a row and treatment, shape {shape}. "
            f"Got shape {scores.shape} instead."
        ]
    unusable = int(np.sum(~np.isfinite(scores)))
    return [f"'dr' has {unusable} values that are NaN or infinite."] if unusable else []


def column_faults(rows: int, values: dict[str, F64]) -> list[str]:
    """Return one sentence for each of the columns y, weight and propensity that can't be used.

    Parameters
    ----------
    rows : int
        Number of rows that each column must have.
    values : dict of str to ndarray
        Columns by name.
    """
    faults = []
    for name, column in values.items():
        if column.shape != (rows,):
            faults.append(
                f"{name!r} must have one value a row, shape ({rows},). Got shape {column.shape} instead."
            )
            continue
        unusable = int(np.sum(~np.isfinite(column)))
        if unusable:
            faults.append(f"{name!r} has {unusable} values that are NaN or infinite.")
        if name == "weight" and np.any(column < 0):
            faults.append(f"'weight' has negative values, the least is {column.min()}.")
        if name == "propensity" and np.any((column <= 0) | (column > 1)):
            faults.append(
                "'propensity' has values outside (0, 1]. It is the probability of the arm that the row got."
            )
    return faults


def _check_scores(score: F64, shape: tuple[int, ...]) -> None:
    if score.shape != shape:
        raise DataError(f"'score' must have shape {shape}. Got shape {score.shape} instead.")
    unusable = int(np.sum(~np.isfinite(score)))
    if unusable:
        raise DataError(f"'score' has {unusable} values that are NaN or infinite; they can't be ranked.")


def curve_from_rows(rows: Rows, score: npt.ArrayLike, treatment: Any = None) -> Curve:
    """Return the curve of one arm against control.

    Parameters
    ----------
    rows : Rows
        The experiment.
    score : array_like of shape (n,), dtype=float64
        Predicted effect of the arm, or anything that ranks; larger is treated first.
    treatment : object, optional
        The arm; may be left out when there is only one.

    Raises
    ------
    DataError
        Scores are NaN, the arm is unknown, or there are several and none was chosen.
    """
    scores = np.asarray(score, np.float64)
    _check_scores(scores, rows.y.shape)
    if treatment is None and len(rows.treatments) > 1:
        raise DataError(
            f"There are {len(rows.treatments)} treatments and one score. Hint: pass treatment=, one of "
            f"{list(rows.treatments)}, or a score for each treatment."
        )
    if treatment is not None and treatment not in rows.treatments:
        raise DataError(f"Unknown treatment {treatment!r}. Treatments in the data: {list(rows.treatments)}.")
    code = 1 if treatment is None else rows.treatments.index(treatment) + 1
    slot = np.where(rows.arm == 0, 0, np.where(rows.arm == code, 1, -1))
    dr = None if rows.dr is None else rows.dr[:, code - 1]
    # With logged propensities or doubly robust scores, rows of other arms belong to the population too.
    everybody = rows.propensity is not None or dr is not None
    kept = np.ones(slot.shape, bool) if everybody else slot >= 0
    return _aggregate(rows, scores, slot, kept, slots=2, arm_mass=None, dr=dr)


def policy_from_rows(rows: Rows, scores: npt.ArrayLike) -> Curve:
    """Return the curve of the policy "give each unit its best arm, the largest predicted effects first".

    Parameters
    ----------
    rows : Rows
        The experiment.
    scores : array_like of shape (n, treatments), dtype=float64
        Predicted effect of each treatment, in the order of ``rows.treatments``. The first of equal effects
        wins.
    """
    effects = np.asarray(scores, np.float64)
    _check_scores(effects, (rows.y.shape[0], len(rows.treatments)))
    best = np.argmax(effects, axis=1) + 1
    slot = np.where((rows.arm == 0) | (rows.arm == best), rows.arm, -1)
    slots = len(rows.treatments) + 1
    arm_mass = np.bincount(rows.arm, rows.weight, slots).astype(np.float64)
    dr = None if rows.dr is None else rows.dr[np.arange(best.shape[0]), best - 1]
    return _aggregate(rows, effects.max(axis=1), slot, np.ones(slot.shape, bool), slots, arm_mass, dr)


def _aggregate(
    rows: Rows,
    score: F64,
    slot: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
    slots: int,
    arm_mass: F64 | None,
    dr: F64 | None,
) -> Curve:
    y, raw = rows.y[kept], rows.weight[kept]
    own = None if dr is None else dr[kept]
    weight = raw if rows.propensity is None else raw / rows.propensity[kept]
    by_name = {
        "n": np.ones(y.shape),
        "w": weight,
        "wy": weight * y,
        "wyy": weight * y * y,
        "ww": weight * weight,
    }
    return curve_from_groups(
        score=score[kept],
        slot=slot[kept],
        stats=np.stack([by_name[name] for name in STATISTICS], axis=1),
        mass=raw,
        rows=np.ones(y.shape),
        slots=slots,
        logged=rows.propensity is not None,
        arm_mass=arm_mass,
        policy=arm_mass is not None,
        binary=bool(np.all((y == 0) | (y == 1))),
        dr=None if own is None else np.stack([raw * own, raw * own * own, raw * raw], axis=1),
    )


def curve_from_groups(
    *,
    score: F64,
    slot: npt.NDArray[np.int64],
    stats: F64,
    mass: F64,
    rows: F64,
    slots: int,
    logged: bool,
    policy: bool,
    binary: bool,
    arm_mass: F64 | None = None,
    high: F64 | None = None,
    exact: bool = True,
    dr: F64 | None = None,
) -> Curve:
    """Return the curve of rows, or of groups of rows that were added up elsewhere.

    Parameters
    ----------
    score : ndarray of shape (groups,), dtype=float64
        Score of each group (the lowest one when scores were binned); equal scores form one point.
    slot : ndarray of shape (groups,), dtype=int64
        0 for control, -1 for rows that only belong to the population.
    stats : ndarray of shape (groups, 5), dtype=float64
        Sums in the order of `core.dtypes.STATISTICS`, weights divided by logged propensities if any.
    mass, rows : ndarray of shape (groups,), dtype=float64
        Plain weight and number of rows.
    slots : int
        Number of arms of the curve, control included.
    logged, policy, binary, exact : bool
        See `Curve`.
    arm_mass : ndarray of shape (slots,), dtype=float64, optional
        Weight of each arm in the population; by default that of the slots. Ignored when `logged`.
    high : ndarray of shape (groups,), dtype=float64, optional
        Highest score of each group; by default `score`.
    dr : ndarray of shape (groups, 3), dtype=float64, optional
        Sums of (w*G, w*G^2, w^2), see `Curve`.
    """
    distinct, point = np.unique(score, return_inverse=True)
    points = distinct.shape[0]
    point = points - 1 - point  # best first
    table = np.zeros((points, slots, len(STATISTICS)))
    inside = slot >= 0
    np.add.at(table, (point[inside], slot[inside]), stats[inside])
    top = np.full(points, -np.inf)
    np.maximum.at(top, point, score if high is None else high)
    shares = table[:, :, W].sum(axis=0) if arm_mass is None else arm_mass
    low = distinct[::-1].copy()
    return Curve(
        low=low,
        high=top,
        stats=table,
        mass=np.bincount(point, mass, points).astype(np.float64),
        rows=np.bincount(point, rows, points).astype(np.float64),
        arm_mass=None if logged else shares,
        policy=policy,
        binary=binary,
        score=low if np.array_equal(low, top) else (low + top) / 2.0,
        exact=exact,
        dr=None if dr is None else _added(point, dr, points),
    )


def _added(point: npt.NDArray[np.int64], values: F64, points: int) -> F64:
    """Add up rows of values by point, shape (points, columns)."""
    out = np.zeros((points, values.shape[1]))
    np.add.at(out, point, values)
    return out


def merge_points(curve: Curve, starts: Sequence[int]) -> Curve:
    """Return the curve with neighbouring points added up.

    Parameters
    ----------
    curve : Curve
        A curve without leading axes.
    starts : sequence of int
        First point of each new point, ascending, starting with 0.
    """
    index = np.asarray(starts)
    ends = np.append(index[1:], curve.low.shape[0]) - 1
    mass = np.add.reduceat(curve.mass, index)
    weighed = np.add.reduceat(curve.mass * curve.score, index)
    middle = (curve.low[ends] + curve.high[index]) / 2.0
    score = np.where(mass > 0, weighed / np.where(mass > 0, mass, 1.0), middle)
    return Curve(
        low=curve.low[ends],
        high=curve.high[index],
        stats=np.add.reduceat(curve.stats, index, axis=0),
        mass=mass,
        rows=np.add.reduceat(curve.rows, index),
        arm_mass=curve.arm_mass,
        policy=curve.policy,
        binary=curve.binary,
        score=score,
        exact=curve.exact and index.shape[0] == curve.low.shape[0],
        dr=None if curve.dr is None else np.add.reduceat(curve.dr, index, axis=0),
    )
