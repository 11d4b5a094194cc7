"""A small experiment with every kind of bad row, its configuration, and what a run of it left."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from spark_uplift import schemas
from spark_uplift.config import RunConfig, parse_config
from spark_uplift.pipeline.context import RunContext, open_run
from spark_uplift.pipeline.run import STEPS
from spark_uplift.schemas import campaigns, decisions
from spark_uplift.spark import tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GOOD = 6000
BAD: dict[str, int] = {
    "null_arm": 3, "unknown_arm": 2, "null_outcome": 4, "not_finite_outcome": 1, "null_unit_id": 2, "duplicate_unit": 5,
    "unit_in_two_arms": 2,
}  # fmt: skip
ARMS = ("call", "control", "mail")
FEATURES = ["age", "visits before", "region", "member"]
SECRET = "hunter2-very-secret"
TIMES = ("created_at", "assigned_at", "quarantined_at", "scored_at", "started_at", "finished_at")
# Written when asked for: by `evaluation.compare_to`, by a section `decide`, and by campaigns.
ON_DEMAND = {"model_comparison", *(t.name for part in (campaigns, decisions) for t in part.DECLARED)}
WRITTEN = [name for name in schemas.TABLES if name not in ON_DEMAND]
JOBS = [step.name for step in STEPS if step.name != "decide"]  # which needs a section


def good_rows(n: int = GOOD, seed: int = 11) -> pd.DataFrame:
    """Mail works for the young, a call for those of the north; ages and regions have gaps."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n).astype(float)
    region = rng.choice(["north", "south", "west"], n)
    arm = rng.choice(ARMS, n, p=(0.3, 0.4, 0.3))
    effect = np.where(arm == "mail", np.where(age < 40, 1.5, -0.3), 0.0)
    effect = effect + np.where(arm == "call", np.where(region == "north", 2.0, 0.1), 0.0)
    before = rng.poisson(2.0, n)
    return pd.DataFrame(
        {
            "customer": np.arange(1, n + 1),
            "arm": arm,
            "spend": np.round(2.0 + 0.5 * before + effect + rng.normal(0, 1.5, n), 2),
            "age": np.where(rng.random(n) < 0.1, np.nan, age),
            "visits before": before.astype("int32"),
            "region": np.where(rng.random(n) < 0.05, None, region),
            "member": rng.random(n) < 0.4,
        }
    )


def all_rows() -> list[dict[str, Any]]:
    good = good_rows().to_dict("records")
    spare = iter(good_rows(50, seed=12).assign(customer=lambda d: d.customer + 10_000).to_dict("records"))
    spoilt = {
        "null_arm": {"arm": None},
        "unknown_arm": {"arm": "leaflet"},
        "null_outcome": {"spend": None},
        "not_finite_outcome": {"spend": math.inf},
        "null_unit_id": {"customer": None},
    }
    bad = [{**next(spare), **change} for reason, change in spoilt.items() for _ in range(BAD[reason])]
    bad += [{**row, "spend": row["spend"] + 100.0} for row in good[: BAD["duplicate_unit"]]]
    bad += [{**next(spare), "customer": 20_000, "arm": arm} for arm in ("mail", "control")]
    return [*bad, *good]


SCHEMA = pa.schema(
    [("customer", pa.int64()), ("arm", pa.string()), ("spend", pa.float64()), ("age", pa.float64()),
     ("visits before", pa.int32()), ("region", pa.string()), ("member", pa.bool_())]
)  # fmt: skip


def write_parquet(rows: list[dict[str, Any]] | pd.DataFrame, path: Path) -> Path:
    if isinstance(rows, pd.DataFrame):
        rows.to_parquet(path, index=False)
    else:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return path


def configuration(folder: Path, **sections: Any) -> RunConfig:
    experiment = {
        "path": str(folder / "rows.parquet"), "id": "customer", "treatment": "arm", "control": "control",
        "arms": list(ARMS), "shares": {"call": 0.3, "control": 0.4, "mail": 0.3}, "outcome": "spend",
        "features": FEATURES,
    }  # fmt: skip
    values: dict[str, Any] = {
        "name": "small",
        "warehouse": str(folder / "warehouse"),
        "experiment": {**experiment, **sections.pop("experiment", {})},
        "forest": {"numTrees": 20, "maxDepth": 4, "minInstancesPerNode": 100, "shrinkage": 50.0},
        "evaluation": {"bootstrap": 20},
        "mlflow": {"model_name": "small-uplift"},
        # A session is there already: these are only carried along, as those of a cluster are.
        "spark": {
            "conf": {
                "spark.hadoop.fs.s3a.secret.key": SECRET,
                "spark.jars.repositories": f"https://me:{SECRET}@host/x",
            }
        },
    }
    return parse_config({**values, **sections})


@dataclass
class Finished:
    """A run that has ended, and its tables as they were then."""

    context: RunContext
    folder: Path
    report: Path
    tables: dict[str, pd.DataFrame]

    def job(self, name: str) -> pd.Series:
        jobs = self.tables["job_runs"]
        (row,) = [row for _, row in jobs.iterrows() if row["job"] == name]
        return row

    @property
    def model_id(self) -> str:
        return str(dict(self.job("train")["outputs"])["model_id"])


def snapshot(spark: SparkSession, warehouse: str) -> dict[str, pd.DataFrame]:
    """Every table, whole, in an order of its rows' own."""
    found = {}
    for name in schemas.TABLES:
        if tables.exists(spark, warehouse, name):
            rows = [row.asDict(recursive=True) for row in tables.read(spark, warehouse, name).collect()]
            found[name] = pd.DataFrame(
                sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))
            )
    return found


def tracking_uri(finished: Finished) -> str:
    return f"sqlite:///{finished.folder}/warehouse/mlflow.db"


def registered_versions(finished: Finished) -> list[tuple[str, int]]:
    with sqlite3.connect(finished.folder / "warehouse" / "mlflow.db") as database:
        return database.execute("SELECT name, version FROM model_versions ORDER BY version").fetchall()


def other(finished: Finished, **sections: Any) -> RunContext:
    """Another run in the same warehouse; quick."""
    quick: dict[str, Any] = {
        "name": "other",
        "forest": {"numTrees": 3, "maxDepth": 3, "minInstancesPerNode": 200},
        "evaluation": {"bootstrap": 0},
        "mlflow": {"enabled": False},
        "report": {"path": str(finished.folder / "other.html")},
    }
    return open_run(configuration(finished.folder, **{**quick, **sections}))


def of_run(spark: SparkSession, context: RunContext, name: str) -> list[Any]:
    return tables.read(spark, context.warehouse, name, {"run_id": context.run_id}).collect()


def status(spark: SparkSession, context: RunContext) -> dict[str, tuple[str, str]]:
    return {row["job"]: (row["status"], row["message"]) for row in of_run(spark, context, "job_runs")}
