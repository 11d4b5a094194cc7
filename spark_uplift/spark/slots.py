"""How many tasks can run at once, asked in a way that every kind of Spark answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PROBE_ROWS = 1 << 16


def parallelism(spark: SparkSession) -> int:
    """Return the number of task slots, at least 1.

    Read from a local master's name where there is one; elsewhere Spark divides a range without a given number of
    partitions by its default parallelism, so counting those partitions tells it (one small job).
    """
    from pyspark.sql import functions as F

    try:
        master = spark.conf.get("spark.master", "") or ""
    except Exception:  # serverless Spark does not tell
        master = ""
    local = re.fullmatch(r"local\[(\d+)(?:,\s*\d+)?\]", master)
    if local:
        return max(1, int(local.group(1)))
    found = spark.range(_PROBE_ROWS).select(F.spark_partition_id().alias("p")).distinct().count()
    return max(1, int(found))
