"""What policies are worth on rows that they were not made from: means of their units' rewards, and differences.

The value of a policy is the weighted mean of the reward of the arm that it gives each unit (Dudik, Langford & Li 2011
for doubly robust rewards). Differences between two policies are paired: of the same units. Standard errors are those
of a ratio of sums, by linearisation, over units or clusters. Sums are whole numbers on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spark_uplift.errors import DataError
from spark_uplift.metrics.replicates import whole_unit
from spark_uplift.policy.tree_value import PolicyValue, estimate
from spark_uplift.spark.keep import kept

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["policy_values"]

F64 = npt.NDArray[np.float64]


def policy_values(
    df: DataFrame,
    *,
    nets: Sequence[Column],
    weight: Column,
    cluster: Column | None,
    policies: Mapping[str, Column],
    leaf: Column | None,
    heaps: Sequence[int] = (1,),
    level: float = 0.95,
) -> PolicyValue:
    """Return what policies are worth on these rows.

    Parameters
    ----------
    nets : sequence of Column
        Net reward of each arm, control first.
    policies : mapping of str to Column
        The arm's number that each gives; the first is compared with the others. ``control`` is added.
    leaf : Column or None
        Heap index of the row's leaf.
    heaps : sequence of int
        The tree's nodes; those above a leaf have its rows too.

    Raises
    ------
    DataError
        Rewards or weights that are not finite; no rows.
    """
    from pyspark.sql import functions as F

    names = [*policies, *([] if "control" in policies else ["control"])]
    given = {**policies, "control": F.lit(0)}
    rewards = [F.get(F.array(*nets), given[name].cast("int")) for name in names]
    contrasts = [*rewards, *[rewards[0] - other for other in rewards[1:]], rewards[0] - nets[0]]
    unit = F.lit(None).cast("string") if cluster is None else cluster
    where = F.lit(1) if leaf is None else leaf
    sums = [(contrast * weight).alias(f"d{i}") for i, contrast in enumerate(contrasts)]
    frame = df.select(where.cast("int").alias("node"), unit.alias("unit"), weight.alias("w"), *sums)
    with kept(frame) as rows:
        moments = _moments(rows, len(contrasts), list(heaps), cluster is not None)
    root = moments[1]
    count = len(names)
    total = root[0, 3]
    return PolicyValue(
        values={name: estimate(root, i, level) for i, name in enumerate(names)},
        differences={name: estimate(root, count + i, level) for i, name in enumerate(names[1:])},
        nodes={heap: estimate(moments[heap], len(contrasts) - 1, level) for heap in heaps},
        shares={heap: float(moments[heap][0, 3] / total) if total else math.nan for heap in heaps},
        rows={heap: int(moments[heap][0, 6]) for heap in heaps},
        level=level,
    )


def _moments(rows: DataFrame, count: int, heaps: list[int], clustered: bool) -> dict[int, F64]:
    """Return the sums of each node, ndarray of shape (contrasts, 7): d, d^2, d w, w, w^2, units, rows."""
    from pyspark.sql import functions as F

    names = [f"d{i}" for i in range(count)]
    n, units = _grid(rows, names)
    if not clustered:
        by_leaf = _sums(rows, names, units, n, F.lit(1).cast("bigint"))
        return {heap: _added(by_leaf, count, heap) for heap in heaps}
    whole = {name: F.rint(F.col(name) / F.lit(units[name])).cast("bigint").alias(name) for name in units}
    # A cluster may come to several leaves of a node: its rows are added up before they are squared.
    above = [F.when(F.col("node").isin([n for n in heaps if _is_under(n, heap)]), heap) for heap in heaps]
    spread = rows.select(F.explode(F.array_compact(F.array(*above))).alias("node"), "unit", *whole.values())
    summed = (
        spread.groupBy("node", "unit")
        .agg(*[F.sum(name).alias(name) for name in whole], F.count("*").alias("size"))
        .select("node", "size", *[(F.col(name) * F.lit(units[name])).alias(name) for name in whole])
    )
    with kept(summed) as clusters:
        n, grid = _grid(clusters, names)
        by_node = _sums(clusters, names, grid, n, F.col("size"))
    empty = np.zeros((count, 7))
    return {heap: by_node.get(heap, empty) for heap in heaps}


def _is_under(leaf: int, heap: int) -> bool:
    """Say whether a node is another one or below it."""
    shift = leaf.bit_length() - heap.bit_length()
    return shift >= 0 and leaf >> shift == heap


def _added(by_leaf: dict[int, F64], count: int, heap: int) -> F64:
    """Return the sum over the leaves of a node."""
    total = np.zeros((count, 7))
    for leaf in sorted(by_leaf):
        if _is_under(leaf, heap):
            total += by_leaf[leaf]
    return total


def _grid(rows: DataFrame, names: list[str]) -> tuple[int, dict[str, float]]:
    """Return the number of rows, and the grid of each column: powers of two on which sums fit 61 bits."""
    from pyspark.sql import functions as F

    nan = F.lit(float("nan"))
    found = rows.agg(
        F.count("*").alias("n"),
        F.min("w").alias("least"),
        *[F.max(F.abs(F.coalesce(F.col(name), nan))).alias(name) for name in ("w", *names)],
    ).head()
    n = int(found["n"]) if found is not None else 0
    if found is None or n == 0:
        raise DataError("The rows to value a policy on must not be none. Got an empty table instead.")
    faults = []
    if not math.isfinite(found["w"]) or found["least"] < 0 or found["w"] == 0:
        faults.append(
            "The weights must be finite numbers of 0 or more, not all 0. Got others in some row instead."
        )
    elif not all(math.isfinite(found[name]) for name in names):
        faults.append(
            "Every arm's reward must be a finite number in every row, and every policy must give an arm. Got rows "
            "without instead. Hint: look for nulls in the outcome, the propensity or the rewards."
        )
    if faults:
        raise DataError(faults)
    return n, {name: whole_unit(float(found[name]), n, bits=61) for name in ("w", *names)}


def _sums(
    rows: DataFrame, names: list[str], units: Mapping[str, float], n: int, size: Column
) -> dict[int, F64]:
    """Return the sums by node, ndarray of shape (contrasts, 7)."""
    from pyspark.sql import functions as F

    # A value is below its grid's unit times this, so a product is below both units times its square.
    bound = 2.0**61 / max(n, 1)
    w = F.col("w")
    wanted: list[tuple[str, Column, float]] = [("w", w, units["w"])]
    wanted.append(("ww", w * w, whole_unit((units["w"] * bound) ** 2, n, bits=61)))
    for name in names:
        d = F.col(name)
        wanted.append((name, d, units[name]))
        wanted.append((f"{name}2", d * d, whole_unit((units[name] * bound) ** 2, n, bits=61)))
        wanted.append((f"{name}w", d * w, whole_unit(units[name] * units["w"] * bound**2, n, bits=61)))
    found = (
        rows.groupBy("node")
        .agg(
            F.count("*").alias("n"),
            F.sum(size).alias("size"),
            *[F.sum(F.rint(value / F.lit(unit)).cast("bigint")).alias(name) for name, value, unit in wanted],
        )
        .collect()
    )
    grid: dict[str, float] = {name: unit for name, _, unit in wanted}
    return {int(row["node"]): _row(row, names, grid) for row in found}


def _row(row: Any, names: list[str], grid: Mapping[str, float]) -> F64:
    def of(name: str) -> float:
        return float(row[name]) * grid[name]

    columns = [
        [of(name), of(f"{name}2"), of(f"{name}w"), of("w"), of("ww"), row["n"], row["size"]] for name in names
    ]
    return np.array(columns, np.float64)
