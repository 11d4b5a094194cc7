"""Arrays of sums over a whole frame: each task adds up its rows, reducers add up the tasks.

Sums are whole numbers (int64, or float64 below 2**53), so neither the order nor the number of tasks changes them.
The driver gets the sums alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["Shapes", "add_up"]

Shapes = Sequence[tuple[tuple[int, ...], str]]
"""Shape and dtype (``int64`` or ``float64``) of each array."""

_CHUNK_VALUES = 1 << 18  # 2 MiB
_CHUNK = pa.schema(
    [("array", pa.int32()), ("chunk", pa.int32()), ("kind", pa.string()), ("payload", pa.binary())]
)
_CHUNK_DDL = "array int, chunk int, kind string, payload binary"


def add_up(
    frame: DataFrame, task: Callable[[Iterator[pa.RecordBatch]], Sequence[npt.NDArray[Any]]], shapes: Shapes
) -> list[npt.NDArray[Any]]:
    """Return the sums of the arrays that `task` makes of each partition.

    Parameters
    ----------
    frame : DataFrame
        What the tasks read.
    task : callable
        Made by a factory: the batches of a partition in, arrays of `shapes` out, whole numbers.
    shapes : sequence of (shape, dtype)
        What it returns.
    """
    chunks = frame.mapInArrow(_make_worker(task), _CHUNK_DDL)
    table = chunks.groupBy("array", "chunk").applyInArrow(_add_chunks, _CHUNK_DDL).toArrow()
    found = [np.zeros(shape, kind) for shape, kind in shapes]
    for number, chunk, kind, payload in zip(*(table[name].to_pylist() for name in _CHUNK.names), strict=True):
        values = np.frombuffer(payload, kind)
        start = chunk * _CHUNK_VALUES
        found[number].reshape(-1)[start : start + values.shape[0]] = values
    return found


def _make_worker(
    task: Callable[[Iterator[pa.RecordBatch]], Sequence[npt.NDArray[Any]]],
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number, array in enumerate(task(batches)):
            values = np.ascontiguousarray(array).reshape(-1)
            if not values.any():  # a partition without rows
                continue
            for chunk, start in enumerate(range(0, values.shape[0], _CHUNK_VALUES)):
                piece = values[start : start + _CHUNK_VALUES].tobytes()
                row = ([number], [chunk], [str(values.dtype)], [piece])
                arrays = [pa.array(value, field.type) for value, field in zip(row, _CHUNK, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=_CHUNK)

    return work


def _add_chunks(table: pa.Table) -> pa.Table:
    kind = table["kind"][0].as_py()
    total: Any = None
    for payload in table["payload"]:
        values = np.frombuffer(payload.as_buffer(), kind)
        total = values.copy() if total is None else total + values
    keys = [table[name].slice(0, 1) for name in ("array", "chunk", "kind")]
    return pa.table([*keys, pa.array([total.tobytes()], pa.binary())], schema=_CHUNK)
