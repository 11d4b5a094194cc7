"""Growing a policy tree on Spark.

ALGORITHM
    1. One pass checks the rows, cuts the bins and bounds the rewards (`spark/profile.py`, as for forests).
    2. Every pass over the rows adds up the pair histograms of all open nodes: tasks encode their rows, route them
       through the splits so far and send their histograms in chunks; reducers add up a chunk; the driver gets the
       sums and searches (`policy/tree_search.py`). One pass for a tree of depth 1 or 2, two for 3, three for 4.
    3. With more features than ``max_features`` a pass before counts each feature alone, and only those with the best
       first splits are looked at in pairs.
    Rewards are whole numbers on a grid on which no sum overflows, so sums depend on neither order nor partitions.
    A task holds 8 F^2/2 B^2 (2 K + 1) bytes a node: 3 MB for 12 features, 32 bins and two treatments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core.binning import FeatureBins
from spark_uplift.errors import DataError
from spark_uplift.metrics.replicates import whole_unit
from spark_uplift.policy import tree_model
from spark_uplift.policy.tree_model import ActionTree
from spark_uplift.policy.tree_search import Counting, Grower, Spec, single_split
from spark_uplift.spark import arrow
from spark_uplift.spark.columns import Columns, column, feature_columns, is_category
from spark_uplift.spark.keep import kept
from spark_uplift.spark.policy_tree_input import PolicyColumns, arms_of, net_rewards, weight_column
from spark_uplift.spark.profile import Profile, profile

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["TreeSettings", "grow"]

_LOG = logging.getLogger(__name__)
_CHUNK = 2**18
_COUNTED = "chunk int, cells binary"
_SCHEMA = pa.schema([("chunk", pa.int32()), ("cells", pa.binary())])
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TreeSettings:
    """What kind of tree is wanted; see `spark_uplift.PolicyTree`."""

    max_depth: int = 2
    max_bins: int = 32
    min_node: int = 200
    min_arm: int = 20
    min_gain: float = 0.0
    max_features: int = 16
    seed: int = 1


def grow(df: DataFrame, columns: PolicyColumns, settings: TreeSettings, kind: str = "policy") -> ActionTree:
    """Return the policy tree that gains most on these rows.

    Raises
    ------
    ColumnNotFoundError, DataError
        All faults of a stage together.
    """
    columns.check(df)
    arms, shares = arms_of(df, columns)
    categorical = [is_category(df.schema[name].dataType) for name in columns.features]
    with kept(_frame(df, columns, arms, net_rewards(df, columns, arms, shares))) as frame:
        weighted = columns.weight is not None
        first = frame.drop("place", *_gain_names(arms))
        found = profile(
            first,
            columns.features,
            categorical,
            max_bins=settings.max_bins,
            weighted=weighted,
            logged=False,
            seed=settings.seed,
        )
        faults = _faults(found, columns, arms)
        if faults:
            raise DataError(faults)
        tally = found.tally
        features = tuple(
            _readable(bins, tally.levels.get(bins.name), settings.max_bins) for bins in found.features
        )
        total = float(tally.weight_sum) if weighted else float(tally.rows)
        unit = whole_unit(tally.high, tally.rows, bits=61)
        spec = Spec(
            n_codes=tuple(bins.n_codes for bins in features),
            categorical=tuple(bins.categorical for bins in features),
            treatments=len(arms) - 1,
            counted=1 if columns.treatment is None else len(arms),
            max_depth=settings.max_depth,
            min_node=settings.min_node,
            min_arm=0 if columns.treatment is None else settings.min_arm,
            price=round(settings.min_gain * total / unit),
        )
        chosen = _promising(frame, features, arms, spec, unit, settings.max_features)
        grower = Grower(spec.on(chosen))
        picked = tuple(features[f] for f in chosen)
        while grower.open:
            grower.add(_counted(frame, picked, chosen, arms, Counting.of(grower), unit))
    facts = {
        "kind": kind,
        "value": columns.value,
        "costs": {name: float(columns.costs.get(name, 0.0)) for name in arms},
        "rows": tally.rows,
        "armRows": dict(tally.arms) if columns.treatment is not None else {},
        "missing": [name for name in columns.features if tally.given[name] < tally.rows],
        "leftOut": [bins.name for f, bins in enumerate(features) if f not in chosen],
    }
    return tree_model.build(grower, picked, arms, unit / total, facts)


def _gain_names(arms: tuple[str, ...]) -> list[str]:
    return [f"g{k}" for k in range(1, len(arms))]


def _frame(df: DataFrame, columns: PolicyColumns, arms: tuple[str, ...], nets: list[Column]) -> DataFrame:
    """Return arm, y (largest absolute gain), w, e, unit, f0, …, place (the arm's number), g1, … (weighted gains)."""
    from pyspark.sql import functions as F

    kinds = {one.name: one.dataType for one in df.schema.fields}
    weight = weight_column(columns)
    gains = [(net - nets[0]) * weight for net in nets[1:]]
    sizes = [F.abs(F.coalesce(gain, F.lit(float("nan")))) for gain in gains]
    arm = F.lit("*") if columns.treatment is None else column(columns.treatment).cast("string")
    place = F.lit(0)
    if columns.treatment is not None:
        for number, name in enumerate(arms):
            place = F.when(arm == name, number).otherwise(place)
    unit = F.col("__unit")
    keyed_by = columns.cluster or columns.unit
    if keyed_by is not None:
        unit = F.when(column(keyed_by).isNotNull(), unit)
    return columns.hashed(df).select(
        arm.alias("arm"),
        (sizes[0] if len(sizes) == 1 else F.greatest(*sizes)).alias("y"),
        (weight if columns.weight is not None else F.lit(None).cast("double")).alias("w"),
        F.lit(None).cast("double").alias("e"),
        unit.alias("unit"),
        *feature_columns(Columns(features=columns.features), kinds),
        place.alias("place"),
        *[gain.alias(name) for gain, name in zip(gains, _gain_names(arms), strict=True)],
    )


def _faults(found: Profile, columns: PolicyColumns, arms: tuple[str, ...]) -> list[str]:
    """Return every reason why a tree can't be grown on these rows."""
    tally = found.tally
    if tally.rows == 0:
        return ["The rows of a policy tree must not be none. Got an empty table instead."]
    source = f"rewards column '{columns.rewards}'" if columns.rewards else f"label column '{columns.label}'"
    needed = (
        f"hold arrays of {len(arms)} finite numbers, one for each of {list(arms)}"
        if columns.rewards
        else "hold finite numbers, and propensities lie in (0, 1]"
    )
    checks = [
        (tally.null_arms, f"treatment column '{columns.treatment}'", "not be null"),
        (tally.null_units, f"id column '{columns.cluster or columns.unit}'", "not be null"),
        (tally.bad_weights, f"weight column '{columns.weight}'", "hold finite numbers of 0 or more"),
        (tally.bad_labels if not tally.bad_weights else 0, source, needed),
        *[(n, f"feature column '{name}'", "hold finite numbers or nulls") for name, n in tally.infinite.items()],
    ]  # fmt: skip
    faults = [
        f"The {what} must {must}. Got {count} of {tally.rows} rows that don't instead."
        for count, what, must in checks
        if count
    ]
    unknown = sorted(set(tally.arms) - set(arms)) if columns.treatment is not None else []
    if unknown:
        faults.append(
            f"Column '{columns.treatment}': unknown arms {unknown[:20]}. Known are {list(arms)}. Hint: name all "
            "of them in treatmentNames, in the order of the rewards."
        )
    if columns.weight is not None and not tally.bad_weights and tally.weight_sum == 0:
        faults.append(f"The weight column '{columns.weight}' must have a positive sum. Got 0 instead.")
    return faults


def _readable(bins: FeatureBins, counts: Any, most: int) -> FeatureBins:
    """Return a category with its most frequent levels, as many as a number has bins, and the others as one."""
    levels = bins.levels
    if levels is None or len(levels) <= most:
        return bins
    frequent = sorted(levels, key=lambda level: (-counts[level], level))[: most - 1]
    _LOG.warning(
        "The feature column '%s' has %d levels: all but the %d most frequent ones are taken as one by the policy tree.",
        bins.name, len(levels), len(frequent),
    )  # fmt: skip
    return replace(bins, levels=tuple(sorted(frequent)), pooled=True)


def _promising(
    frame: DataFrame,
    features: tuple[FeatureBins, ...],
    arms: tuple[str, ...],
    spec: Spec,
    unit: float,
    most: int,
) -> list[int]:
    """Return the features to look at in pairs: all, or those that gain most by a split of their own."""
    everyone = list(range(len(features)))
    if len(features) <= most or spec.max_depth < 2:
        return everyone
    alone = Grower(spec.on(everyone, max_depth=1))
    cells = _counted(frame, features, everyone, arms, Counting.of(alone), unit)[0]
    worth = []
    for f in everyone:
        found = single_split(spec.on([f]), [alone.layout.single(cells, f)])
        worth.append(-(2**63) if found is None else found[0])
    chosen = sorted(sorted(everyone, key=lambda f: (-worth[f], f))[:most])
    left_out = [features[f].name for f in everyone if f not in chosen]
    _LOG.warning(
        "%d features are more than maxFeatures=%d: the policy tree looks at those that gain most by themselves, and "
        "leaves out %s", len(features), most, left_out,
    )  # fmt: skip
    return chosen


def _counted(
    frame: DataFrame,
    features: tuple[FeatureBins, ...],
    places: list[int],
    arms: tuple[str, ...],
    counting: Counting,
    unit: float,
) -> I64:
    """Return the histograms of all open nodes, ndarray of shape (open nodes, stride, S), dtype=int64: one pass."""
    from pyspark.sql import functions as F

    grouped = (
        frame.select(*[F.col(f"f{f}") for f in places], "place", *_gain_names(arms))
        .mapInArrow(_make_counter(features, counting, unit), _COUNTED)
        .groupBy("chunk")
        .applyInArrow(_make_adder(), _COUNTED)
    )
    table = grouped.toArrow()
    cells = counting.empty()
    flat = cells.reshape(-1)
    for chunk, part in zip(table["chunk"].to_pylist(), table["cells"], strict=True):
        values = arrow.binary(part, np.int64)
        flat[chunk * _CHUNK : chunk * _CHUNK + values.shape[0]] = values
    return cells.reshape(int(counting.slots.max()) + 1, counting.layout.stride, counting.size)


def _make_counter(
    features: tuple[FeatureBins, ...], counting: Counting, unit: float
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function of a partition: rows in, its histograms in chunks out."""
    width = len(features)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        cells = None
        for batch in batches:
            if batch.num_rows == 0:
                continue
            cells = counting.empty() if cells is None else cells
            codes = np.empty((batch.num_rows, width), np.uint8)
            arrow.encode_batch(features, batch.columns[:width], codes)
            arm = batch.column(width).to_numpy(zero_copy_only=False).astype(np.int64)
            gains = np.stack([arrow.numbers(part) for part in batch.columns[width + 1 :]], axis=1)
            counting.add(codes, arm, np.rint(gains / unit).astype(np.int64), cells)
        if cells is None:
            return
        flat = cells.reshape(-1)
        for chunk, first in enumerate(range(0, flat.shape[0], _CHUNK)):
            data = flat[first : first + _CHUNK].tobytes()
            yield pa.RecordBatch.from_arrays(
                [pa.array([chunk], pa.int32()), pa.array([data], pa.binary())], schema=_SCHEMA
            )

    return work


def _make_adder() -> Callable[[pa.Table], pa.Table]:
    """Return the function of a reducer: one chunk of every task in, their sum out."""

    def add(table: pa.Table) -> pa.Table:
        parts = [arrow.binary(value, np.int64) for value in table.column("cells")]
        total = parts[0].copy()
        for part in parts[1:]:
            total += part
        return pa.table(
            {"chunk": pa.array([table.column("chunk")[0].as_py()], pa.int32()), "cells": [total.tobytes()]},
            schema=_SCHEMA,
        )

    return add
