"""Checks for features that know what they can't: the arm, or the outcome.
 A feature of a randomised experiment must have been fixed before the assignment. One that describes the
treatment, or was made after it, predicts the arm; one made from the outcome predicts the outcome. Neither
exists when new units are scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from spark_uplift.checks.association import NONE, Association, associate, best_auc
from spark_uplift.checks.result import FAIL, PASS, SKIP, WARN, CheckResult
from spark_uplift.checks.summary import NUMERIC, Bool, Cells, ExperimentSummary, FeatureSummary, Float
from spark_uplift.checks.wording import count, p_value, percent

if TYPE_CHECKING:
    from spark_uplift.config import ChecksConfig

OUTCOME_AUC_FAIL, OUTCOME_AUC_WARN = 0.95, 0.9
"""AUC of predicting a high outcome from one feature that no honest feature has, and that few have."""

EXPLAINED = 0.95
"""Share of the outcome's variance that no single honest feature explains."""

PURE_ROWS, PURE_CHANCE = 30, 1e-9
"""Bins in which every outcome is high count from so many rows, if chance gives them less often than this."""

PURE_GAP = 0.5
"""Share of high outcomes that no other bin may have then."""

AVERAGE_CHANCE, AVERAGE_BINS = 1e-9, 5
"""How improbably well a column must agree with the outcome's averages over how many bins, to be made from
them.
"""


