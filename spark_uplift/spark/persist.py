"""Model files: JSON and Parquet, never pickle.

::

    <path>/metadata/part-…      one JSON line: pyspark.ml's metadata, the forest's header, its digest
    <path>/trees/part-….parquet one row a node

Spark writes and reads them on any file system that it knows. `read_local` and `write_local` do the same on a local
folder without Spark, so that a model can be served where there is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spark_uplift.core.forest import FORMAT_VERSION, Forest, from_header
from spark_uplift.core.tree import Tree
from spark_uplift.errors import ModelError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HEADER = "sparkUplift"
"""Key of the forest's header in the metadata."""

_NODES = pa.schema(
    [
        ("tree", pa.int32()),
        ("node", pa.int64()),
        ("feature", pa.int32()),
        ("threshold", pa.int16()),
        ("missing_left", pa.bool_()),
        ("mask", pa.binary()),
        ("left_child", pa.int64()),
        ("gain", pa.float64()),
        ("stats", pa.list_(pa.int64())),
        ("effect", pa.list_(pa.float64())),
    ]
)
_DDL = (
    "tree int, node bigint, feature int, threshold smallint, missing_left boolean, mask binary, left_child bigint, "
    "gain double, stats array<bigint>, effect array<double>"
)


def metadata(forest: Forest) -> dict[str, Any]:
    """Return what to put beside the trees."""
    return {HEADER: forest.header(), "digest": forest.digest, "training": dict(forest.training)}


def node_table(forest: Forest) -> pa.Table:
    """Return the trees as one Arrow table, a row a node."""
    parts = []
    for number, tree in enumerate(forest.trees):
        stats = tree.stats.reshape(tree.n_nodes, -1)
        columns = [
            np.full(tree.n_nodes, number, np.int32),
            tree.heap,
            tree.feature,
            tree.threshold,
            tree.missing_left,
            pa.array([row.astype("<u8").tobytes() for row in tree.mask], pa.binary()),
            tree.left_child,
            tree.gain,
            pa.array(list(stats), pa.list_(pa.int64())),
            pa.array(list(tree.effect), pa.list_(pa.float64())),
        ]
        arrays = [
            c if isinstance(c, pa.Array) else pa.array(c, f.type)
            for c, f in zip(columns, _NODES, strict=True)
        ]
        parts.append(pa.Table.from_arrays(arrays, schema=_NODES))
    return pa.concat_tables(parts)


def _trees(table: pa.Table, n_arms: int) -> list[Tree]:
    table = table.sort_by([("tree", "ascending"), ("node", "ascending")])
    numbers = table.column("tree").to_numpy()
    cuts = np.flatnonzero(np.diff(numbers)) + 1
    first = np.concatenate([[0], cuts]).astype(np.int64)
    last = np.concatenate([cuts, [len(numbers)]]).astype(np.int64)
    trees = []
    for a, b in zip(first, last, strict=True):
        part = table.slice(a, b - a).combine_chunks()
        column = {name: part.column(name) for name in part.column_names}
        mask = np.frombuffer(b"".join(column["mask"].to_pylist()), "<u8").reshape(-1, 4).astype(np.uint64)
        stats = np.array(column["stats"].to_pylist(), np.int64)
        trees.append(
            Tree(
                heap=column["node"].to_numpy(),
                feature=column["feature"].to_numpy(),
                threshold=column["threshold"].to_numpy(),
                missing_left=column["missing_left"].to_numpy(),
                mask=mask,
                left_child=column["left_child"].to_numpy(),
                gain=column["gain"].to_numpy(),
                stats=stats.reshape(b - a, n_arms, 5),
                effect=np.array(column["effect"].to_pylist(), np.float64).reshape(b - a, n_arms - 1),
            )
        )
    return trees


