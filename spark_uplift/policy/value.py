"""Estimates of the value of policies, with intervals and diagnostics, from the sums of value_sums.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.errors import DataError, bad_value
from spark_uplift.metrics.inference import bootstrap_error, quantile
from spark_uplift.policy.value_intervals import bernstein_radius, percentiles, term_width
from spark_uplift.policy.value_overlap import Weights, weights_of
from spark_uplift.policy.value_sums import (
    LOGGED,
    Layout,
    Sums,
    choice_faults,
    lanes,
    sums_of,
)

__all__ = ["Estimate", "Question", "bernstein_radius", "estimate", "estimates", "value_of"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """What is asked of the sums.

    Parameters
    ----------
    intervals : tuple of str
        Of `spark_uplift.policy.value_sums.INTERVALS`.
    level : float
        Coverage.
    clip : float
        M of `METHODS`.
    reward_range : (float, float)
        Least and largest possible reward, for empirical Bernstein.
    range_known : bool
        Whether it was given, not seen in the data.
    money : float
        What one unit of the reward is worth, for `Estimate.net`.
    """

    intervals: tuple[str, ...]
    level: float
    clip: float
    reward_range: tuple[float, float] = (0.0, 1.0)
    range_known: bool = True
    money: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """Value of a policy by one method, with one kind of interval; NaN where something is not defined.

    Parameters
    ----------
    policy, method, interval : str
        What was estimated, and how.
    value, std_error, lower, upper, level : float
        Mean reward of a unit under the policy, and its interval [reward].
    relative : float
        Value divided by the mean logged reward.
    n : int
        Rows.
    effective_sample_size : float
        Kish's sum(u)^2 / sum(u^2) of the importance weights u that the rewards of independent units (rows, or
        clusters) get.
    max_weight : float
        Largest importance ratio that is used.
    clipped_share : float
        Share of the importance weights that clipping cuts off.
    mean_weight, mean_weight_error : float
        Mean importance ratio, about 1 if logged and evaluated probabilities belong together, and its standard
        error.
    cost, net : float
        Expected cost of a unit under the policy, and value * money - cost [money].
    baseline : str
        Policy that `difference` compares with.
    difference, difference_lower, difference_upper : float
        Value minus that of the baseline on the same rows, and its paired interval [reward].
    message : str
        Warnings about overlap, empty if all is well.
    """

    policy: str
    method: str
    interval: str
    value: float
    std_error: float
    lower: float
    upper: float
    level: float
    relative: float
    n: int
    effective_sample_size: float
    max_weight: float
    clipped_share: float
    mean_weight: float
    mean_weight_error: float
    cost: float
    net: float
    baseline: str
    difference: float
    difference_lower: float
    difference_upper: float
    message: str


def _ratio(numerator: Any, denominator: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            np.asarray(denominator) == 0.0, np.nan, np.divide(numerator, np.asarray(denominator, np.float64))
        )


class _Linear:
    """Values and covariances of ratios of sums, by the linearisation (a - V d) / sum(d) of each unit."""

    def __init__(self, layout: Layout, sums: Sums) -> None:
        self.layout, self.sums = layout, sums
        self._at = {pair: number for number, pair in enumerate(layout.pairs)}
        self._factor = sums.units / (sums.units - 1.0) if sums.units > 1 else math.nan

    def product(self, i: int, j: int) -> float:
        return float(self.sums.products[self._at[min(i, j), max(i, j)]])

    def value(self, terms: tuple[int, int]) -> float:
        return float(_ratio(self.sums.totals[terms[0]], self.sums.totals[terms[1]]))

    def replicates(self, terms: tuple[int, int]) -> F64:
        return np.asarray(_ratio(self.sums.replicates[:, terms[0]], self.sums.replicates[:, terms[1]]))

    def covariance(self, one: tuple[int, int], two: tuple[int, int]) -> float:
        (a, d), (b, e) = one, two
        v, u = self.value(one), self.value(two)
        sums = (
            self.product(a, b) - u * self.product(a, e) - v * self.product(d, b) + v * u * self.product(d, e)
        )
        scale = self.sums.totals[d] * self.sums.totals[e]
        return float(_ratio(self._factor * sums, scale))

    def error(self, terms: tuple[int, int]) -> float:
        return math.sqrt(max(self.covariance(terms, terms), 0.0))

    def difference_error(self, one: tuple[int, int], two: tuple[int, int]) -> float:
        if one == two:
            return 0.0
        spread = self.covariance(one, one) + self.covariance(two, two) - 2.0 * self.covariance(one, two)
        return math.sqrt(max(spread, 0.0))


def value_of(layout: Layout, sums: Sums, policy: str, method: str) -> float:
    """Return the value of one policy by one method; minus infinity where it is not defined."""
    value = _Linear(layout, sums).value(layout.terms(policy, method))
    return value if math.isfinite(value) else -math.inf


def estimates(layout: Layout, sums: Sums, question: Question, *, logged: bool = False) -> list[Estimate]:
    """Return the value of each policy by each method, with each kind of interval.

    Standard errors are those of a ratio of sums: sqrt(m/(m-1) * sum((a - V*d)^2)) / sum(d) over m independent
    units, a and d being numerator and denominator of a unit; for the mean of n rows of weight 1 this is
    s/sqrt(n). Bootstrap intervals are percentiles of the replicates.

    Parameters
    ----------
    layout : Layout
        Of the sums.
    sums : Sums
        Of the data.
    question : Question
        Which intervals.
    logged : bool
        Whether a row for the mean logged reward (policy ``logged``, method ``mean``) comes first.
    """
    linear = _Linear(layout, sums)
    found = []
    if logged:
        for interval in [name for name in question.intervals if name != "empirical_bernstein"] or ["normal"]:
            weights = Weights(float("nan"), float("nan"), 0.0, float("nan"), float("nan"), "")
            found.append(_one(linear, question, LOGGED, "mean", interval, weights))
    for policy in layout.policies:
        for method in layout.methods:
            weights = weights_of(layout, sums, policy, method, question.clip)
            for interval in question.intervals:
                found.append(_one(linear, question, policy, method, interval, weights))
    return found


def _one(
    linear: _Linear, question: Question, policy: str, method: str, interval: str, weights: Weights
) -> Estimate:
    layout, sums = linear.layout, linear.sums
    terms = layout.terms(policy, method)
    base = layout.terms(layout.baseline, layout.methods[0] if method == "mean" else method)
    value, error = linear.value(terms), linear.error(terms)
    apart = value - linear.value(base)
    apart_error = linear.difference_error(terms, base)
    z = quantile(question.level)
    message = weights.message
    if interval == "normal":
        bounds = (value - z * error, value + z * error)
        apart_bounds = (apart - z * apart_error, apart + z * apart_error)
    elif interval == "bootstrap":
        drawn = linear.replicates(terms)
        error = float(bootstrap_error(drawn))
        bounds = percentiles(drawn, question.level)
        apart_bounds = percentiles(drawn - linear.replicates(base), question.level)
    else:
        bounds, note = _bernstein(question, method, value, error, sums, weights)
        message = " ".join(part for part in (message, note) if part)
        apart_bounds = (math.nan, math.nan)
    cost = math.nan
    if layout.costs and policy != LOGGED:
        cost = float(_ratio(sums.totals[layout.lane(policy, "cost")], sums.totals[0]))
    return Estimate(
        policy=policy,
        method=method,
        interval=interval,
        value=value,
        std_error=error,
        lower=bounds[0],
        upper=bounds[1],
        level=question.level,
        relative=float(_ratio(value, linear.value((1, 0)))),
        n=sums.rows,
        effective_sample_size=weights.effective,
        max_weight=weights.largest,
        clipped_share=weights.clipped_share,
        mean_weight=weights.mean,
        mean_weight_error=weights.mean_error,
        cost=cost,
        net=value * question.money - cost,
        baseline=layout.baseline,
        difference=apart,
        difference_lower=apart_bounds[0],
        difference_upper=apart_bounds[1],
        message=message,
    )


def _bernstein(
    question: Question, method: str, value: float, error: float, sums: Sums, weights: Weights
) -> tuple[tuple[float, float], str]:
    bounded = method in ("clipped_ips", "switch", "dm")
    largest = question.clip if method in ("clipped_ips", "switch") else weights.largest
    width = term_width(method, *question.reward_range, largest)
    radius = bernstein_radius(error**2 * sums.units, sums.units, width, question.level)
    guesses = [] if question.range_known else ["rewards"]
    guesses += [] if bounded else ["importance weights"]
    note = (
        f"The interval takes the range of {' and '.join(guesses)} from the data, so it is no guarantee."
        if guesses
        else ""
    )
    return (value - radius, value + radius), note


def estimate(
    rewards: npt.ArrayLike,
    ratios: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    *,
    methods: str | Sequence[str] = "snips",
    predicted: npt.ArrayLike | None = None,
    policy_predicted: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
    weights: npt.ArrayLike | None = None,
    units: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    clip: float | None = None,
    interval: str | Sequence[str] = "normal",
    level: float = 0.95,
    bootstrap: int = 200,
    seed: int = 1,
    reward_range: tuple[float, float] | None = None,
    baseline: str = LOGGED,
) -> list[Estimate]:
    """Estimate the value of policies on one machine; `spark_uplift.policy_value` does it on Spark.

    Parameters
    ----------
    rewards : array_like of shape (n,)
        Logged rewards.
    ratios : array_like of shape (n,), or mapping of name to such
        P(logged action | policy) / logged propensity, of one policy (called ``policy``) or of several.
    methods, interval : str or sequence of str
        Of `METHODS` and `INTERVALS`.
    predicted : array_like of shape (n,), optional
        Predicted reward of the logged action, for dm, dr and switch.
    policy_predicted : as `ratios`, optional
        Predicted reward under each policy.
    weights : array_like of shape (n,), optional
        Row weights.
    units : array_like of shape (n,), dtype=uint64, optional
        Hashes that key the bootstrap.
    clusters : array_like of shape (n,), optional
        Rows of equal value are one independent unit.
    clip : float, optional
        M of `METHODS`; sqrt(n) by default (Ionides 2008).
    level, bootstrap, seed : float, int, int
        Coverage, replicates and their seed.
    reward_range : (float, float), optional
        Possible rewards, for empirical Bernstein; those seen by default.
    baseline : str
        Policy that differences are taken to.

    Returns
    -------
    list of Estimate
        A policy after the other, method by method, interval by interval.

    Raises
    ------
    DataError
        An unknown method or interval, lengths that differ, missing predictions.
    """
    named = dict(ratios) if isinstance(ratios, Mapping) else {"policy": ratios}
    chosen = (methods,) if isinstance(methods, str) else tuple(methods)
    kinds = (interval,) if isinstance(interval, str) else tuple(interval)
    faults = choice_faults("estimate", chosen, kinds, level=level, bootstrap=bootstrap)
    if baseline not in (LOGGED, *named):
        faults.append(bad_value("baseline", "estimate", f"one of {[LOGGED, *named]}", baseline))
    if faults:
        raise DataError(faults)
    reward = np.asarray(rewards, np.float64)
    ratio = np.stack([np.asarray(column, np.float64) for column in named.values()], axis=1)
    weight = np.ones_like(reward) if weights is None else np.asarray(weights, np.float64)
    values = policy_predicted
    if values is not None and not isinstance(values, Mapping):
        values = {"policy": values}
    layout = Layout.of(tuple(named), chosen, baseline=baseline)
    top = math.sqrt(max(reward.shape[0], 1)) if clip is None else float(clip)
    terms = lanes(
        layout, reward, weight, ratio, top,
        None if predicted is None else np.asarray(predicted, np.float64),
        None if values is None else np.stack([np.asarray(values[name], np.float64) for name in named], axis=1),
    )  # fmt: skip
    rows = terms.shape[0]
    if clusters is not None:
        _, number = np.unique(np.asarray(clusters), return_inverse=True)
        grouped = np.zeros((int(number.max()) + 1, terms.shape[1]))
        np.add.at(grouped, number, terms)
        terms = grouped
    keyed = None if units is None or clusters is not None else np.asarray(units, np.uint64)
    sums = sums_of(layout, terms, ratio, keyed, seed, bootstrap if "bootstrap" in kinds else 0)
    seen = (float(reward.min()), float(reward.max())) if rows else (0.0, 0.0)
    question = Question(
        kinds,
        level,
        top,
        reward_range or seen,
        reward_range is not None,
    )
    return estimates(
        layout,
        Sums(sums.totals, sums.products, sums.replicates, sums.max_ratio, rows, sums.units),
        question,
    )
