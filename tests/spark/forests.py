"""A small experiment with every kind of column, and forests that grow on it quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

import spark_uplift as su

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FEATURES = ["income", "age", "town", "member"]
GIVEN: dict[str, Any] = {
    "treatmentCol": "arm",
    "controlName": "none",
    "labelCol": "visit",
    "featureCols": FEATURES,
}
SMALL: dict[str, Any] = {
    "numTrees": 4, "maxDepth": 4, "maxBins": 16, "minInstancesPerNode": 40, "minInstancesPerArm": 10,
    "nReg": 10.0, "shrinkage": 50.0, "seed": 3,
}  # fmt: skip


def experiment(n: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return rows: control and one treatment (``arm``) or two (``arms``), outcomes, weights, propensities, features."""
    rng = np.random.default_rng(seed)
    income = rng.normal(size=n)
    town = rng.choice(np.array(["ash", "birch", "cedar", "dale"], dtype=object), n)
    treated = rng.integers(0, 2, n)
    tau = 0.4 * (income > 0) * (town != "ash")
    kind = rng.integers(0, 3, n)
    income[rng.random(n) < 0.1] = np.nan
    town[rng.random(n) < 0.1] = None
    return pd.DataFrame(
        {
            "id": np.arange(n) * 7 + 1_000,
            "arm": np.array(["none", "mail"], dtype=object)[treated],
            "arms": np.array(["none", "call", "mail"], dtype=object)[kind],
            "visit": (rng.random(n) < 0.3 + treated * tau).astype(np.int64),
            "spend": np.round(rng.gamma(2.0, 10.0, n) + 5.0 * treated * tau, 2),
            "weight": rng.choice([0.0, 0.5, 1.0, 2.5], n),
            "logged": np.where(rng.random(n) < 0.5, 0.4, 0.6),
            "home": rng.integers(0, n // 3, n),
            "income": income,
            "age": rng.integers(18, 80, n),
            "town": town,
            "member": rng.random(n) < 0.4,
        }
    )


def to_spark(spark: SparkSession, data: pd.DataFrame, partitions: int = 2) -> DataFrame:
    """Return the rows as a DataFrame; NaN and None become nulls."""
    table = pa.Table.from_pandas(data, preserve_index=False)
    return spark.createDataFrame(table).repartition(partitions)


def forest(**settings: Any) -> su.UpliftForest:
    """Return a small forest on `experiment`; ``settings`` override."""
    return su.UpliftForest(**{**GIVEN, "idCol": "id", **SMALL, **settings})


def digest(df: DataFrame, **settings: Any) -> str:
    """Return the digest of a small forest."""
    return forest(**settings).fit(df).digest
