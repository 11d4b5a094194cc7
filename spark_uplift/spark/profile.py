"""The first pass over the training rows: what they are, and where bins are cut.

One job. Each task adds its rows up and keeps those with the smallest hash (a bottom-k sample); one reducer merges the
tasks' rows, cuts the bins, and sends one small row to the driver. Sums are exact, and which rows are sampled depends
only on the units' hashes, so the profile is the same for any partitioning.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core import sampling
from spark_uplift.core.binning import FeatureBins, choose_levels, weighted_edges
from spark_uplift.spark import arrow

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SAMPLE_ROWS = 50_000
"""Bins are cut from this many rows (all, when there are fewer): a rank error of about 0.2 % at the median."""

_PARTIAL = "stats string, hashes binary, weights binary, numbers binary"
_MERGED = "profile string"
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
    """One task's state: its tally and its bottom-k sample."""

    def __init__(
        self, names: list[str], categorical: list[bool], weighted: bool, logged: bool, key: np.uint64
    ):
        self.names, self.categorical = names, categorical
        self.weighted, self.logged, self.key = weighted, logged, key
        self.tally = Tally()
        self.hashes: list[npt.NDArray[np.uint64]] = []
        self.weights: list[npt.NDArray[np.float64]] = []
        self.numbers: list[npt.NDArray[np.float64]] = []
        self.kept = 0
        self.limit = np.uint64(2**64 - 1)

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
        self._sample(units, weights, columns)

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

    def _sample(
        self,
        units: npt.NDArray[np.uint64],
        weights: npt.NDArray[np.float64],
        columns: list[npt.NDArray[np.float64]],
    ) -> None:
        out = np.empty(units.size, np.uint64)
        sampling._mix(self.key, units, out)
        keep = np.flatnonzero(out <= self.limit)
        if keep.size == 0 or not columns:
            return
        self.hashes.append(out[keep])
        self.weights.append(weights[keep])
        self.numbers.append(np.column_stack([values[keep] for values in columns]))
        self.kept += keep.size
        if self.kept > 2 * SAMPLE_ROWS:
            self._shrink()

    def _shrink(self) -> None:
        hashes, weights, numbers = self.sample()
        self.limit, keep = bottom(hashes)
        self.hashes, self.weights, self.numbers = [hashes[keep]], [weights[keep]], [numbers[keep]]
        self.kept = int(keep.sum())

    def sample(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        if not self.hashes:
            n_numeric = self.categorical.count(False)
            return np.empty(0, np.uint64), np.empty(0), np.empty((0, n_numeric))
        return np.concatenate(self.hashes), np.concatenate(self.weights), np.concatenate(self.numbers)


def bottom(hashes: npt.NDArray[np.uint64]) -> tuple[np.uint64, npt.NDArray[np.bool_]]:
    """Return the limit hash of a bottom-k sample, and which rows are in it: all of a unit's rows, or none."""
    if hashes.size <= SAMPLE_ROWS:
        return np.uint64(2**64 - 1), np.ones(hashes.size, np.bool_)
    limit = np.partition(hashes, SAMPLE_ROWS - 1)[SAMPLE_ROWS - 1]
    return limit, hashes <= limit


def _make_task(
    names: list[str], categorical: list[bool], weighted: bool, logged: bool, seed: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = pa.schema(
        [("stats", pa.string()), ("hashes", pa.binary()), ("weights", pa.binary()), ("numbers", pa.binary())]
    )
    key = sampling.stream_key(seed, sampling.EDGES, 0)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task = _Task(names, categorical, weighted, logged, key)
        for batch in batches:
            task.add(batch)
        if task.tally.rows == 0:
            return
        if task.kept > SAMPLE_ROWS:
            task._shrink()
        hashes, weights, numbers = task.sample()
        row: list[Any] = [
            [task.tally.to_json()],
            [hashes.tobytes()],
            [weights.tobytes()],
            [numbers.tobytes()],
        ]
        yield pa.RecordBatch.from_arrays(
            [pa.array(c, f.type) for c, f in zip(row, schema, strict=True)], schema=schema
        )

    return work


def _make_reducer(
    names: list[str], categorical: list[bool], max_bins: int, weighted: bool
) -> Callable[[pa.Table], pa.Table]:
    schema = pa.schema([("profile", pa.string())])

    def reduce(table: pa.Table) -> pa.Table:
        tally = Tally()
        for text in table.column("stats").to_pylist():
            tally.merge(Tally.from_json(text))
        n_numeric = categorical.count(False)
        hashes = np.concatenate([arrow.binary(v, np.uint64) for v in table.column("hashes")])
        weights = np.concatenate([arrow.binary(v, np.float64) for v in table.column("weights")])
        numbers = np.concatenate([arrow.binary(v, np.float64) for v in table.column("numbers")])
        numbers = numbers.reshape(-1, n_numeric) if n_numeric else np.empty((hashes.size, 0))
        _, keep = bottom(hashes)
        hashes, weights, numbers = hashes[keep], weights[keep], numbers[keep]
        columns = iter(range(n_numeric))
        cuts: list[Any] = []
        for category in categorical:
            if category:
                cuts.append(None)
                continue
            values = numbers[:, next(columns)]
            if weighted:  # the order of a float sum must not depend on the partitioning
                order = np.lexsort((values, weights, hashes))
                cuts.append(weighted_edges(values[order], weights[order], max_bins))
            else:
                cuts.append(weighted_edges(values, None, max_bins))
        return pa.table({"profile": [json.dumps({"tally": tally.to_json(), "cuts": cuts})]}, schema=schema)

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
    from pyspark.sql import functions as F

    from spark_uplift.errors import DataError

    listed = list(names)
    partial = frame.mapInArrow(_make_task(listed, categorical, weighted, logged, seed), _PARTIAL)
    merged = (
        partial.withColumn("g", F.lit(0))
        .groupBy("g")
        .applyInArrow(_make_reducer(listed, categorical, max_bins, weighted), _MERGED)
    )
    found = merged.collect()
    if not found:
        return Profile(Tally(), tuple(FeatureBins(name) for name in names))
    state = json.loads(found[0]["profile"])
    tally = Tally.from_json(state["tally"])
    features: list[FeatureBins] = []
    # Tasks stop counting on their own; what one alone would have told must not depend on how many there were.
    faults = [
        f"The categorical column '{name}' must have at most {LEVEL_LIMIT} levels. Got more instead. "
        "Hint: is it an id? Leave it out of the features."
        for name, counts in tally.levels.items()
        if name in tally.overflowing or len(counts) > LEVEL_LIMIT
    ]
    for name, category, cuts in zip(names, categorical, state["cuts"], strict=True):
        try:
            features.append(
                choose_levels(name, tally.levels.get(name, {}))
                if category
                else FeatureBins(name, tuple(cuts))
            )
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise DataError(faults)
    return Profile(tally, tuple(features))
