from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession

import spark_uplift as su
from spark_uplift.spark.session import is_connect


def test_the_active_session_is_returned(spark: SparkSession) -> None:
    assert su.get_session("other", conf={"spark.sql.shuffle.partitions": "99"}) is spark
    assert spark.conf.get("spark.sql.shuffle.partitions") == "2"
    assert not is_connect(spark)


def test_settings_that_everything_relies_on(spark: SparkSession) -> None:
    assert spark.conf.get("spark.sql.extensions") == "io.delta.sql.DeltaSparkSessionExtension"
    assert spark.conf.get("spark.databricks.delta.snapshotPartitions") == "2"
    assert spark.conf.get("spark.ui.enabled") == "false"
    assert spark.conf.get("spark.driver.bindAddress") == "127.0.0.1"
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert spark.conf.get("spark.sql.execution.arrow.pyspark.validateSchema.enabled") == "true"


def test_workers_run_this_interpreter_with_a_writable_kernel_cache(spark: SparkSession) -> None:
    schema = pa.schema([("python", pa.string()), ("cache", pa.string())])

    def look(batches):
        for _ in batches:
            facts = [[sys.executable], [os.environ["NUMBA_CACHE_DIR"]]]
            yield pa.RecordBatch.from_arrays([pa.array(fact) for fact in facts], schema=schema)

    row = spark.range(1, numPartitions=1).mapInArrow(look, "python string, cache string").collect()[0]
    assert Path(row.python).resolve() == Path(sys.executable).resolve()
    assert os.access(row.cache, os.W_OK)


def test_delta_reads_what_it_wrote(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(5).write.format("delta").save(str(tmp_path / "t"))
    assert spark.read.format("delta").load(str(tmp_path / "t")).count() == 5
