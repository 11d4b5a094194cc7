"""What an evaluation shows, as columns: metrics, the uplift table by bucket, and curves with bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spark_uplift.core.dtypes import WY, N, W
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.group_effects import group_effects, mean_scores
from spark_uplift.metrics.inference import (
    Interval,
    bootstrap_error,
    difference_in_means,
    normal_interval,
    p_value,
    quantile,
)
from spark_uplift.metrics.pair import CONTROL, TREATED, Pair, at_each, divide, prepend_zero
from spark_uplift.metrics.registry import METRICS, STYLES, Metric, find

__all__ = ["Columns", "curve_columns", "metric_columns", "reported_metrics", "uplift_columns"]

Columns = dict[str, list[Any]]
"""A table as lists by column name; NaN stands for null in columns of floats."""

_SHARES = (
    ("gain_at_10", "grf"),
    ("gain_at_20", "grf"),
    ("gain_at_30", "grf"),
    ("gates_at_20", "grf"),
    ("uplift_at_10", "sklift"),
    ("uplift_at_20", "sklift"),
    ("uplift_at_30", "sklift"),
    ("uplift_at_30_by_group", "sklift"),
)
_SCORED_SHARES = (("uplift_at_10", "grf"), ("uplift_at_20", "grf"), ("uplift_at_30", "grf"))
_POINTS = 100


def reported_metrics(*, dr: bool = False) -> list[Metric]:
    """Return the metrics that evaluations show unasked, the headline style first.

    Parameters
    ----------
    dr : bool
        Whether there are doubly robust scores, of which more averages are then shown.
    """
    chosen = [m for m in METRICS.values() if m.reported]
    chosen += [find(name, style) for name, style in (*_SHARES, *(_SCORED_SHARES if dr else ()))]
    return sorted(chosen, key=lambda m: (STYLES.index(m.style), m.name))


def metric_columns(
    pair: Pair, replicates: Pair | None, level: float, metrics: Sequence[Metric], *, independent: bool
) -> Columns:
    """Return a row for each metric that the data define.

    Parameters
    ----------
    pair : Pair
        The evaluated curve.
    replicates : Pair or None
        Bootstrap replicates of it, shape (R, points), perhaps on coarser points.
    level : float
        Coverage of the normal intervals value +- z * standard deviation of the replicates.
    metrics : sequence of Metric
        What to compute.
    independent : bool
        Whether rows are independent units with weights known without error: the average effect then gets its
        analytic interval, which a bootstrap only approximates.
    """
    columns: Columns = {name: [] for name in _METRIC_COLUMNS}
    p_values: dict[str, float] = {}
    for metric in metrics:
        if metric.binary_only and not pair.binary:
            continue
        value = metric.compute(pair)
        analytic = metric.name == "ate" and (independent or replicates is None)
        if analytic:
            error = _analytic_error(pair, level)
        elif replicates is None:
            error = np.full(np.shape(value), np.nan)
        else:
            error = bootstrap_error(metric.compute(replicates))
        interval = normal_interval(value, error, level)
        used = 0 if analytic or replicates is None else int(replicates.mass.shape[0])
        p = float("nan") if metric.test is None else p_value(float(value), float(error), metric.test)
        p_values[f"{metric.style} {metric.name}"] = p
        row = (
            metric.name, metric.style, interval.value, interval.std_error, interval.lower, interval.upper,
            level, int(pair.rows.sum()), used, pair.exact, metric.formula, p,
        )  # fmt: skip
        for name, item in zip(_METRIC_COLUMNS, row, strict=True):
            columns[name].append(float(item) if isinstance(item, np.ndarray | np.floating) else item)
    if "heterogeneity" in columns["metric"]:
        tests = [p_values.get("grf calibration_slope", np.nan), p_values.get("grf autoc", np.nan)]
        columns["p_value"][columns["metric"].index("heterogeneity")] = min(1.0, 2.0 * float(np.min(tests)))
    return columns


def _analytic_error(pair: Pair, level: float) -> F64:
    """Return the standard error of the average effect of independent rows."""
    if pair.dr is None:
        return difference_in_means(pair.sides.sum(axis=-3), level).uplift.std_error
    overall = np.append(pair.dr.sum(axis=-2), pair.total)
    return mean_scores(overall[:3], overall[3], overall, level).std_error


_METRIC_COLUMNS = (
    "metric", "style", "value", "std_error", "lower", "upper", "level", "n", "bootstrap", "exact", "formula",
    "p_value",
)  # fmt: skip


def bucket_starts(pair: Pair, buckets: int) -> tuple[list[int], list[int]]:
    """Return the first point and the number (from 1) of each bucket that has rows.

    A point belongs to the bucket that the middle of its rows falls in, so a tie is never split; buckets are
    therefore unequal, and some may be missing, when scores are few.
    """
    middle = divide(pair.population - pair.mass / 2.0, pair.total)
    number = np.minimum((middle * buckets).astype(np.int64), buckets - 1) + 1
    number = np.maximum.accumulate(number)
    starts = np.flatnonzero(np.diff(number, prepend=0))
    return starts.tolist(), number[starts].tolist()


def uplift_columns(pair: Pair, buckets: int, level: float) -> Columns:
    """Return a row for each bucket of predicted uplift, the best first.

    A bucket that lacks an arm has no uplift (NaN), but an interval of all that it could be: see `group_effects`
    for the intervals. With doubly robust scores the uplift is their mean, with a t interval.

    Parameters
    ----------
    pair : Pair
        Without leading axes.
    buckets : int
        How many buckets of equal population are aimed at.
    level : float
        Coverage.
    """
    starts, numbers = bucket_starts(pair, buckets)
    sides = np.add.reduceat(pair.sides, starts, axis=0)
    mass = np.add.reduceat(pair.mass, starts)
    rows = np.add.reduceat(pair.rows, starts)
    ends = [*[start - 1 for start in starts[1:]], pair.low.shape[0] - 1]
    here, so_far = (
        group_effects(sums, sides.sum(axis=0), level, binary=pair.binary)
        for sums in (sides, np.cumsum(sides, axis=0))
    )
    uplift, cumulative = here.uplift, so_far.uplift
    if pair.dr is not None:
        uplift, cumulative = _scored(np.add.reduceat(pair.dr, starts, axis=0), mass, level)
    return {
        "bucket": numbers,
        "n": _whole(rows),
        "n_treated": _whole(sides[:, TREATED, N]),
        "n_control": _whole(sides[:, CONTROL, N]),
        "score_min": pair.low[ends].tolist(),
        "score_max": pair.high[starts].tolist(),
        "predicted": divide(np.add.reduceat(pair.mass * pair.score, starts), mass, empty=np.nan).tolist(),
        "mean_treated": here.mean_treated.tolist(),
        "mean_control": here.mean_control.tolist(),
        "uplift": uplift.value.tolist(),
        "lower": uplift.lower.tolist(),
        "upper": uplift.upper.tolist(),
        "cumulative_n": _whole(np.cumsum(rows)),
        "cumulative_uplift": cumulative.value.tolist(),
        "cumulative_lower": cumulative.lower.tolist(),
        "cumulative_upper": cumulative.upper.tolist(),
    }


def _scored(dr: F64, mass: F64, level: float) -> tuple[Interval, Interval]:
    """Return the mean doubly robust score of each bucket, and of it and all better ones."""
    overall = np.append(dr.sum(axis=0), mass.sum())
    here = mean_scores(dr, mass, overall, level)
    return here, mean_scores(np.cumsum(dr, axis=0), np.cumsum(mass), overall, level)


def _whole(values: F64) -> list[int]:
    return [int(v) for v in np.rint(values)]


def curve_columns(pair: Pair, replicates: Pair | None, level: float) -> Columns:
    """Return the curves at 100 shares of the population, with bands value +- z * standard deviation.

    - ``qini``: outcomes gained per unit of the population when the best share q is treated, the mean of
      G * 1[among the best q] with G as in `styles.grf`; baseline q * average effect.
    - ``uplift``: difference in means among the best share q, or with doubly robust scores their mean; baseline
      the same of all.
    - ``toc``: mean of G over the best q minus its mean over all; baseline 0.

    Parameters
    ----------
    pair, replicates : Pair
        As in `metric_columns`.
    level : float
        Coverage.
    """
    shares = np.arange(1, _POINTS + 1) / _POINTS
    values = _curves(pair, shares)
    spread = {} if replicates is None else _curves(replicates, shares)
    ate, means = float(pair.ate), values["uplift"][-1]
    baselines = {"qini": shares * ate, "uplift": np.full(_POINTS, means), "toc": np.zeros(_POINTS)}
    z = quantile(level)
    columns: Columns = {name: [] for name in ("curve", "fraction", "value", "lower", "upper", "baseline")}
    for name, value in values.items():
        error = bootstrap_error(spread[name]) if name in spread else np.full(_POINTS, np.nan)
        parts = [shares, value, value - z * error, value + z * error, baselines[name]]
        if name == "qini":  # starts where nobody is treated, which is certain
            parts = [np.concatenate([[0.0], part]) for part in parts]
        columns["curve"] += [name] * parts[0].shape[0]
        for column, part in zip(("fraction", "value", "lower", "upper", "baseline"), parts, strict=True):
            columns[column] += part.tolist()
    return columns


def _curves(pair: Pair, shares: F64) -> dict[str, F64]:
    """Return the height of each curve at the shares, arrays of shape (..., shares)."""
    where = shares * pair.total[..., None]
    x = prepend_zero(pair.population)
    gained = at_each(where, x, prepend_zero(np.cumsum(pair.gain, axis=-1)))
    scored = {
        "qini": divide(gained, pair.total[..., None]),
        "uplift": divide(gained, where),
        "toc": divide(gained, where) - pair.ate[..., None],
    }
    if pair.dr is not None:
        return scored
    sums = {
        (side, stat): at_each(where, x, prepend_zero(pair.cumulative[..., side, stat]))
        for side in (TREATED, CONTROL)
        for stat in (W, WY)
    }
    mean_t = divide(sums[TREATED, WY], sums[TREATED, W], empty=np.nan)
    mean_c = divide(sums[CONTROL, WY], sums[CONTROL, W], empty=np.nan)
    return scored | {"uplift": np.asarray(mean_t - mean_c)}