def restore(found: Mapping[str, Any], table: pa.Table, path: str) -> Forest:
    """Return the forest of a model's metadata and node table.

    Raises
    ------
    ModelError
        When it is not a model of this package, of a later format, or damaged (its digest differs).
    """
    header = found.get(HEADER)
    if not isinstance(header, Mapping):
        raise ModelError(
            f"The model at '{path}' must be one that spark_uplift has saved. Got other metadata instead."
        )
    if header.get("format") != FORMAT_VERSION:
        raise ModelError(
            f"The model at '{path}' must have format {FORMAT_VERSION}. Got format {header.get('format')} instead. "
            "Hint: load it with the version of spark_uplift that saved it, or a later one."
        )
    if table.num_rows == 0:
        raise ModelError(
            f"The model at '{path}' must have trees. Got none instead. Hint: was its saving cut short?"
        )
    try:
        forest = from_header(header, _trees(table, 1 + len(header["treatments"])), found.get("training"))
        digest = forest.digest
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"The model at '{path}' is damaged: {error}.") from error
    if digest != found.get("digest"):
        raise ModelError(
            f"The model at '{path}' must have the digest {found.get('digest')}. Got {digest} instead: its files were "
            "changed or are incomplete. Hint: save it again."
        )
    return forest


def write_local(forest: Forest, folder: str | Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write a model to a local folder, without Spark."""
    root = Path(folder)
    (root / "metadata").mkdir(parents=True, exist_ok=True)
    (root / "trees").mkdir(parents=True, exist_ok=True)
    pq.write_table(node_table(forest), root / "trees" / "part-00000.parquet")
    line = json.dumps({**(extra or {}), **metadata(forest)}, separators=(",", ":"))
    (root / "metadata" / "part-00000").write_text(line + "\n", encoding="utf-8")


def read_local(folder: str | Path) -> Forest:
    """Read a model from a local folder, without Spark, whoever wrote it."""
    root = Path(folder)
    parts = sorted(p for p in (root / "metadata").glob("part-*") if p.stat().st_size > 0)
    files = sorted((root / "trees").glob("*.parquet"))
    if not parts or not files:
        raise ModelError(
            f"The path '{root}' must hold a saved model. Got no metadata or trees there instead."
        )
    try:
        found = json.loads(parts[0].read_text(encoding="utf-8"))
        table = pa.concat_tables(pq.read_table(file, schema=_NODES) for file in files)
    except (ValueError, pa.ArrowException, OSError) as error:
        raise ModelError(f"The model at '{root}' is damaged: {error}.") from error
    return restore(found, table, str(root))


def write_spark(spark: SparkSession, forest: Forest, path: str, line: str, *, overwrite: bool) -> None:
    """Write a model with Spark.

    Parameters
    ----------
    line : str
        The metadata as JSON: that of pyspark.ml together with `metadata`.

    Raises
    ------
    ModelError
        When there is a model already and it may not be overwritten.
    """
    from pyspark.errors import AnalysisException

    mode = "overwrite" if overwrite else "error"  # Connect does not know its other name, "errorifexists"
    nodes = spark.createDataFrame(node_table(forest), schema=_DDL).coalesce(1)
    text = spark.createDataFrame([(line,)], "value string").coalesce(1)
    try:
        # Trees first: a path with metadata is a whole model.
        nodes.write.mode(mode).parquet(f"{path}/trees")
        text.write.mode(mode).text(f"{path}/metadata")
    except AnalysisException as error:
        if overwrite or "ALREADY_EXISTS" not in str(error):
            raise
        raise ModelError(
            f"The path '{path}' must not hold a model yet. Got one there instead. "
            "Hint: choose another path, or call model.write().overwrite().save(path)."
        ) from error


def read_spark(spark: SparkSession, path: str) -> tuple[dict[str, Any], Forest]:
    """Read a model with Spark, whoever wrote it; return its metadata and forest.

    Raises
    ------
    ModelError
        When there is no model, or one that `restore` refuses.
    """
    from pyspark.errors import AnalysisException

    try:
        lines = spark.read.text(f"{path}/metadata").limit(1).collect()
        # With the schema given, Spark does not open the files to infer one.
        nodes = spark.read.schema(_DDL).parquet(f"{path}/trees")
        _ = nodes.schema  # Connect looks at the path only now
    except AnalysisException as error:
        raise ModelError(
            f"The path '{path}' must hold a saved model. Got no metadata or trees there instead."
        ) from error
    try:
        found = json.loads(lines[0]["value"] if lines else "")
        table = nodes.toArrow().cast(_NODES)
    # Classic Spark and Connect have different errors for a file that is not Parquet.
    except Exception as error:
        raise ModelError(f"The model at '{path}' is damaged: {_reason(error)}.") from error
    return found, restore(found, table, path)


def _reason(error: Exception) -> str:
    """Return one line of an error: the innermost cause of a Java stack trace."""
    lines = str(error).splitlines() or [type(error).__name__]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return causes[-1] if causes else lines[0]
