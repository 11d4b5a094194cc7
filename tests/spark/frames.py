"""Small experiments as DataFrames, and their configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_uplift.config import RunConfig, parse_config
from spark_uplift.spark.source import Source, resolve

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COLUMNS = {"id": "id", "treatment": "plan", "control": "control", "outcome": "visits"}


def config(warehouse: Any = "unused", **sections: Any) -> RunConfig:
    """A configuration; ``experiment`` needs only what differs from `rows`."""
    experiment: dict[str, Any] = {"table": "unused", **COLUMNS, **sections.pop("experiment", {})}
    for other in ("path", "dataset"):
        if other in experiment:
            del experiment["table"]
    return parse_config({"name": "small", "warehouse": str(warehouse), "experiment": experiment, **sections})


def rows(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """A sound experiment: two treatments, a count as outcome, one number with gaps, one category."""
    draw = np.random.default_rng(seed)
    age = draw.integers(18, 80, n).astype(float)
    age[draw.random(n) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "plan": draw.choice(["control", "mail", "call"], n),
            "visits": draw.poisson(2.0, n),
            "age": age,
            "region": draw.choice(["north", "south", "west"], n),
        }
    )


def frame(spark: SparkSession, data: pd.DataFrame, ddl: str | None = None) -> DataFrame:
    """Spark's DataFrame of pandas' one; NaN in a float column stays NaN, None in an object column is null."""
    values = [
        tuple(None if value is pd.NA else value for value in row) for row in data.itertuples(index=False)
    ]
    kinds = {"i": "bigint", "f": "double", "b": "boolean", "O": "string", "u": "bigint", "U": "string"}
    schema = ddl or ", ".join(f"`{name}` {kinds[kind.kind]}" for name, kind in data.dtypes.items())
    plain = [tuple(v.item() if hasattr(v, "item") else v for v in row) for row in values]
    return spark.createDataFrame(plain, schema)


def source(spark: SparkSession, data: pd.DataFrame | DataFrame, run: RunConfig) -> Source:
    df = frame(spark, data) if isinstance(data, pd.DataFrame) else data
    return resolve(df, run.experiment, "small", "v1")


@dataclass
class Run:
    """The part of a run's context that the first two steps use."""

    spark: SparkSession
    config: RunConfig
    source: Source
    run_id: str = "small-1"
