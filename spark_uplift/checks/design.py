"""Checks of the design: arms, their sizes, units and unusable rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from spark_uplift.checks.result import FAIL, PASS, SKIP, WARN, CheckResult
from spark_uplift.checks.summary import ExperimentSummary
from spark_uplift.checks.wording import count, listed, p_value, percent
from spark_uplift.errors import nearest

if TYPE_CHECKING:
    from spark_uplift.config import ChecksConfig


def arm_counts(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Compare the arms' sizes with the design's shares: the sample-ratio check.

    Pearson's chi-square test; ``value`` is its p-value. With clusters the clusters are counted, because they
    and not the rows were randomised. Without ``experiment.shares`` there is nothing to compare with, and the
    check is skipped.
    """
    counts = {arm.arm: arm.clusters if arm.clusters is not None else arm.rows for arm in summary.arms}
    total = sum(counts.values())
    if not total:
        yield CheckResult("arm_counts", SKIP, "No row has a known arm, so the arms can't be counted.")
        return
    unit = "clusters" if summary.arms[0].clusters is not None else "rows"
    sizes = ", ".join(f"{arm!r} {count(n)} ({percent(n / total)})" for arm, n in counts.items())
    if not summary.shares:
        equal = float(stats.chisquare(list(counts.values())).pvalue) if len(counts) > 1 else 1.0
        yield CheckResult(
            "arm_counts",
            SKIP,
            f"Arms by {unit}: {sizes}. The design's shares are not given; against equal shares "
            f"{p_value(equal)}.",
            summary.treatment,
            value=equal,
            threshold=config.srm_alpha,
            unit="p-value",
            hint="Give experiment.shares, e.g. {control: 0.5, offer: 0.5}, to have the sample ratio checked.",
        )
        return
    yield _sample_ratio(summary, config, counts, unit, sizes)


def _sample_ratio(
    summary: ExperimentSummary, config: ChecksConfig, counts: dict[str, int], unit: str, sizes: str
) -> CheckResult:
    shares = dict(summary.shares or {})
    if set(shares) != set(counts):
        return CheckResult(
            "arm_counts",
            FAIL,
            f"The design has shares for the arms {listed(sorted(shares))}, the data have "
            f"{listed(sorted(counts))}.",
            summary.treatment,
            hint="Let experiment.shares name exactly the arms of the treatment column, the control included.",
        )
    expected = np.array([shares[arm] for arm in counts], np.float64)
    expected *= sum(counts.values()) / expected.sum()
    p = float(stats.chisquare(list(counts.values()), expected).pvalue)
    bad = p < config.srm_alpha
    wanted = ", ".join(f"{arm!r} {percent(share / sum(shares.values()))}" for arm, share in shares.items())
    verdict = (
        "The arms' sizes can't be the design's (sample ratio mismatch)"
        if bad
        else "The arms' sizes agree with the design"
    )
    return CheckResult(
        "arm_counts",
        FAIL if bad else PASS,
        f"{verdict}: {sizes} by {unit}, designed {wanted}; chi-square {p_value(p)}.",
        summary.treatment,
        value=p,
        threshold=config.srm_alpha,
        unit="p-value",
        hint="Look for rows that were lost or logged in one arm only (bots, redirects, crashes, filters "
        "after the "
        "assignment); effects estimated from such data are not to be trusted."
        if bad
        else None,
    )


