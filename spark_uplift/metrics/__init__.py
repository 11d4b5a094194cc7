"""Uplift metrics: one curve of sufficient statistics, every published definition as post-processing of it."""

from __future__ import annotations

from spark_uplift.metrics.curves import Curve, Rows, curve_from_groups, curve_from_rows, policy_from_rows
from spark_uplift.metrics.pair import Pair
from spark_uplift.metrics.registry import METRICS, STYLES, Metric, find
from spark_uplift.metrics.scores import score
from spark_uplift.metrics.truth import KnownTruth, known_truth

__all__ = [
    "METRICS",
    "STYLES",
    "Curve",
    "KnownTruth",
    "Metric",
    "Pair",
    "Rows",
    "curve_from_groups",
    "curve_from_rows",
    "find",
    "known_truth",
    "policy_from_rows",
    "score",
]
