"""All checks by name. A new check is a function and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from spark_uplift.checks import design, features, leakage, outcome
from spark_uplift.checks.result import FAIL, CheckResult
from spark_uplift.checks.summary import ExperimentSummary

if TYPE_CHECKING:
    from spark_uplift.config import ChecksConfig

Check = Callable[[ExperimentSummary, "ChecksConfig"], Iterable[CheckResult]]

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "arm_counts": design.arm_counts,
        "one_arm_only": design.one_arm_only,
        "arm_values": design.arm_values,
        "duplicate_units": design.duplicate_units,
        "quarantined_share": design.quarantined_share,
        "null_outcome": outcome.null_outcome,
        "outcome_variation": outcome.outcome_variation,
        "outcome_kind": outcome.outcome_kind,
        "all_null_feature": features.all_null_feature,
        "constant_feature": features.constant_feature,
        "missing_share": features.missing_share,
        "infinite_feature": features.infinite_feature,
        "text_in_numbers": features.text_in_numbers,
        "too_many_categories": features.too_many_categories,
        "high_cardinality": features.high_cardinality,
        "arm_prediction": leakage.arm_prediction,
        "outcome_leakage": leakage.outcome_leakage,
    }
)
"""In the order in which a reader wants the findings: design, outcome, features, leaks."""


def run(summary: ExperimentSummary, config: ChecksConfig) -> list[CheckResult]:
    """Return what all checks found.

    Parameters
    ----------
    summary : ExperimentSummary
    config : ChecksConfig
        Thresholds; failures of the checks in ``warn_only`` become warnings.

    Returns
    -------
    list of CheckResult
        At least one a check, in the order of the registry.
    """
    softened = set(config.warn_only)
    return [
        result.softened() if name in softened else result
        for name, check in CHECKS.items()
        for result in check(summary, config)
    ]


def failures(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the findings that fail the experiment."""
    return [result for result in results if result.status == FAIL]
