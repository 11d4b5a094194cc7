"""Scored rows packed into blocks: one binary value for many rows, and a summary of them in JSON.

Rows cross from the JVM to Python once. What the later passes read are blocks: views into their bytes, without a
conversion of rows. The summaries hold what decides whether the rows can be used and how fine the grid of sums can
be; they are what reaches the driver.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.spark.arrow import binary, hashes, numbers

__all__ = [
    "BLOCKS_DDL",
    "BLOCK_ROWS",
    "BOUNDS",
    "Block",
    "Layout",
    "Summary",
    "make_packer",
    "merged",
    "unpack",
]

BLOCK_ROWS = 1 << 15
"""Rows of a block: many to a bin, few enough to stay in a cache."""

BLOCKS_DDL = "header string, payload binary"
BOUNDS = ("w", "wy", "wyy", "ww", "mass", "mm", "gain", "square")
_BLOCKS = pa.schema([("header", pa.string()), ("payload", pa.binary())])
F64 = npt.NDArray[np.float64]
Payload = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """What blocks hold; sent to the workers.

    Parameters
    ----------
    arms : tuple of str
        Labels of the arms, control first.
    optional : tuple of str
        Those of ``w`` and ``e`` that are stored.
    widths : tuple of int
        Values a row of each array column.
    models : int
        How many of these are scores of a model, the first ones; another one holds doubly robust scores.
    """

    arms: tuple[str, ...]
    optional: tuple[str, ...]
    widths: tuple[int, ...]
    models: int


@dataclass(frozen=True)
class Block:
    """Rows of a block; arrays of shape (n,), scores of shape (treatments, n).

    Parameters
    ----------
    unit : ndarray, dtype=uint64
        Hash of the unit or cluster.
    arm : ndarray, dtype=int64
        0 is control, k the k-th treatment.
    y, w, e : ndarray, dtype=float64
        Outcome, weight and propensity (1 where there is none).
    scores : tuple of ndarray
        Of each model.
    dr : ndarray or None
        Doubly robust scores.
    """

    unit: npt.NDArray[np.uint64]
    arm: npt.NDArray[np.int64]
    y: F64
    w: F64
    e: F64
    scores: tuple[F64, ...]
    dr: F64 | None


@dataclass
class Summary:
    """What the headers of all blocks say together.

    Parameters
    ----------
    counts : dict of str or None to int
        Rows by label of the arm.
    least : dict of str or None to float
        Smallest propensity by label.
    faults : dict of str to int
        Unusable values by column, and outcomes other than 0 and 1 (``not_binary``).
    sizes : list of dict of int to int
        Rows by length of each array column.
    bounds : dict of str to float
        See `evaluate_input.Prepared`.
    """

    counts: dict[str | None, int] = field(default_factory=dict)
    least: dict[str | None, float] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    sizes: list[dict[int, int]] = field(default_factory=list)
    bounds: dict[str, float] = field(default_factory=dict)

    def width(self, number: int) -> int:
        """Return the length that most rows of an array column have; the larger one of equals."""
        return max(self.sizes[number].items(), key=lambda item: (item[1], item[0]), default=(1, 0))[0]


def merged(headers: Sequence[Payload]) -> Summary:
    """Add up the summaries of blocks."""
    total = Summary(bounds=dict.fromkeys(BOUNDS, 0.0))
    for header in headers:
        for label, rows, least in zip(header["labels"], header["counts"], header["least"], strict=True):
            total.counts[label] = total.counts.get(label, 0) + rows
            total.least[label] = min(total.least.get(label, np.inf), least)
        for name, count in header["faults"].items():
            total.faults[name] = total.faults.get(name, 0) + count
        total.sizes = total.sizes or [{} for _ in header["sizes"]]
        for known, sizes in zip(total.sizes, header["sizes"], strict=True):
            for size, rows in sizes.items():
                known[int(size)] = known.get(int(size), 0) + rows
        for name, value in header["bounds"].items():
            total.bounds[name] = max(total.bounds[name], value)
    return total


def make_packer(
    arrays: int, optional: tuple[str, ...]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function of a partition: rows in, blocks out.

    Parameters
    ----------
    arrays : int
        Number of the columns a0, a1, …, the first one a model's scores, the last one perhaps doubly robust ones.
    optional : tuple of str
        Those of ``w`` and ``e`` that there are.
    """

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in batches:
            waiting.append(batch)
            rows += batch.num_rows
            if rows >= BLOCK_ROWS:
                yield from _packed(waiting, arrays, optional)
                waiting, rows = [], 0
        if rows:
            yield from _packed(waiting, arrays, optional)

    return work


