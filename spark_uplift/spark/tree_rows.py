"""Trees on their way from workers to the driver: a row of binary arrays each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from spark_uplift.core.tree import Tree

_COLUMNS = (
    ("heap", np.int64),
    ("feature", np.int32),
    ("threshold", np.int16),
    ("missing_left", np.uint8),
    ("mask", np.uint64),
    ("left_child", np.int64),
    ("gain", np.float64),
    ("stats", np.int64),
    ("effect", np.float64),
)

TREE_SCHEMA = "tree int, " + ", ".join(f"{name} binary" for name, _ in _COLUMNS)
TREE_FIELDS = [("tree", pa.int32()), *((name, pa.binary()) for name, _ in _COLUMNS)]


def tree_batch(number: int, tree: Tree, schema: pa.Schema) -> pa.RecordBatch:
    """Return a tree as a batch of one row."""
    values = [np.ascontiguousarray(getattr(tree, name)).astype(dtype).tobytes() for name, dtype in _COLUMNS]
    arrays = [pa.array([number], pa.int32()), *(pa.array([value], pa.binary()) for value in values)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def tree_of(row: Any, n_arms: int) -> Tree:
    """Return the tree of a row (anything that gives a column's bytes by its name)."""
    arrays: dict[str, Any] = {name: np.frombuffer(row[name], dtype) for name, dtype in _COLUMNS}
    arrays["missing_left"] = arrays["missing_left"].astype(np.bool_)
    arrays["mask"] = arrays["mask"].reshape(-1, 4)
    arrays["stats"] = arrays["stats"].reshape(-1, n_arms, 5)
    arrays["effect"] = arrays["effect"].reshape(-1, n_arms - 1)
    return Tree(**arrays)