def one_arm_only(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Require rows in the control and in at least one treatment; ``value`` is the number of arms with
    rows.
    """
    filled = [arm.arm for arm in summary.filled_arms]
    empty = [arm.arm for arm in summary.arms if not arm.rows]
    about: dict[str, Any] = {
        "column_name": summary.treatment,
        "value": float(len(filled)),
        "threshold": 2.0,
        "unit": "arms",
    }
    if summary.control not in filled:
        seen = [*filled, *summary.unknown_arms]
        near = nearest(summary.control, seen)
        yield CheckResult(
            "one_arm_only",
            FAIL,
            f"No row of column {summary.treatment!r} has the control arm {summary.control!r}; "
            f"it has {listed(seen) or 'no arm at all'}.",
            hint=f"Did you mean {near!r}?" if near else "Set experiment.control to one of the arms.",
            **about,
        )
    elif len(filled) < 2:
        yield CheckResult(
            "one_arm_only",
            FAIL,
            f"Column {summary.treatment!r} has one arm only, {filled[0]!r}: there is nothing to compare it "
            "with.",
            hint="An uplift model needs the control and at least one treatment in the same table.",
            **about,
        )
    else:
        yield CheckResult(
            "one_arm_only",
            WARN if empty else PASS,
            f"{len(filled)} arms have rows."
            + (f" The expected arms {listed(empty)} have none." if empty else ""),
            hint="Take arms that were not run out of experiment.arms." if empty else None,
            **about,
        )


def arm_values(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Count rows without an arm or with an arm that was not expected; ``value`` is their number."""
    unknown = sum(summary.unknown_arms.values())
    bad = unknown + summary.null_arm
    parts, hint = [], None
    if summary.null_arm:
        parts.append(f"{count(summary.null_arm)} rows have no arm")
    if unknown:
        most = sorted(summary.unknown_arms.items(), key=lambda item: (-item[1], item[0]))
        named = ", ".join(f"{arm!r} ({count(n)} rows)" for arm, n in most[:5])
        parts.append(f"{count(unknown)} rows have an unknown arm: {named}" + (" …" if len(most) > 5 else ""))
        near = nearest(most[0][0], [arm.arm for arm in summary.arms])
        hint = (
            f"Is {most[0][0]!r} meant to be {near!r}?"
            if near
            else "Add the arm to experiment.arms, if it is one."
        )
    message = "; ".join(parts) if parts else "Every row has a known arm"
    yield CheckResult(
        "arm_values",
        WARN if bad else PASS,
        f"{message}." if not bad else f"Column {summary.treatment!r}: {message}; they are quarantined.",
        summary.treatment,
        value=float(bad),
        threshold=0.0,
        unit="rows",
        hint=hint,
    )


def duplicate_units(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Count rows beyond the first of a unit, and those of units in two arms; ``value`` is their share of all
    rows.
    """
    if not summary.has_id:
        yield CheckResult(
            "duplicate_units",
            SKIP,
            "The experiment has no id column, so equal rows count as different units.",
            hint="Give experiment.id to have duplicates found.",
        )
        return
    bad = summary.duplicate_rows + summary.units_in_two_arms
    share = bad / summary.rows if summary.rows else 0.0
    message = "Every unit has one row."
    if bad:
        message = (
            f"{count(summary.duplicate_rows)} rows repeat a unit and {count(summary.units_in_two_arms)} "
            "rows belong to "
            f"units seen in two arms, together {percent(share)} of the rows; they are quarantined."
        )
    status = PASS if not bad else FAIL if share > config.max_quarantined_share else WARN
    yield CheckResult(
        "duplicate_units",
        status,
        message,
        value=share,
        threshold=config.max_quarantined_share,
        unit="share",
        hint="A unit in two arms has seen both; find out why before you trust the rest. If a row is not "
        "one unit, "
        "choose the column that is, or aggregate first."
        if bad
        else None,
    )


def quarantined_share(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Compare the share of unusable rows with the configured limit; ``value`` is the share."""
    bad = sum(summary.quarantined.values())
    share = bad / summary.rows if summary.rows else 0.0
    reasons = sorted(summary.quarantined.items(), key=lambda item: (-item[1], item[0]))
    by_reason = ", ".join(f"{reason} {count(n)}" for reason, n in reasons)
    over = share > config.max_quarantined_share
    message = "Every row can be used."
    if bad:
        message = f"{count(bad)} of {count(summary.rows)} rows ({percent(share)}) can't be used: {by_reason}."
    yield CheckResult(
        "quarantined_share",
        FAIL if over else PASS,
        message,
        value=share,
        threshold=config.max_quarantined_share,
        unit="share",
        hint="Mend the source, or raise checks.max_quarantined_share when the loss is understood."
        if over
        else None,
    )
