"""How many rows Spark sends to Python at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_MAX_BYTES = "spark.sql.execution.arrow.maxBytesPerBatch"
_FEATURES_UNMEASURED = 500  # 10,000 rows of so many doubles are 40 MB


@contextmanager
def unmeasured_batches(spark: SparkSession, features: int) -> Iterator[None]:
    """Let the number of rows alone limit the batches that Python is sent, where the platform lets us.

    Spark otherwise measures a batch at each of its rows, which costs as much as filling it. What is sent are rows of
    few numbers, or one part at a time.
    """
    try:
        before = spark.conf.get(_MAX_BYTES)
        if features <= _FEATURES_UNMEASURED:
            spark.conf.set(_MAX_BYTES, str(2**31 - 1))
    except Exception:  # an older Spark does not know it, serverless Spark does not let it be set
        yield
        return
    try:
        yield
    finally:
        spark.conf.set(_MAX_BYTES, str(before))
