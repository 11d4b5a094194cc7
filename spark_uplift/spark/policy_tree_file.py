"""Files of policy trees: one JSON line at ``<path>/metadata``, as pyspark.ml has it; never pickle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from spark_uplift.errors import ModelError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["read_line", "write_line"]


def write_line(spark: SparkSession, path: str, line: str, *, overwrite: bool) -> None:
    """Write a model's JSON.

    Raises
    ------
    ModelError
        When there is a model already and it may not be overwritten.
    """
    from pyspark.errors import AnalysisException

    text = spark.createDataFrame([(line,)], "value string").coalesce(1)
    try:
        text.write.mode("overwrite" if overwrite else "error").text(f"{path}/metadata")
    except AnalysisException as error:
        if overwrite or "ALREADY_EXISTS" not in str(error):
            raise
        raise ModelError(
            f"The path '{path}' must not hold a model yet. Got one there instead. "
            "Hint: choose another path, or call model.write().overwrite().save(path)."
        ) from error


def read_line(spark: SparkSession, path: str) -> dict[str, Any]:
    """Read a model's JSON.

    Raises
    ------
    ModelError
        When there is none, or it is damaged.
    """
    from pyspark.errors import AnalysisException

    try:
        lines = spark.read.text(f"{path}/metadata").limit(1).collect()
    except AnalysisException as error:
        raise ModelError(f"The path '{path}' must hold a saved model. Got none there instead.") from error
    try:
        found: dict[str, Any] = json.loads(lines[0]["value"] if lines else "")
    except ValueError as error:
        raise ModelError(f"The model at '{path}' is damaged: {error}.") from error
    return found
