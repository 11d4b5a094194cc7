"""Rows kept in memory while they are used several times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@contextmanager
def kept(df: DataFrame) -> Iterator[DataFrame]:
    """Keep the rows within the body, where the platform can; serverless Spark can't, and computes them anew."""
    try:
        df.persist()
    except Exception:
        yield df
        return
    try:
        yield df
    finally:
        df.unpersist()
