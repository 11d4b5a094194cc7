"""Run the whole pipeline and the public API on a small experiment, and write down all that came out.

Two arguments: a folder with ``rows.parquet`` (see `tests.e2e.small`), and a JSON object with ``master``, ``conf`` and
``sections`` of the configuration. Prints ``{"session": …, "out": <path of the results>}``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spark_uplift as su
from spark_uplift.pipeline.context import open_run
from spark_uplift.pipeline.run import run
from spark_uplift.spark.session import is_connect
from tests.e2e.small import FEATURES, TIMES, configuration, snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def tables_of(spark: SparkSession, warehouse: str) -> dict[str, Any]:
    """Return every table as text, without times."""
    found = {}
    for name, table in snapshot(spark, warehouse).items():
        left = table.drop(columns=[column for column in TIMES if column in table])
        rows = [json.dumps(row, default=str, sort_keys=True) for row in left.to_dict("records")]
        found[name] = sorted(rows)
    return found


def api(spark: SparkSession, folder: Path) -> dict[str, Any]:
    """Fit, save, load, score, explain and evaluate through the public API."""
    df = spark.read.parquet(str(folder / "rows.parquet")).where("arm in ('call', 'control', 'mail')")
    df = df.where("spend < 50 and customer < 10000")
    roles: dict[str, Any] = {"treatmentCol": "arm", "controlName": "control", "labelCol": "spend"}
    model = su.UpliftForest(
        **roles, idCol="customer", featureCols=FEATURES, numTrees=8, maxDepth=4, intervals=True
    ).fit(df)
    path = str(folder / f"model-{'connect' if is_connect(spark) else 'classic'}")
    model.write().overwrite().save(path)
    again = su.UpliftForestModel.load(path)
    scored = again.transform(df)
    result = su.evaluate(scored, **roles, idCol="customer", bootstrap=10, seed=1)
    policy = su.UpliftEvaluator(**roles, metricName="autoc")
    return {
        "digests": [model.digest, again.digest],
        "importances": model.featureImportances,
        "scored": _rows(scored.where("customer <= 200")),
        "explained": _rows(model.explain(df.where("customer <= 50"))),
        "metrics": _rows(result.metrics),
        "uplift_table": _rows(result.uplift_table),
        "curves": result.curves.count(),
        "evaluator": policy.evaluate(scored),
    }


def _rows(df: DataFrame) -> list[str]:
    return sorted(json.dumps(row.asDict(recursive=True), default=str, sort_keys=True) for row in df.collect())


def main(argv: list[str]) -> int:
    """Run, and write the results beside the rows."""
    folder = Path(argv[0])
    asked: dict[str, Any] = json.loads(argv[1]) if len(argv) > 1 else {}
    spark = su.get_session("whole_run", master=asked.get("master"), conf=asked.get("conf"))
    context = open_run(configuration(folder, **asked.get("sections", {})))
    report = run(context)
    found = {
        "run_id": context.run_id,
        "report": report.stat().st_size,
        "tables": tables_of(spark, context.warehouse),
        "api": api(spark, folder),
    }
    kind = "connect" if is_connect(spark) else "classic"
    out = folder / f"{kind}.json"
    out.write_text(json.dumps(found), encoding="utf-8")
    print(json.dumps({"session": kind, "out": str(out)}), flush=True)
    spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