def arm_prediction(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Refuse features that predict the arm; ``value`` is the AUC of telling one arm from the rest.

    Fails when the link is no chance (chi-square with ``srm_alpha`` shared over the features and arms) and
    strong: a simple rule beats ``arm_auc``, or the best order of all bins gets beyond the middle between
    ``arm_auc`` and 1.
    """
    filled = [number for number, arm in enumerate(summary.arms) if arm.rows]
    measured = [feature for feature in summary.features if feature.cells is not None]
    if len(filled) < 2 or not measured:
        yield CheckResult("arm_prediction", SKIP, "It takes two arms and a feature with values.")
        return
    alpha = config.srm_alpha / (len(filled) * len(measured))
    weakest = (0.5, measured[0].name)
    found = False
    for feature in measured:
        arm, link = _strongest_arm(summary, feature, filled)
        weakest = max(weakest, (link.auc, feature.name))
        if link.p_value < alpha and (link.auc > config.arm_auc or link.auc_any > (1.0 + config.arm_auc) / 2):
            found = True
            yield _predicts_arm(feature, arm, link, config)
    if not found:
        yield CheckResult(
            "arm_prediction",
            PASS,
            f"No feature predicts the arm; the most, {weakest[1]!r}, has AUC {weakest[0]:.3f}.",
            value=weakest[0],
            threshold=config.arm_auc,
            unit="AUC",
        )


def _strongest_arm(
    summary: ExperimentSummary, feature: FeatureSummary, filled: list[int]
) -> tuple[str, Association]:
    assert feature.cells is not None
    rows = feature.cells.rows
    every = rows[filled].sum(axis=0)
    best = (summary.arms[filled[0]].arm, NONE)
    for number in filled:
        link = associate(rows[number], every - rows[number], feature.kind == NUMERIC)
        if max(link.auc, link.auc_any) > max(best[1].auc, best[1].auc_any):
            best = (summary.arms[number].arm, link)
    return best


def _predicts_arm(feature: FeatureSummary, arm: str, link: Association, config: ChecksConfig) -> CheckResult:
    value = max(link.auc, link.auc_any)
    return CheckResult(
        "arm_prediction",
        FAIL,
        f"Feature {feature.name!r} predicts the arm: it tells {arm!r} from the rest with AUC {value:.3f} "
        f"(Cramér's V {link.cramers_v:.3f}, {p_value(link.p_value)}). In a randomised experiment it "
        "can't, unless it "
        "describes the treatment itself or was made after the assignment.",
        feature.name,
        value=value,
        threshold=config.arm_auc,
        unit="AUC",
        hint=f"Take {feature.name!r} out of experiment.features. If the chance of an arm was meant to "
        "depend on it, "
        "give experiment.propensity and list arm_prediction in checks.warn_only.",
    )


class _Leak(NamedTuple):
    """How a feature knows the outcome."""

    status: str
    value: float
    threshold: float
    unit: str
    finding: str


def outcome_leakage(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Find features made from the outcome; ``value`` is the measure that gave them away.

    Four signs: the feature separates high outcomes almost perfectly (AUC), explains nearly all variance, has
    a value with which the outcome is always high, or *is* the average outcome of the very rows it stands in.
    """
    measured = [feature for feature in summary.features if feature.cells is not None]
    if not measured or not summary.outcome_variance > 0:
        yield CheckResult(
            "outcome_leakage", SKIP, "It takes an outcome that varies and a feature with values."
        )
        return
    found, strongest = False, (0.5, measured[0].name)
    for feature in measured:
        assert feature.cells is not None
        auc = _high_auc(feature.cells)
        strongest = max(strongest, (auc, feature.name))
        leak = _leak(summary, feature, feature.cells, auc)
        if leak is not None:
            found = True
            yield CheckResult(
                "outcome_leakage",
                leak.status,
                f"Feature {feature.name!r} {leak.finding}.",
                feature.name,
                value=leak.value,
                threshold=leak.threshold,
                unit=leak.unit,
                hint=f"Was {feature.name!r} known before the assignment? If not, take it out of "
                "experiment.features; if it "
                "was, list outcome_leakage in checks.warn_only.",
            )
    if not found:
        yield CheckResult(
            "outcome_leakage",
            PASS,
            f"No feature gives the outcome away; the most, {strongest[1]!r}, has AUC {strongest[0]:.3f}.",
            value=strongest[0],
            threshold=OUTCOME_AUC_WARN,
            unit="AUC",
        )


def _leak(summary: ExperimentSummary, feature: FeatureSummary, cells: Cells, auc: float) -> _Leak | None:
    """Return the strongest sign that a feature was made from the outcome, or None."""
    if auc >= OUTCOME_AUC_FAIL:
        finding = (
            f"tells high outcomes ({summary.outcome!r} > {summary.outcome_cut:g}) from the rest "
            f"with AUC {auc:.3f}"
        )
        return _Leak(FAIL, auc, OUTCOME_AUC_FAIL, "AUC", finding)
    explained = _explained(summary, cells)
    if explained >= EXPLAINED:
        finding = f"explains {percent(explained)} of the variance of {summary.outcome!r}"
        return _Leak(FAIL, explained, EXPLAINED, "share", finding)
    pure = _pure_bins(summary, cells)
    if pure is not None:
        label, rows, base = pure
        finding = (
            f"gives the outcome away: all {count(rows)} rows with {feature.name} {label} have "
            f"{summary.outcome!r} > "
            f"{summary.outcome_cut:g}, against {percent(base)} of all rows"
        )
        return _Leak(FAIL, 1.0, base, "share", finding)
    average = _average_of_outcome(summary, feature, cells)
    if average is not None:
        rows_of, p = average
        finding = (
            f"is the average of {summary.outcome!r} {rows_of}, computed from these very rows: it agrees "
            "with it far "
            f"better than chance allows ({p_value(p)})"
        )
        return _Leak(FAIL, p, AVERAGE_CHANCE, "p-value", finding)
    if auc >= OUTCOME_AUC_WARN:
        finding = f"predicts high outcomes ({summary.outcome!r} > {summary.outcome_cut:g}) with AUC {auc:.3f}"
        return _Leak(WARN, auc, OUTCOME_AUC_WARN, "AUC", finding)
    return None


def _high_auc(cells: Cells) -> float:
    """Return the AUC of telling high outcomes from the rest by the bins, less what chance alone would
    give.
    """
    high = cells.high.sum(axis=0).astype(np.float64)
    low = cells.outcome_rows.sum(axis=0) - high
    if not high.sum() or not low.sum():
        return 0.5
    rows = (high + low)[high + low > 0]
    share = high.sum() / (high.sum() + low.sum())
    statistic = (((high - share * (high + low)) ** 2)[high + low > 0] / rows).sum() / (share * (1 - share))
    real = max(0.0, 1.0 - (len(rows) - 1) / statistic) if statistic > 0 else 0.0
    return float(0.5 + (best_auc(high, low) - 0.5) * real**0.5)


def _explained(summary: ExperimentSummary, cells: Cells) -> float:
    """Return adjusted eta squared: the share of the outcome's variance between the bins, less what chance
    would give.
    """
    rows = cells.outcome_rows.sum(axis=0)
    filled = rows > 0
    n, bins = int(rows.sum()), int(filled.sum())
    if n <= bins:
        return 0.0
    means = cells.outcome.sum(axis=0)[filled] / rows[filled]
    between = float((rows[filled] * (means - summary.outcome_mean) ** 2).sum())
    eta = min(1.0, between / (n * summary.outcome_variance))
    return 1.0 - (1.0 - eta) * (n - 1) / (n - bins)


def _pure_bins(summary: ExperimentSummary, cells: Cells) -> tuple[str, int, float] | None:
    """Return (label, rows, share of high outcomes overall) of the bins in which every outcome is high.

    A good feature gets there by degrees, so it counts only when no other bin comes near.
    """
    if summary.outcome_cut != min(arm.minimum for arm in summary.arms if arm.outcome_rows):
        return None  # high means above the median, which a good feature can tell on its own
    rows, high = cells.outcome_rows.sum(axis=0), cells.high.sum(axis=0)
    base = float(high.sum() / rows.sum())
    large = rows >= PURE_ROWS
    pure, others = large & (high == rows), large & (high < rows)
    if not pure.any() or not others.any() or (high[others] / rows[others]).max() > PURE_GAP:
        return None
    total = int(rows[pure].sum())
    if total * np.log(base) > np.log(PURE_CHANCE):
        return None
    labels = [label for label, one in zip(cells.labels, pure, strict=True) if one]
    shown = " or ".join(labels[:3]) + (f" or {len(labels) - 3} more" if len(labels) > 3 else "")
    return shown, total, base


def _average_of_outcome(
    summary: ExperimentSummary, feature: FeatureSummary, cells: Cells
) -> tuple[str, float] | None:
    """Find out whether a numeric feature is the outcome's mean within groups of these rows (a target
    encoding).

    Within every bin the mean of such a column equals the mean of the outcome, up to rounding. A prediction
    made before the experiment, however good, misses by the outcome's noise: the sum over bins of (mean y -
    mean x)² · n / var(y) is chi-square. A value far below what that distribution allows gives the column
    away. Tried for all rows, the control's, the treated ones', each arm's, and for the difference between
    treated and control.
    """
    if feature.kind != NUMERIC:
        return None
    names = [arm.arm for arm in summary.arms]
    everyone = np.ones(len(names), bool)
    treated = np.array([name != summary.control for name in names])
    parts = {"": everyone, "in the control": ~treated, "in the treated arms": treated}
    if len(names) > 2:
        parts |= {f"in the arm {name!r}": np.array([other == name for other in names]) for name in names[1:]}
    for where, members in parts.items():
        rows, mean, variance = _moments(cells, members)
        p = _too_good(mean - _values(cells, members), variance / rows, rows)
        if p < AVERAGE_CHANCE:
            return f"by group {where}".rstrip(), p
    (rows_t, mean_t, variance_t), (rows_c, mean_c, variance_c) = (
        _moments(cells, treated),
        _moments(cells, ~treated),
    )
    gap = mean_t - mean_c - _values(cells, everyone)
    p = _too_good(gap, variance_t / rows_t + variance_c / rows_c, np.minimum(rows_t, rows_c))
    return ("by group, treated minus control", p) if p < AVERAGE_CHANCE else None


def _moments(cells: Cells, members: Bool) -> tuple[Float, Float, Float]:
    """Return (rows, mean, variance) of the outcome per bin without "missing"; empty bins get one row of
    zero.
    """
    rows = np.maximum(cells.outcome_rows[members, :-1].sum(axis=0), 1).astype(np.float64)
    mean = cells.outcome[members, :-1].sum(axis=0) / rows
    return rows, mean, cells.square[members, :-1].sum(axis=0) / rows - mean**2


def _values(cells: Cells, members: Bool) -> Float:
    """Return the mean of the feature per bin without "missing"."""
    rows = np.maximum(cells.outcome_rows[members, :-1].sum(axis=0), 1)
    return np.asarray(cells.value[members, :-1].sum(axis=0) / rows, np.float64)


def _too_good(gap: Float, noise: Float, rows: Float) -> float:
    """Return the probability that noise of these variances leaves gaps as small as these; 1 with too few
    bins.
    """
    used = (rows >= PURE_ROWS) & (noise > 0)
    if used.sum() < AVERAGE_BINS:
        return 1.0
    return float(stats.chi2.cdf((gap[used] ** 2 / noise[used]).sum(), int(used.sum())))
