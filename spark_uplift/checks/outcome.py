"""Checks of the outcome."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_uplift.checks.association import chi_square
from spark_uplift.checks.result import FAIL, PASS, SKIP, WARN, CheckResult
from spark_uplift.checks.summary import ExperimentSummary
from spark_uplift.checks.wording import count, listed, p_value, percent

if TYPE_CHECKING:
    from spark_uplift.config import ChecksConfig

ATTRITION = 0.02
"""Difference between two arms' shares of missing outcomes that fails the check, when it is not chance."""


def null_outcome(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Count missing outcomes, and test whether they are as frequent in every arm.

    ``value`` is the largest difference between two arms' shares. Rows that drop out more often in one arm
    leave a sample that is no longer randomised.
    """
    filled = summary.filled_arms
    lost = np.array([arm.rows - arm.outcome_rows for arm in filled], np.float64)
    rows = np.array([arm.rows for arm in filled], np.float64)
    if not rows.sum():
        yield CheckResult("null_outcome", SKIP, "No row has a known arm.", summary.outcome)
        return
    about: dict[str, Any] = {"column_name": summary.outcome, "threshold": ATTRITION, "unit": "share"}
    if lost.sum() == rows.sum():
        message = f"Column {summary.outcome!r} has no usable value in any row."
        yield CheckResult("null_outcome", FAIL, message, hint="Is it the right outcome column?", **about)
        return
    shares = lost / rows
    spread = float(shares.max() - shares.min())
    _, p, _ = chi_square(np.stack([lost, rows - lost]))
    uneven = p < config.srm_alpha
    status = PASS if not uneven else FAIL if spread > ATTRITION else WARN
    each = ", ".join(f"{arm.arm!r} {percent(share)}" for arm, share in zip(filled, shares, strict=True))
    message = f"{count(int(lost.sum()))} of {count(int(rows.sum()))} rows have no usable outcome ({each})."
    if uneven:
        message += (
            f" That differs between the arms by {percent(spread)}, {p_value(p)}: a loss that "
            "depends on the arm."
        )
    yield CheckResult(
        "null_outcome",
        status,
        message,
        value=spread,
        hint="Find out why outcomes are missing; if missing means 'nothing happened', fill in 0 before "
        "the job."
        if status != PASS
        else None,
        **about,
    )


def outcome_variation(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Require an outcome that varies; ``value`` is its variance over all arms."""
    if not summary.outcome_rows:
        yield CheckResult("outcome_variation", SKIP, "No row has an outcome.", summary.outcome)
        return
    filled = [arm for arm in summary.arms if arm.outcome_rows]
    flat = [arm.arm for arm in filled if arm.minimum == arm.maximum]
    variance = summary.outcome_variance
    about: dict[str, Any] = {
        "column_name": summary.outcome,
        "value": variance,
        "threshold": 0.0,
        "unit": "outcome squared",
    }
    if min(arm.minimum for arm in filled) == max(arm.maximum for arm in filled):
        yield CheckResult(
            "outcome_variation",
            FAIL,
            f"Column {summary.outcome!r} has no variation: every outcome is {filled[0].minimum:g}.",
            hint="There is no effect to find. Is the outcome measured yet, and the right column?",
            **about,
        )
    elif flat:
        yield CheckResult(
            "outcome_variation",
            WARN,
            f"Column {summary.outcome!r} has no variation in the arms {listed(flat)}.",
            hint="Is the outcome recorded in these arms at all?",
            **about,
        )
    else:
        yield CheckResult(
            "outcome_variation", PASS, f"Column {summary.outcome!r} varies in every arm.", **about
        )


def outcome_kind(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Say which kind the outcome is; warn when it has two values that are not 0 and 1. ``value`` is its
    mean.
    """
    if not summary.outcome_rows:
        yield CheckResult("outcome_kind", SKIP, "No row has an outcome.", summary.outcome)
        return
    about: dict[str, Any] = {"column_name": summary.outcome, "value": summary.outcome_mean, "unit": "outcome"}
    low = min(arm.minimum for arm in summary.arms if arm.outcome_rows)
    high = max(arm.maximum for arm in summary.arms if arm.outcome_rows)
    if summary.outcome_values == 2 and not summary.outcome_binary:
        yield CheckResult(
            "outcome_kind",
            WARN,
            f"Column {summary.outcome!r} has two values, {low:g} and {high:g}; it is treated as a number.",
            hint=f"Recode it as 0 and 1, if {high:g} means that it happened; effects are then in "
            f"probability.",
            **about,
        )
        return
    kind = "binary" if summary.outcome_binary else "whole-numbered" if summary.outcome_whole else "continuous"
    message = (
        f"Column {summary.outcome!r} is {kind}, from {low:g} to {high:g}, mean {summary.outcome_mean:.6g}."
    )
    yield CheckResult("outcome_kind", PASS, message, **about)
