"""Checks of the features one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from spark_uplift.checks.result import FAIL, PASS, SKIP, WARN, CheckResult
from spark_uplift.checks.summary import CATEGORICAL, ExperimentSummary, FeatureSummary
from spark_uplift.checks.wording import count, percent
from spark_uplift.core.binning import RARE_LEVEL_ROWS
from spark_uplift.core.dtypes import MAX_BINS

if TYPE_CHECKING:
    from spark_uplift.config import ChecksConfig

MAX_LEVELS = MAX_BINS - 1
"""Categories that a model keeps apart, the pooled rare ones counting as one."""

ID_LIKE = 0.5
"""Distinct values per row from which a category looks like an id."""

FEW_LEVELS = 20
"""Up to so many levels a column of text is a category, whether or not some levels look like numbers ('1',
'2', '3+').
"""

MOSTLY_NUMBERS = 0.5
"""Share of number-like text from which a column was probably meant to be numeric."""


def _or_pass(
    check: str, findings: list[CheckResult], message: str, summary: ExperimentSummary
) -> Iterator[CheckResult]:
    if findings:
        yield from findings
    elif not summary.features:
        yield CheckResult(check, SKIP, "There are no features.")
    else:
        yield CheckResult(check, PASS, message)


def _missing(feature: FeatureSummary) -> int:
    return sum(feature.missing)


def _codes(feature: FeatureSummary) -> int:
    """Return how many codes the categories take: one each, and one for all that are rare."""
    return feature.frequent_levels + int(feature.distinct > feature.frequent_levels)


def all_null_feature(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Refuse features without a single value; ``value`` is their share of missing values."""
    findings = [
        CheckResult(
            "all_null_feature",
            FAIL,
            f"Feature {feature.name!r} has no value in any row.",
            feature.name,
            value=1.0,
            threshold=1.0,
            unit="share",
            hint="Take it out of experiment.features, or mend the join that should fill it.",
        )
        for feature in summary.features
        if summary.known_rows and _missing(feature) == summary.known_rows
    ]
    return _or_pass("all_null_feature", findings, "Every feature has values.", summary)


def constant_feature(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Warn of features with one value and nothing missing: no split can use them. ``value`` is the distinct
    count.
    """
    findings = [
        CheckResult(
            "constant_feature",
            WARN,
            f"Feature {feature.name!r} has one value only, "
            f"{feature.levels[0][0] if feature.levels else format(feature.minimum, 'g')}.",
            feature.name,
            value=1.0,
            threshold=2.0,
            unit="values",
            hint="It is harmless, but useless; take it out of experiment.features.",
        )
        for feature in summary.features
        if feature.constant and _missing(feature) == 0
    ]
    return _or_pass("constant_feature", findings, "Every feature has at least two values.", summary)


def missing_share(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Warn of features that are nearly always missing; ``value`` is the share of rows without a value."""
    findings, worst, limit = [], 0.0, config.max_missing_share
    for feature in summary.features:
        share = _missing(feature) / summary.known_rows if summary.known_rows else 0.0
        if share >= 1.0:
            continue  # all_null_feature has it
        worst = max(worst, share)
        if share > limit:
            findings.append(
                CheckResult(
                    "missing_share",
                    WARN,
                    f"Feature {feature.name!r} is missing in {percent(share)} of the rows.",
                    feature.name,
                    value=share,
                    threshold=limit,
                    unit="share",
                    hint="Missing is a value of its own to the model; check that it means the same in every "
                    "arm.",
                )
            )
    if not findings and summary.features:
        message = f"No feature is missing in more than {percent(worst)} of the rows."
        findings = [CheckResult("missing_share", PASS, message, value=worst, threshold=limit, unit="share")]
    return _or_pass("missing_share", findings, "", summary)


def infinite_feature(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Warn of infinite values; ``value`` is the number of rows."""
    findings = [
        CheckResult(
            "infinite_feature",
            WARN,
            f"Feature {feature.name!r} is infinite in {count(feature.infinite)} rows; they are quarantined.",
            feature.name,
            value=float(feature.infinite),
            threshold=0.0,
            unit="rows",
            hint="Usually a division by zero in the source. Use null when there is no value.",
        )
        for feature in summary.features
        if feature.infinite
    ]
    return _or_pass("infinite_feature", findings, "No feature has infinite values.", summary)


def text_in_numbers(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Find columns of text that were meant to be numeric; ``value`` is the share of values that read as a
    number.

    Such a column would be treated as a category with thousands of levels. It fails when some values are no
    numbers, and is a warning when all are (a code, such as a postal code, is a category indeed).
    """
    findings = []
    for feature in summary.features:
        values = summary.known_rows - _missing(feature)
        share = feature.number_rows / values if values else 0.0
        if feature.distinct <= FEW_LEVELS or share < MOSTLY_NUMBERS:
            continue
        mixed = feature.text_example is not None
        message = f"Feature {feature.name!r} is text, but {percent(share)} of its values are numbers"
        message += f"; {feature.text_example!r} is not." if mixed else "."
        hint = (
            f"Cast it to a number (what is none becomes null), or list {feature.name!r} in "
            "experiment.categorical."
        )
        status = FAIL if mixed else WARN
        about: dict[str, Any] = {"value": share, "threshold": MOSTLY_NUMBERS, "unit": "share", "hint": hint}
        findings.append(CheckResult("text_in_numbers", status, message, feature.name, **about))
    return _or_pass("text_in_numbers", findings, "No feature is a number stored as text.", summary)


def too_many_categories(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Refuse features with more frequent categories than a model can tell apart; ``value`` is their
    number.
    """
    findings = [
        CheckResult(
            "too_many_categories",
            FAIL,
            f"Feature {feature.name!r} has {count(feature.frequent_levels)} categories that are not rare, of "
            f"{count(feature.distinct)} in all; at most {MAX_LEVELS} can be told apart.",
            feature.name,
            value=float(feature.frequent_levels),
            threshold=float(MAX_LEVELS),
            unit="categories",
            hint="Group the categories (region instead of postal code), or use numbers that describe them.",
        )
        for feature in summary.features
        if feature.kind == CATEGORICAL and _codes(feature) > MAX_LEVELS
    ]
    return _or_pass(
        "too_many_categories",
        findings,
        f"No feature has more than {MAX_LEVELS} frequent categories.",
        summary,
    )


def high_cardinality(summary: ExperimentSummary, config: ChecksConfig) -> Iterator[CheckResult]:
    """Warn of categories that look like ids, or of which many are pooled; ``value`` is the number of
    categories.
    """
    findings = []
    for feature in summary.features:
        if feature.kind != CATEGORICAL or feature.distinct <= MAX_LEVELS:
            continue
        values = summary.known_rows - _missing(feature)
        about: dict[str, Any] = {
            "value": float(feature.distinct),
            "threshold": float(MAX_LEVELS),
            "unit": "categories",
        }
        if feature.distinct > ID_LIKE * values:
            message = (
                f"Feature {feature.name!r} has {count(feature.distinct)} categories in {count(values)} rows: "
                "it looks like an id."
            )
            hint = "An id tells nothing about other units; take it out of experiment.features."
        else:
            message = (
                f"Feature {feature.name!r} has {count(feature.distinct)} categories; all but "
                f"{count(feature.frequent_levels)} have fewer than {RARE_LEVEL_ROWS} rows and are pooled."
            )
            hint = "Group the categories yourself, if the rare ones matter."
        findings.append(CheckResult("high_cardinality", WARN, message, feature.name, hint=hint, **about))
    return _or_pass(
        "high_cardinality", findings, f"No feature has more than {MAX_LEVELS} categories.", summary
    )
