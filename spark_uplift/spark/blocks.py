"""The packed blocks of a ``data_parallel`` training: packed once, read in every pass.

With a checkpoint they are a Parquet table; without, Spark keeps them in memory and on the executors' disks, and where
it can't (serverless) they are packed again for each pass, from the source, to the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.errors import DataError
from spark_uplift.spark import arrow
from spark_uplift.spark.checkpoint import Checkpoint
from spark_uplift.spark.dataset import Dataset, changed_rows, checksum
from spark_uplift.spark.keep import refusal

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LOG = logging.getLogger(__name__)

_FACTS = "blocks bigint, rows bigint, sums binary, damaged bigint"
_FACT_FIELDS = pa.schema(
    [("blocks", pa.int64()), ("rows", pa.int64()), ("sums", pa.binary()), ("damaged", pa.int64())]
)


@dataclass(frozen=True)
class Blocks:
    """Packed blocks, ready for passes.

    Attributes
    ----------
    frame : DataFrame
        Columns words and units.
    stats : ndarray of shape (arms, 5), dtype=int64
        Statistics of all rows.
    """

    frame: DataFrame
    stats: npt.NDArray[np.int64]


def _make_teller(verify: bool) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def tell(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        blocks = rows = damaged = 0
        sums: npt.NDArray[np.int64] | None = None
        for batch in batches:
            for i in range(batch.num_rows):
                found = arrow.binary(batch.column("sums")[i], np.int64)
                sums = found.copy() if sums is None else sums + found
                rows += batch.column("rows")[i].as_py()
                blocks += 1
                if verify:
                    words = arrow.binary(batch.column("words")[i], np.uint64)
                    units = arrow.binary(batch.column("units")[i], np.uint64)
                    damaged += checksum(words, units) != batch.column("checksum")[i].as_py()
        if sums is not None:
            columns = [[blocks], [rows], [sums.tobytes()], [damaged]]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, _FACT_FIELDS, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=_FACT_FIELDS)

    return tell


@dataclass(frozen=True)
class _Facts:
    blocks: int
    rows: int
    stats: npt.NDArray[np.int64]
    damaged: int
    partitions: int


def _facts(frame: DataFrame, n_arms: int, verify: bool) -> _Facts:
    """Return what the blocks add up to, a row a partition on the way."""
    wanted = frame if verify else frame.select("rows", "sums")
    found = wanted.mapInArrow(_make_teller(verify), _FACTS).collect()
    stats = np.zeros((n_arms, 5), np.int64)
    for row in found:
        stats += np.frombuffer(row["sums"], np.int64).reshape(n_arms, 5)
    return _Facts(
        blocks=sum(row["blocks"] for row in found),
        rows=sum(row["rows"] for row in found),
        stats=stats,
        damaged=sum(row["damaged"] for row in found),
        partitions=len(found),
    )


def keep(frame: DataFrame) -> bool:
    """Keep the blocks where Spark can; without, they are packed again for each pass."""
    refused = refusal(frame)
    if refused is not None:
        _LOG.warning(
            "Packed rows can't be kept here and are packed again for each pass: %s Hint: set checkpointPath.",
            refused,
        )
    return refused is None


@contextmanager
def packed(dataset: Dataset, checkpoint: Checkpoint | None, tasks: int) -> Iterator[Blocks]:
    """Pack the rows once and offer the blocks to passes of about ``tasks`` tasks.

    Raises
    ------
    DataError
        When the rows changed since they were counted.
    """
    n_arms = 1 + len(dataset.treatments)
    held: list[DataFrame] = []
    try:
        if checkpoint is None:
            frame = dataset.blocks()
            if keep(frame):
                held.append(frame)
            with dataset.packing():
                facts = _facts(frame, n_arms, verify=False)
        else:
            frame, facts = _checkpointed(dataset, checkpoint, n_arms)
        if facts.rows != dataset.rows:
            raise DataError(changed_rows(dataset.rows, facts.rows))
        if facts.partitions < min(tasks, facts.blocks):  # e.g. one large file that can't be split
            frame = frame.repartition(min(tasks, facts.blocks))
            if keep(frame):
                _facts(frame, n_arms, verify=False)  # from now on only these are needed
                for kept in held:
                    kept.unpersist()
                held = [frame]
        yield Blocks(frame.select("words", "units").coalesce(tasks), facts.stats)
    finally:
        for kept in held:
            kept.unpersist()


def _checkpointed(dataset: Dataset, checkpoint: Checkpoint, n_arms: int) -> tuple[DataFrame, _Facts]:
    found = checkpoint.blocks()
    if found is not None:
        facts = _facts(found, n_arms, verify=True)
        if facts.damaged == 0 and facts.rows == dataset.rows:
            _LOG.info("resuming with the packed rows at %s", checkpoint.root)
            return found, facts
        _LOG.info("the packed rows at %s are not whole and are packed again", checkpoint.root)
    with dataset.packing():
        frame = checkpoint.write_blocks(dataset.blocks())
    return frame, _facts(frame, n_arms, verify=False)
