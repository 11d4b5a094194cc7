"""Policy trees of any shape, and the way from a row to its arm that training takes: through bins and codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core.binning import FeatureBins
from spark_uplift.policy.tree_model import ActionTree, from_records
from spark_uplift.spark import arrow
from spark_uplift.spark.columns import column, is_category

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def by_codes(tree: ActionTree, df: DataFrame) -> list[int]:
    """Return the arm's number of each row: features as text or double, encoded, walked from the root."""
    kinds = {one.name: one.dataType for one in df.schema.fields}
    chosen = [
        column(bins.name).cast("string" if is_category(kinds[bins.name]) else "double").alias(f"f{j}")
        for j, bins in enumerate(tree.features)
    ]
    if not chosen:
        return [int(tree.action[0])] * df.count()
    table = df.select(*chosen).toArrow().combine_chunks()
    codes = np.empty((table.num_rows, len(chosen)), np.uint8)
    arrow.encode_batch(tree.features, [table.column(j).combine_chunks() for j in range(len(chosen))], codes)
    return [walk(tree, row) for row in codes]


def walk(tree: ActionTree, codes: npt.NDArray[np.uint8]) -> int:
    node = 0
    while tree.tree.left_child[node] >= 0:
        left = int(codes[tree.tree.feature[node]]) in tree.left_codes(node)
        node = int(tree.tree.left_child[node]) + (0 if left else 1)
    return int(tree.action[node])


def random_tree(
    rng: np.random.Generator, features: tuple[FeatureBins, ...], arms: tuple[str, ...]
) -> ActionTree:
    """Return a tree of depth up to 4 with any splits that have two sides."""
    records: list[dict[str, Any]] = []

    def add(heap: int, depth: int) -> None:
        f = int(rng.integers(0, len(features)))
        left = _side(rng, features[f])
        split = depth > 0 and rng.random() < 0.8 and left is not None
        records.append(
            {
                "node": heap,
                "feature": f if split else -1,
                "left": left if split else [],
                "action": int(rng.integers(0, len(arms))),
                "rows": 1,
                "gain": 0.0,
            }
        )
        if split:
            add(2 * heap, depth - 1)
            add(2 * heap + 1, depth - 1)

    add(1, int(rng.integers(0, 5)))
    return from_records(features, arms, sorted(records, key=lambda one: one["node"]), {})


def _side(rng: np.random.Generator, bins: FeatureBins) -> list[int] | None:
    if bins.categorical:
        left = np.flatnonzero(rng.random(bins.n_codes) < 0.5)
        return left.tolist() if 0 < left.size < bins.n_codes else None
    threshold = int(rng.integers(1, bins.n_codes))
    missing = bool(rng.random() < 0.5) and threshold < bins.n_codes - 1
    return [*([0] if missing else []), *range(1, threshold + 1)]
