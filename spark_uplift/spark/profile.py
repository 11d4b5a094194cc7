"""The first pass over the training rows: what they are, and where bins are cut.

One job. Each task adds its rows up and keeps those with the smallest hash (a bottom-k sample); one reducer merges the
tasks' rows, cuts the bins, and sends one small row to the driver. Sums are exact, and which rows are sampled depends
only on the units' hashes, so the profile is the same for any partitioning.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core import sampling
from spark_uplift.core.binning import FeatureBins, choose_levels
from spark_uplift.spark import arrow, edge_sample
from spark_uplift.spark.edge_sample import EdgeSample

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_PARTIAL = "block int, stats string, hashes binary, weights binary, numbers binary, told bigint"
_MERGED = "block int, profile string"
_SENT = pa.schema(
    [
        ("block", pa.int32()), ("stats", pa.string()), ("hashes", pa.binary()), ("weights", pa.binary()),
        ("numbers", pa.binary()), ("told", pa.int64()),
    ]
)  # fmt: skip
_REDUCED = pa.schema([("block", pa.int32()), ("profile", pa.string())])
_LOG = logging.getLogger(__name__)

LEVEL_LIMIT = 100_000
"""A text column with more levels than this is taken for an id."""


@dataclass
class Tally:
    """Exact, mergeable facts about rows."""

    rows: int = 0
    arms: Counter[str] = field(default_factory=Counter)
    null_arms: int = 0
    null_units: int = 0
    bad_labels: int = 0
    low: float = math.inf
    high: float = -math.inf
    whole: bool = True
    binary: bool = True
    bad_weights: int = 0
    bad_propensities: int = 0
    weight_high: float = 0.0
    weight_sum: Fraction = Fraction(0)
    infinite: Counter[str] = field(default_factory=Counter)
    given: Counter[str] = field(default_factory=Counter)
    levels: dict[str, Counter[str]] = field(default_factory=dict)
    overflowing: Counter[str] = field(default_factory=Counter)
    content: int = 0

    def to_json(self) -> str:
        """Return the tally as JSON; the weight sum as an exact ratio."""
        state = {**self.__dict__, "weight_sum": [self.weight_sum.numerator, self.weight_sum.denominator]}
        return json.dumps(state)

    @classmethod
    def from_json(cls, text: str) -> Tally:
        """Return the tally that `to_json` wrote."""
        state = json.loads(text)
        state["weight_sum"] = Fraction(*state["weight_sum"])
        for name in ("arms", "infinite", "given", "overflowing"):
            state[name] = Counter(state[name])
        state["levels"] = {name: Counter(counts) for name, counts in state["levels"].items()}
        return cls(**state)

    def merge(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.rows += other.rows
        self.null_arms += other.null_arms
        self.null_units += other.null_units
        self.bad_labels += other.bad_labels
        self.bad_weights += other.bad_weights
        self.bad_propensities += other.bad_propensities
        self.content = (self.content + other.content) % 2**64
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.whole &= other.whole
        self.binary &= other.binary
        self.weight_high = max(self.weight_high, other.weight_high)
        self.weight_sum += other.weight_sum
        self.arms.update(other.arms)
        self.infinite.update(other.infinite)
        self.given.update(other.given)
        self.overflowing.update(other.overflowing)
        for name, counts in other.levels.items():
            self.levels.setdefault(name, Counter()).update(counts)


@dataclass(frozen=True)
class Profile:
    """What the first pass found.

    Attributes
    ----------
    tally : Tally
    features : tuple of FeatureBins
    """

    tally: Tally
    features: tuple[FeatureBins, ...]


def exact_sum(values: npt.NDArray[np.float64]) -> Fraction:
    """Return the sum of doubles without rounding: it must not depend on how rows are divided into parts."""
    mantissa, exponent = np.frexp(values)
    whole = np.rint(mantissa * 2.0**53).astype(np.int64)
    total = Fraction(0)
    for e in np.unique(exponent):
        part = whole[exponent == e]
        high, low = int((part >> 26).sum()), int((part & (2**26 - 1)).sum())
        total += Fraction((high << 26) + low) * Fraction(2) ** (int(e) - 53)
    return total


def row_weights(
    w: npt.NDArray[np.float64] | None, e: npt.NDArray[np.float64] | None, rows: int
) -> npt.NDArray[np.float64]:
    """Return sampling weight / propensity, unnormalised, ndarray of shape (n,)."""
    weight = np.ones(rows) if w is None else w
    return weight if e is None else weight / e


def _paired(units: npt.NDArray[np.uint64], values: npt.NDArray[np.float64]) -> int:
    """Return a checksum of which unit has which value: a sum, so that the order of the rows does not count."""
    with np.errstate(over="ignore"):
        return int((units * (values.view(np.uint64) | np.uint64(1))).sum(dtype=np.uint64))


def _count_values(array: pa.Array) -> Counter[str]:
    counts = array.drop_null().value_counts()
    return Counter(dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)))


class _Task:
    """One task's state: its tally and its sample."""

    def __init__(
        self,
        names: list[str],
        categorical: list[bool],
        weighted: bool,
        logged: bool,
        key: np.uint64,
        rows: int = edge_sample.SAMPLE_ROWS,
    ):
        self.names, self.categorical = names, categorical
        self.weighted, self.logged = weighted, logged
        self.tally = Tally()
        self.sample = EdgeSample(key, rows)

    def add(self, batch: pa.RecordBatch) -> None:
        tally, rows = self.tally, batch.num_rows
        tally.rows += rows
        tally.null_arms += batch.column(0).null_count
        tally.null_units += batch.column(4).null_count
        tally.arms.update(_count_values(batch.column(0)))
        y = arrow.numbers(batch.column(1))
        self._add_labels(y)
        units = arrow.hashes(batch.column(4).fill_null(0))
        content = [_paired(units, y)]
        w = arrow.numbers(batch.column(2)) if self.weighted else None
        e = arrow.numbers(batch.column(3)) if self.logged else None
        weights = self._add_weights(w, e, rows)
        columns: list[npt.NDArray[np.float64]] = []
        for name, category, array in zip(self.names, self.categorical, batch.columns[5:], strict=True):
            tally.given[name] += rows - array.null_count
            if category:
                counts = tally.levels.setdefault(name, Counter())
                counts.update(_count_values(array))
                if len(counts) > LEVEL_LIMIT:  # an id: counting on would only cost memory
                    tally.overflowing[name] = 1
                    counts.clear()
            else:
                values = arrow.numbers(array)
                infinite = int(np.isinf(values).sum())
                if infinite:
                    tally.infinite[name] += infinite
                content.append(_paired(units, values))
                columns.append(values)
        tally.content = (tally.content + sum((i + 1) * part for i, part in enumerate(content))) % 2**64
        self.sample.add(units, weights, columns)

    def _add_labels(self, y: npt.NDArray[np.float64]) -> None:
        tally = self.tally
        good = y[np.isfinite(y)]
        tally.bad_labels += y.size - good.size
        if good.size:
            tally.low, tally.high = min(tally.low, float(good.min())), max(tally.high, float(good.max()))
            tally.whole &= bool(np.all(good == np.rint(good)))
            tally.binary &= bool(np.all((good == 0.0) | (good == 1.0)))

    def _add_weights(
        self, w: npt.NDArray[np.float64] | None, e: npt.NDArray[np.float64] | None, rows: int
    ) -> npt.NDArray[np.float64]:
        tally = self.tally
        if w is not None:
            tally.bad_weights += int((~(np.isfinite(w) & (w >= 0.0))).sum())
        if e is not None:
            tally.bad_propensities += int((~((e > 0.0) & (e <= 1.0))).sum())
        if w is None and e is None:
            return np.ones(rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.nan_to_num(row_weights(w, e, rows), nan=0.0, posinf=0.0, neginf=0.0)
        tally.weight_high = max(tally.weight_high, float(weights.max(initial=0.0)))
        tally.weight_sum += exact_sum(weights)
        return weights


TALLIES = 32  # reducers of tallies: thousands of tasks send one each, with the levels of all categories


def _partition() -> int | None:
    """Return this task's partition, which says how much travels and to whom, never what comes out of it."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return None if context is None else context.partitionId()


def _sent(*row: Any) -> pa.RecordBatch:
    columns = [pa.array([value], f.type) for value, f in zip(row, _SENT, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=_SENT)


def _make_task(
    names: list[str], categorical: list[bool], weighted: bool, logged: bool, seed: int, complete: bool = True
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    key = sampling.stream_key(seed, sampling.EDGES, 0)
    n_numeric = categorical.count(False)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        partition = _partition()
        rows = edge_sample.quota(None if complete else partition)
        task = _Task(names, categorical, weighted, logged, key, rows)
        for batch in batches:
            task.add(batch)
        if task.tally.rows == 0:
            return
        task.sample.shrink()
        hashes, weights, numbers = task.sample.rows(n_numeric)
        told = int(task.sample.limit.view(np.int64))
        yield _sent(-1 - (partition or 0) % TALLIES, task.tally.to_json(), b"", b"", b"", told)
        for block, part in enumerate(edge_sample.blocks(n_numeric) if n_numeric else ()):
            yield _sent(block, None, hashes.tobytes(), weights.tobytes(), numbers[:, part].tobytes(), told)

    return work


def _merged(tallies: Iterable[str]) -> Tally:
    merged = Tally()
    for text in tallies:
        merged.merge(Tally.from_json(text))
    return merged


def _make_reducer(categorical: list[bool], max_bins: int, weighted: bool) -> Callable[[pa.Table], pa.Table]:
    parts = edge_sample.blocks(categorical.count(False))
    widths = [len(range(categorical.count(False))[part]) for part in parts]

    def reduce(table: pa.Table) -> pa.Table:
        block = table.column("block")[0].as_py()
        found: dict[str, Any] = {}
        if block < 0:
            found["tally"] = _merged(table.column("stats").to_pylist()).to_json()
        else:
            hashes = np.concatenate([arrow.binary(v, np.uint64) for v in table.column("hashes")])
            weights = np.concatenate([arrow.binary(v, np.float64) for v in table.column("weights")])
            numbers = np.concatenate([arrow.binary(v, np.float64) for v in table.column("numbers")])
            numbers = numbers.reshape(hashes.size, widths[block])
            told = table.column("told").to_numpy().view(np.uint64)
            found["cuts"] = edge_sample.cut(hashes, weights, numbers, told, max_bins, weighted)
        return pa.table(
            {"block": pa.array([block], pa.int32()), "profile": [json.dumps(found)]}, schema=_REDUCED
        )

    return reduce


def profile(
    frame: DataFrame,
    names: tuple[str, ...],
    categorical: list[bool],
    *,
    max_bins: int,
    weighted: bool,
    logged: bool,
    seed: int,
) -> Profile:
    """Run the first pass.

    Parameters
    ----------
    frame : DataFrame
        As `spark_uplift.spark.columns.training_frame` returns it.
    names : tuple of str
        The features' names, in the order of f0, f1, ….

    Raises
    ------
    DataError
        When a category has too many levels.
    """
    from spark_uplift.errors import DataError

    listed = list(names)
    reducer = _make_reducer(categorical, max_bins, weighted)
    found: list[dict[str, Any]] = []
    for complete in (False, True):
        task = _make_task(listed, categorical, weighted, logged, seed, complete)
        merged = frame.mapInArrow(task, _PARTIAL).groupBy("block").applyInArrow(reducer, _MERGED).collect()
        found = [json.loads(row["profile"]) for row in sorted(merged, key=lambda row: row["block"])]
        if all(one.get("cuts", ()) is not None for one in found):
            break
        _LOG.info("partitions are of very unequal size: the rows to cut bins from are gathered once more")
    if not found:
        return Profile(Tally(), tuple(FeatureBins(name) for name in names))
    tally = _merged(one["tally"] for one in found if "tally" in one)
    numeric = iter([cuts for one in found for cuts in one.get("cuts", ())])
    features: list[FeatureBins] = []
    # Tasks stop counting on their own; what one alone would have told must not depend on how many there were.
    faults = [
        f"The categorical column '{name}' must have at most {LEVEL_LIMIT} levels. Got more instead. "
        "Hint: is it an id? Leave it out of the features."
        for name, counts in tally.levels.items()
        if name in tally.overflowing or len(counts) > LEVEL_LIMIT
    ]
    for name, category in zip(names, categorical, strict=True):
        try:
            features.append(
                choose_levels(name, tally.levels.get(name, {}))
                if category
                else FeatureBins(name, tuple(next(numeric)))
            )
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise DataError(faults)
    return Profile(tally, tuple(features))
