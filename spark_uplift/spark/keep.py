"""Rows kept while they are used several times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def refusal(df: DataFrame, *, on_disk: bool = False) -> Exception | None:
    """Ask Spark to keep rows, in memory and on local disks or there alone; return why it does not, None if it does."""
    from pyspark.storagelevel import StorageLevel

    try:
        _ = df.persist(StorageLevel.DISK_ONLY) if on_disk else df.persist()
    except Exception as error:  # serverless compute refuses it with an error of its own
        return error
    return None


@contextmanager
def kept(df: DataFrame, *, on_disk: bool = False) -> Iterator[DataFrame]:
    """Keep the rows within the body, where the platform can; serverless Spark can't, and computes them anew.

    Parameters
    ----------
    df : DataFrame
    on_disk : bool
        On local disks alone, for what would fill the memory.
    """
    if refusal(df, on_disk=on_disk) is not None:
        yield df
        return
    try:
        yield df
    finally:
        df.unpersist()
