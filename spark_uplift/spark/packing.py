"""Scored recipients as bytes: many rows in one Spark row, so that a shuffle moves buffers instead of rows.

A packed row holds four columns of its recipients side by side: ``hash`` (uint64 each), ``length`` (int32, bytes of the
id), ``text`` (the ids in UTF-8, one after the other) and ``value`` (float64, ``width`` each: the uplifts, then both
ends of the intervals where there are any). An Arrow column of binaries keeps all its values in one buffer. So cutting
sorted recipients into a thousand pieces takes a thousand offsets, not a copy, and a group of a thousand pieces that
arrives at a reducer already lies end to end in memory. Nothing here knows Spark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

GOOD, BAD, NAMELESS = 0, 1, 2
"""Kinds of packed rows: recipients with scores; recipients set aside, whose ``value`` holds an int32 reason; a number
of rows without an id, of which only ``n`` is kept."""

DDL = "part int, kind int, n bigint, hash binary, length binary, text binary, value binary"
ARROW = pa.schema([
    ("part", pa.int32()), ("kind", pa.int32()), ("n", pa.int64()), ("hash", pa.binary()), ("length", pa.binary()),
    ("text", pa.binary()), ("value", pa.binary()),
])  # fmt: skip


@dataclass(frozen=True)
class Recipients:
    """Recipients as arrays.

    Attributes
    ----------
    hash : ndarray of shape (n,), dtype=uint64
        ``core.sampling``'s hash of the id.
    ids : pa.LargeStringArray of length n
    value : ndarray of shape (n, width), dtype=float64
        Or shape (n, 1), dtype=int32, the reasons of those set aside.
    """

    hash: npt.NDArray[np.uint64]
    ids: pa.Array
    value: npt.NDArray[Any]

    @property
    def size(self) -> int:
        """Number of recipients."""
        return int(self.hash.shape[0])

    def take(self, index: I64 | Mask) -> Recipients:
        """Return the recipients at these places (int64), or where this is true (bool)."""
        if index.dtype == bool:
            index = np.flatnonzero(index)
        return Recipients(self.hash[index], self.ids.take(pa.array(index)), self.value[index])


def concatenated(parts: Sequence[Recipients]) -> Recipients:
    """Return several sets of recipients as one."""
    return Recipients(
        np.concatenate([part.hash for part in parts]),
        pa.concat_arrays([part.ids for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


def large_strings(array: pa.Array) -> pa.Array:
    """Return a string array with 64-bit offsets: the ids of a large group may exceed 2 GiB."""
    return array if pa.types.is_large_string(array.type) else array.cast(pa.large_string())


def cut(recipients: Recipients, cuts: I64, parts: npt.NDArray[np.int32], kind: int) -> pa.RecordBatch:
    """Return one packed row for each piece ``recipients[cuts[i]:cuts[i + 1]]`` that has recipients.

    Parameters
    ----------
    cuts : ndarray of shape (pieces + 1,), dtype=int64
        Ascending, the last one the number of recipients.
    parts : ndarray of shape (pieces,), dtype=int32
        What each piece is called.
    """
    ids = recipients.ids
    offsets = np.frombuffer(ids.buffers()[1], np.int64, count=ids.offset + len(ids) + 1)[ids.offset :]
    text = ids.buffers()[2] or pa.py_buffer(b"")
    lengths = np.diff(offsets).astype(np.int32)
    value = np.ascontiguousarray(recipients.value)
    row_bytes = value.itemsize * value.shape[1]
    used = np.flatnonzero(np.diff(cuts) > 0)

    def pieces(data: Any, at: I64) -> pa.Array:
        """Return the binaries between these offsets of a buffer; pieces without recipients are empty, and left out."""
        buffer = data if isinstance(data, pa.Buffer) else pa.py_buffer(data)
        start, end = int(at[0]), int(at[-1])
        bounds = pa.py_buffer((at - start).astype(np.int32))
        array = pa.Array.from_buffers(
            pa.binary(), len(at) - 1, [None, bounds, buffer.slice(start, end - start)]
        )
        return array if len(used) == len(array) else array.take(pa.array(used))

    columns = [
        pa.array(parts[used], pa.int32()),
        pa.array(np.full(len(used), kind, np.int32)),
        pa.array(np.diff(cuts)[used], pa.int64()),
        pieces(np.ascontiguousarray(recipients.hash), cuts * 8),
        pieces(lengths, cuts * 4),
        pieces(text, offsets[cuts]),
        pieces(value, cuts * row_bytes),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ARROW)


def nameless(n: int) -> pa.RecordBatch:
    """Return the packed row of ``n`` rows without an id.

    All go to part 0: whichever of the tasks that were run twice is listened to, their number is the same.
    """
    empty = pa.array([b""], pa.binary())
    head = [pa.array([0], pa.int32()), pa.array([NAMELESS], pa.int32()), pa.array([n], pa.int64())]
    return pa.RecordBatch.from_arrays([*head, empty, empty, empty, empty], schema=ARROW)


def joined(column: pa.ChunkedArray | pa.Array) -> pa.Buffer:
    """Return the bytes of all values of a binary column, end to end."""
    arrays = [column] if isinstance(column, pa.Array) else column.chunks
    buffers = []
    for array in arrays:
        if len(array):
            offsets = np.frombuffer(array.buffers()[1], np.int32, count=array.offset + len(array) + 1)
            start, end = int(offsets[array.offset]), int(offsets[-1])
            if end > start:
                buffers.append(array.buffers()[2].slice(start, end - start))
    if len(buffers) == 1:
        return buffers[0]
    return pa.py_buffer(b"".join(memoryview(buffer) for buffer in buffers))


def unpacked(table: pa.Table | pa.RecordBatch, width: int, dtype: Any = np.float64) -> Recipients:
    """Return the recipients of packed rows of one kind.

    Parameters
    ----------
    width : int
        Values a recipient.
    dtype : data type
        Of the values.
    """
    hashes = np.frombuffer(joined(table["hash"]), np.uint64)
    lengths = np.frombuffer(joined(table["length"]), np.int32)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    ids = pa.Array.from_buffers(
        pa.large_string(), len(lengths), [None, pa.py_buffer(offsets), joined(table["text"])]
    )
    values = np.frombuffer(joined(table["value"]), dtype).reshape(-1, width)
    return Recipients(hashes, ids, values)


def of_kind(table: pa.Table, kind: int) -> pa.Table:
    """Return the packed rows of one kind."""
    return table.filter(pc.equal(table["kind"], kind))


def sort_within_runs(order: I64, same: Mask, keys: Callable[[I64, I64], Iterable[Any]]) -> I64:
    """Sort the stretches of ``order`` whose neighbours are equal, and leave the rest as it is.

    Parameters
    ----------
    order : ndarray of shape (n,), dtype=int64
        Places in sorted order; changed in place.
    same : ndarray of shape (n - 1,), dtype=bool
        Whether a place equals the next one.
    keys : callable
        Takes the places (int64) in such stretches and the number of each one's stretch; returns the keys to sort by
        within a stretch, the least important first, as `numpy.lexsort` wants them.
    """
    if not same.any():
        return order
    tied = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
    run = np.cumsum(np.concatenate([[True], ~same]))[tied]
    places = order[tied]
    order[tied] = places[np.lexsort([*keys(places, run), run])]
    return order


def by_score(recipients: Recipients, treatments: int) -> tuple[I64, F64]:
    """Return the places of recipients, best first, and their scores in that order.

    Recipients of the same score stand in the order of the hash of their id, a draw that favours nobody and that anybody
    can repeat; those with the same hash too (about once in 2**64 pairs), in the order of their ids.
    """
    best = -recipients.value[:, :treatments].max(axis=1)
    order = np.argsort(best)
    best = best[order]

    def hashes(places: I64, _: I64) -> list[Any]:
        return [recipients.hash[places]]

    order = sort_within_runs(order, best[1:] == best[:-1], hashes)
    drawn = recipients.hash[order]
    same = (best[1:] == best[:-1]) & (drawn[1:] == drawn[:-1])

    def texts(places: I64, _: I64) -> list[Any]:
        names = np.array(recipients.ids.take(pa.array(places)).to_pylist(), object)
        return [np.unique(names, return_inverse=True)[1]]

    return sort_within_runs(order, same, texts), -best


def one_a_unit(recipients: Recipients, treatments: int) -> tuple[Recipients, Recipients]:
    """Return (one row of each unit, the other rows), both in the order of the hash.

    Of a unit's rows the one with the lowest score stays (then by its other values): to be listed twice is no advantage,
    and neither order nor partitions matter. Rows equal in all of them can change places without changing anything.
    """
    order = np.argsort(recipients.hash)
    hashes = recipients.hash[order]
    same = hashes[1:] == hashes[:-1]
    if not same.any():
        return recipients.take(order), recipients.take(order[:0])
    names = np.zeros(recipients.size, np.int64)

    def keys(places: I64, _: I64) -> list[Any]:
        names[places] = recipients.ids.take(pa.array(places)).dictionary_encode().indices.to_numpy()
        value = recipients.value[places]
        best = value[:, :treatments].max(axis=1)
        return [*value.T[::-1], best, names[places]]

    order = sort_within_runs(order, same, keys)
    hashes, names = recipients.hash[order], names[order]
    again = np.concatenate([[False], (hashes[1:] == hashes[:-1]) & (names[1:] == names[:-1])])
    return recipients.take(order[~again]), recipients.take(order[again])
