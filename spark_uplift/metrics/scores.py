"""One machine, numpy: any metric in any style from arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import spark_uplift.metrics.styles  # noqa: F401  (registers all metrics)
from spark_uplift.metrics.curves import Rows, curve_from_rows, policy_from_rows
from spark_uplift.metrics.pair import Pair
from spark_uplift.metrics.registry import find

__all__ = ["score"]


def score(
    name: str,
    *,
    y: npt.ArrayLike,
    arm: npt.ArrayLike,
    score: npt.ArrayLike,
    style: str = "grf",
    control: Any = 0,
    treatment: Any = None,
    weight: npt.ArrayLike | None = None,
    propensity: npt.ArrayLike | None = None,
    dr: npt.ArrayLike | None = None,
    k: float | None = None,
    strategy: str = "overall",
) -> float:
    """Return one metric of a ranking.

    Parameters
    ----------
    name : str
        E.g. ``"autoc"``, ``"qini"``, ``"auuc"``, ``"uplift_at_k"``; `METRICS` lists them with their formulas.
    y : array_like of shape (n,), dtype=float64
        Outcomes.
    arm : array_like of shape (n,)
        Arm of each row; any labels.
    score : array_like of shape (n,) or (n, treatments), dtype=float64
        What ranks the rows, larger first. Two dimensions: the predicted effect of each treatment (sorted),
        which without `treatment` are evaluated as the policy "each unit its best arm", else that arm's column
        is taken.
    style : {"grf", "sklift", "causalml", "h2o", "ydf", "perpetual", "upliftml"}
        Whose definition.
    control : object
        Label of the control arm.
    treatment : object, optional
        The arm to compare with control; needed when there are several and one score.
    weight : array_like of shape (n,), dtype=float64, optional
        Weights, not negative.
    propensity : array_like of shape (n,), dtype=float64, optional
        Logged probability, in (0, 1], of the arm that the row got. By default the arms' shares are taken.
    dr : array_like of shape (n,) or (n, treatments), dtype=float64, optional
        Doubly robust score of each row for the effect of each treatment (sorted). The styles that average scores
        (grf) then use them in place of the inverse-propensity scores, which makes unequal or estimated
        propensities harmless; styles of raw arms stay as they are.
    k, strategy
        Of ``"uplift_at_k"``: share of the rows in (0, 1), and ``"overall"`` or ``"by_group"``.

    Returns
    -------
    float
        NaN where the data do not define it, e.g. a normalised metric of an average effect of 0.

    Raises
    ------
    DataError
        No such metric, or rows that can't be used.

    Examples
    --------
    >>> import spark_uplift as su
    >>> y, arm, tau = [1, 0, 1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0], [8, 7, 6, 5, 4, 3, 2, 1]
    >>> round(su.metrics.score("qini", y=y, arm=arm, score=tau, style="sklift"), 3)
    0.649
    """
    metric = find(name, style, k=k, strategy=strategy)
    rows = Rows.of(y=y, arm=arm, control=control, weight=weight, propensity=propensity, dr=dr)
    scores = np.asarray(score, np.float64)
    if scores.ndim == 2 and treatment is None:
        curve = policy_from_rows(rows, scores)
    elif scores.ndim == 2:
        column = rows.treatments.index(treatment) if treatment in rows.treatments else 0
        curve = curve_from_rows(rows, scores[:, column], treatment)
    else:
        curve = curve_from_rows(rows, scores, treatment)
    return float(metric.compute(Pair.of(curve)))
