"""Our side of the benchmarks, in a session that is up before the clock starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import data
from benchmarks.contender import Stopwatch, phase, quality
from benchmarks.settings import CONTROL, FEATURES, Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_uplift import UpliftForest, UpliftForestModel

_SETTINGS = (
    "criterion gradient, all features, shrinkage 500 (default), Poisson bootstrap; from Parquet through Spark"
)


def _session(settings: Settings) -> SparkSession:
    import spark_uplift as su

    return su.get_session("benchmarks", master=f"local[{settings.threads}]")


def _table(spark: SparkSession, settings: Settings, rows: int) -> DataFrame:
    return spark.read.parquet(*data.files(rows, f"{settings.work}/data", settings.seed))


def _forest(settings: Settings, honest: bool = False, **further: Any) -> UpliftForest:
    import spark_uplift as su

    return su.UpliftForest(
        treatmentCol="arm", controlName=CONTROL, labelCol="outcome", featureCols=FEATURES, idCol="id",
        criterion="gradient", numTrees=settings.trees, maxDepth=settings.depth, maxBins=settings.bins,
        minInstancesPerNode=settings.min_node, minInstancesPerArm=settings.min_arm,
        featureSubsetStrategy="all", honest=honest, seed=settings.seed, **further,
    )  # fmt: skip


def _version() -> str:
    import pyspark

    import spark_uplift as su

    return f"spark_uplift {su.__version__} on Spark {pyspark.__version__}"


def _leaves(model: UpliftForestModel) -> float:
    return float(np.mean([tree.is_leaf.sum() for tree in model.forest.trees]))


def fit(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Fit from the Parquet table to a model: first with new Python workers, then ``repeats`` times warm."""
    spark = _session(settings)
    honest = job["contender"] == "ours-honest"
    seconds = []
    for _ in range(1 + settings.repeats):
        with phase("fit"), Stopwatch() as watch:
            model = _forest(settings, honest).fit(_table(spark, settings, settings.rows))
        seconds.append(watch.seconds)
    paths = data.held_out_files(settings.test_rows, f"{settings.work}/data", settings.seed)
    scored = (
        model.transform(spark.read.parquet(*paths)).selectExpr("uplift[0] AS predicted", "tau").toPandas()
    )
    spark.stop()
    return {
        "version": _version(),
        "first_seconds": seconds[0],
        "seconds": seconds[1:],
        **quality(scored["predicted"], scored["tau"]),
        "leaves": _leaves(model),
        "digest": model.digest,
        "settings": f"{_SETTINGS}{', honest' if honest else ''}",
    }


def memory(settings: Settings, _: dict[str, Any]) -> dict[str, Any]:
    """Fit once; the parent watches the workers."""
    spark = _session(settings)
    with phase("fit"), Stopwatch() as watch:
        model = _forest(settings).fit(_table(spark, settings, settings.rows))
    spark.stop()
    return {
        "version": _version(),
        "rows": settings.rows,
        "trees": settings.trees,
        "seconds": [watch.seconds],
        "leaves": _leaves(model),
    }


def _node(tree: Any, row: int, edges: list[tuple[float, ...]]) -> Any:
    """Return a node of a tree without categories as nested lists: [feature, cut, left, right], or a leaf's effect."""
    if tree.is_leaf[row]:
        return float(tree.effect[row, 0])
    feature, code, child = int(tree.feature[row]), int(tree.threshold[row]), int(tree.left_child[row])
    # Codes up to `code` go left; code 0 is "missing", which this data has not.
    cut = edges[feature][code - 1] if code >= 1 else None
    return [feature, cut, _node(tree, child, edges), _node(tree, child + 1, edges)]


def _export(model: UpliftForestModel, recipients: DataFrame, path: str) -> None:
    """Write the forest, and its effects on a few rows, so that a peer can predict with the very same trees."""
    edges = [bins.edges for bins in model.forest.features]
    checked = (
        model.transform(recipients).selectExpr("id", "uplift[0] AS effect").where("id < 1000").toPandas()
    )
    exported = {
        "trees": [_node(tree, 0, edges) for tree in model.forest.trees],
        "effects": checked.sort_values("id")["effect"].tolist(),
    }
    Path(path).write_text(json.dumps(exported))


def transform(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Score a Parquet table of ``score_rows`` rows: to nowhere (noop), and scores into a new Delta table."""
    spark = _session(settings)
    model = _forest(settings).fit(_table(spark, settings, settings.rows))
    recipients = _table(spark, settings, job["score_rows"]).select("id", *FEATURES)
    first = _table(spark, settings, min(data.CHUNK, job["score_rows"])).select("id", *FEATURES)
    _export(model, first, job["forest"])
    columns = ["id", "uplift", "recommended"]
    target = Path(settings.work).resolve() / "scores"

    def noop(df: DataFrame) -> float:
        with Stopwatch() as watch:
            df.write.format("noop").mode("overwrite").save()
        return watch.seconds

    def delta() -> float:
        shutil.rmtree(target, ignore_errors=True)
        with Stopwatch() as watch:
            model.transform(recipients).select(columns).write.format("delta").save(str(target))
        return watch.seconds

    with phase("warm-up"):
        noop(model.transform(first))
    scan = noop(recipients)
    with phase("predict"):
        seconds = [noop(model.transform(recipients)) for _ in range(settings.repeats)]
    with phase("delta"):
        delta_seconds = [delta() for _ in range(settings.repeats)]
    shutil.rmtree(target, ignore_errors=True)
    spark.stop()
    return {
        "version": _version(),
        "rows": job["score_rows"],
        "seconds": seconds,
        "delta_seconds": delta_seconds,
        "scan_seconds": scan,
        "leaves": _leaves(model),
        "settings": "model.transform from Parquet, all input columns and the scores to a noop sink",
    }


def breakdown(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Say where a warm fit's time goes, by running its parts alone."""
    from spark_uplift.criteria import registry
    from spark_uplift.spark import dataset, train

    spark = _session(settings)
    forest = _forest(settings)
    forest.fit(_table(spark, settings, settings.rows))
    parts: dict[str, list[float]] = {}

    def timed(name: str, action: Any) -> Any:
        with Stopwatch() as watch:
            found = action()
        parts.setdefault(name, []).append(watch.seconds)
        return found

    def to_nowhere(df: DataFrame) -> None:
        df.write.format("noop").mode("overwrite").save()

    for _ in range(settings.repeats):
        df = _table(spark, settings, settings.rows)
        timed("whole fit", lambda df=df: forest.fit(df))
        timed(
            "read the columns, nothing else",
            lambda df=df: to_nowhere(df.select("id", "arm", "outcome", *FEATURES)),
        )
        prepared = timed(
            "first pass: check, count, cut bins (one job)",
            lambda df=df: dataset.prepare(
                df, forest.columns(), CONTROL, max_bins=settings.bins,
                needs_squares=registry.get("gradient").needs_squares, seed=settings.seed,
            ),
        )  # fmt: skip
        timed("pack the rows, to nowhere", lambda prepared=prepared: to_nowhere(prepared.blocks()))
        timed(
            "pack, broadcast, grow, collect",
            lambda prepared=prepared: train.train(prepared, forest.settings(len(FEATURES))),
        )
        short = _forest(Settings(**{**settings.to_json(), "trees": settings.threads, "depth": 1}))
        timed(
            f"the same with {settings.threads} stumps",
            lambda prepared=prepared, short=short: train.train(prepared, short.settings(len(FEATURES))),
        )
    spark.stop()
    return {
        "version": _version(),
        "parts": {name: float(np.median(values)) for name, values in parts.items()},
    }
