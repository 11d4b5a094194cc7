"""Is the experiment sound? Pure rules on a summary of it, and a registry of them.

A rule is a function ``(summary, config) -> iterable of CheckResult`` and one line in ``registry.py``.
"""

from __future__ import annotations

from spark_uplift.checks.registry import CHECKS, failures, run
from spark_uplift.checks.result import FAIL, PASS, SKIP, STATUSES, WARN, CheckResult
from spark_uplift.checks.summary import ArmSummary, Cells, ExperimentSummary, FeatureSummary

__all__ = [
    "CHECKS",
    "FAIL",
    "PASS",
    "SKIP",
    "STATUSES",
    "WARN",
    "ArmSummary",
    "Cells",
    "CheckResult",
    "ExperimentSummary",
    "FeatureSummary",
    "failures",
    "run",
]