def _packed(
    waiting: list[pa.RecordBatch], arrays: int, optional: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    table = pa.Table.from_batches(waiting).combine_chunks()
    for batch in table.to_batches():
        header, payload = _block(batch, arrays, optional)
        columns = [pa.array([json.dumps(header)], pa.string()), pa.array([payload], pa.binary())]
        yield pa.RecordBatch.from_arrays(columns, schema=_BLOCKS)


def _block(batch: pa.RecordBatch, arrays: int, optional: tuple[str, ...]) -> tuple[Payload, bytes]:
    encoded = batch.column("label").dictionary_encode(null_encoding="encode")
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    labels = encoded.dictionary.to_pylist()
    y = numbers(batch.column("y"))
    w, e = (numbers(batch.column(name)) if name in optional else np.ones(y.shape) for name in ("w", "e"))
    wide = [_flat(batch.column(f"a{j}")) for j in range(arrays)]
    bad_e = ~((e > 0) & (e <= 1))
    faults = {
        "y": _count(~np.isfinite(y)),
        "w": _count(~np.isfinite(w)),
        "negative_w": _count(w < 0),
        "e": _count(bad_e),
        "not_binary": _count((y != 0) & (y != 1)),
    }
    faults |= {f"a{j}": bad for j, (_, _, bad) in enumerate(wide)}
    usable = not any(count for name, count in faults.items() if name != "not_binary")
    whole = usable and all(len(sizes) == 1 for _, sizes, _ in wide)
    least = np.full(len(labels), np.inf)
    np.minimum.at(least, codes, np.where(bad_e, np.inf, e))
    header = {
        "rows": int(y.shape[0]),
        "labels": labels,
        "counts": np.bincount(codes, minlength=len(labels)).tolist(),
        "least": [float(v) if np.isfinite(v) else 1.0 for v in least],
        "faults": faults,
        "sizes": [sizes for _, sizes, _ in wide],
        "bounds": _bounds(y, w, e, wide[-1][0]) if whole else {},
    }
    if not whole:  # the evaluation stops before anybody reads it
        return header, b""
    units = hashes(batch.column("unit"))
    parts: list[npt.NDArray[Any]] = [units, y]
    parts += [values for name, values in (("w", w), ("e", e)) if name in optional]
    parts += [np.ascontiguousarray(values.T) for values, _, _ in wide]
    parts.append(codes)  # the narrowest last: what comes before stays aligned
    return header, b"".join(part.tobytes() for part in parts)


def _flat(array: pa.ListArray) -> tuple[F64, dict[int, int], int]:
    """Return values of shape (n, width), rows by length, and how many rows hold an unusable value."""
    lengths = array.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
    values = numbers(array.flatten())
    owner = np.repeat(np.arange(lengths.shape[0]), np.maximum(lengths, 0))
    bad = np.zeros(lengths.shape[0], bool)
    bad[owner[~np.isfinite(values)]] = True
    missing = lengths < 0
    found, counts = np.unique(lengths[~missing], return_counts=True)
    sizes = dict(zip(found.tolist(), counts.tolist(), strict=True))
    width = found[0] if found.shape[0] == 1 and not missing.any() else 0
    return values.reshape(-1, width) if width else np.empty((0, 0)), sizes, _count(bad | missing)


def _count(condition: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(condition))


def _bounds(y: F64, w: F64, e: F64, last: F64) -> dict[str, float]:
    """Return the largest absolute values; `last` is taken for doubly robust scores, whether it is or not."""
    weight = w / e
    gain = np.abs(last).max(axis=1) if last.shape[1] else np.zeros(y.shape)
    values = {
        "w": weight,
        "wy": np.abs(weight * y),
        "wyy": weight * y * y,
        "ww": weight * weight,
        "mass": w,
        "mm": w * w,
        "gain": w * gain,
        "square": w * gain * gain,
    }
    return {name: float(value.max()) for name, value in values.items()}


def unpack(layout: Layout, header: str, payload: Any) -> Block:
    """Return the rows of a block, as views into its bytes."""
    known = json.loads(header)
    n = int(known["rows"])
    start = 0

    def take(dtype: Any, count: int) -> npt.NDArray[Any]:
        nonlocal start
        size = count * np.dtype(dtype).itemsize
        view = np.frombuffer(buffer, dtype, count, offset=start)
        start += size
        return view

    buffer = binary(payload, np.uint8)
    unit, y = take(np.uint64, n), take(np.float64, n)
    w, e = (take(np.float64, n) if name in layout.optional else np.ones(n) for name in ("w", "e"))
    wide = [take(np.float64, n * width).reshape(width, n) for width in layout.widths]
    codes = take(np.int32, n)
    arm_of = np.array([layout.arms.index(label) for label in known["labels"]], np.int64)
    scores = tuple(wide[: layout.models])
    dr = wide[layout.models] if len(wide) > layout.models else None
    return Block(unit=unit, arm=arm_of[codes], y=y, w=w, e=e, scores=scores, dr=dr)
