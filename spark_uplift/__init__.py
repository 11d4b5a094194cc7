"""Distributed uplift modelling on Apache Spark.

Names are imported when first used (PEP 562), so ``import spark_uplift`` needs neither pyspark, delta nor
mlflow: the pure layers work on a machine without Java.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "PolicyTree": "spark_uplift.learners.policy_tree",
    "PolicyTreeModel": "spark_uplift.learners.policy_tree_model",
    "UpliftEvaluator": "spark_uplift.learners.evaluator",
    "UpliftForest": "spark_uplift.learners.forest",
    "UpliftForestModel": "spark_uplift.learners.forest",
    "UpliftTree": "spark_uplift.learners.forest",
    "compare": "spark_uplift.spark.evaluate_compare",
    "cost_curve": "spark_uplift.spark.cost_curve",
    "decide": "spark_uplift.spark.decide",
    "doubly_robust": "spark_uplift.spark.nuisance",
    "evaluate": "spark_uplift.spark.evaluate",
    "get_session": "spark_uplift.spark.session",
    "known_truth": "spark_uplift.spark.truth",
    "load_config": "spark_uplift.config",
    "policy_value": "spark_uplift.spark.policy_value",
    "views": "spark_uplift.spark.views",
}
_SUBMODULES = ("datasets", "metrics", "synthetic")

__all__ = [
    "PolicyTree",
    "PolicyTreeModel",
    "UpliftEvaluator",
    "UpliftForest",
    "UpliftForestModel",
    "UpliftTree",
    "__version__",
    "compare",
    "cost_curve",
    "datasets",
    "decide",
    "doubly_robust",
    "evaluate",
    "get_session",
    "known_truth",
    "load_config",
    "metrics",
    "policy_value",
    "synthetic",
    "views",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use and keep it."""
    if name in _SUBMODULES:
        return import_module(f"spark_uplift.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'spark_uplift' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
