"""What the package offers, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

import spark_uplift

NAMES = [
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


def test_public_names() -> None:
    assert sorted(spark_uplift.__all__) == NAMES
    assert dir(spark_uplift) == NAMES
    for name in NAMES:
        assert getattr(spark_uplift, name) is not None


def test_public_classes_live_where_users_find_them() -> None:
    for name in (
        "PolicyTree",
        "PolicyTreeModel",
        "UpliftEvaluator",
        "UpliftForest",
        "UpliftForestModel",
        "UpliftTree",
    ):
        assert getattr(spark_uplift, name).__module__ == "spark_uplift"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'UpliftForrest'"):
        spark_uplift.UpliftForrest


def test_importing_needs_neither_spark_nor_mlflow() -> None:
    code = "import spark_uplift, sys; sys.exit(any(m in sys.modules for m in ('pyspark', 'delta', 'mlflow')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
