"""The forests whose digests the tests of this tier compare, and how they are asked for."""

from __future__ import annotations

from typing import Any

from spark_uplift.spark import plan

STRATEGIES = [name for name in plan.STRATEGIES if name != "auto"]

KINDS: dict[str, dict[str, Any]] = {
    "binary": {},
    "continuous, weighted, three arms": {
        "labelCol": "spend", "treatmentCol": "arms", "weightCol": "weight", "propensityCol": "logged",
    },
    "honest little bags of clusters": {"clusterCol": "home", "honest": True, "intervals": True, "numTrees": 8},
    "by content": {"idCol": None, "treatmentCol": "arms", "criterion": "kl", "featureSubsetStrategy": "all"},
}  # fmt: skip
"""Missing values and categories are in the features of all (`tests.spark.forests.experiment`)."""

LARGE: dict[str, Any] = {"treatmentCol": "arms", "numTrees": 60, "maxDepth": 6}
LARGE_ROWS = 100_000
"""Grows for seconds, so that something can happen meanwhile."""

CLUSTER_CONF = {
    "spark.driver.memory": "1g",
    "spark.executor.memory": "1g",
    "spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.executor.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.sql.execution.arrow.pyspark.validateSchema.enabled": "true",
}


def fit(kind: str, strategy: str = "auto", partitions: int = 2, shuffle: int = 0) -> dict[str, Any]:
    """Return what ``fit_digest`` is told about one fit of a kind, or of ``LARGE``."""
    settings = LARGE if kind == "large" else KINDS[kind]
    told = {"settings": {**settings, "strategy": strategy}, "partitions": partitions, "shuffle": shuffle}
    if kind == "large":
        told["rows"] = LARGE_ROWS
    if strategy == "data_parallel":  # so few rows would be finished in one task at once, without a pass
        told["limits"] = {"small_rows": 0, "tasks": 4}
    return told
