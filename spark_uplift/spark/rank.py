"""A global rank without sorting in one place.

Scores are divided by fixed cut points into ranges; rows are numbered within their range, in parallel, and the counts of
the better ranges are added. Where the cuts lie only decides how the work is divided, never a rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_RANGES = 64
_ONE_RANGE = 200_000
"""Up to so many rows are sorted in one place: two passes over the scores cost more."""


def with_rank(scored: DataFrame, uplift: str, unit: str) -> DataFrame:
    """Add ``best_uplift``, ``rank`` (from 1, best first, ties by unit) and ``decile`` (1 is the best tenth).

    Parameters
    ----------
    scored : DataFrame
        Rows with an array of uplifts and a unit id. They are read up to three times.
    uplift, unit : str
        Columns.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    ranked = scored.withColumn("best_uplift", F.array_max(F.col(uplift)))
    shares = [(i + 1) / _RANGES for i in range(_RANGES - 1)]
    cuts = F.percentile_approx("best_uplift", shares, 1000).alias("cuts")
    found = ranked.agg(F.count("*").alias("n"), cuts).collect()[0]
    rows, edges = int(found["n"]), sorted(set(found["cuts"] or ()))
    if rows <= _ONE_RANGE:
        edges = []
    divided = ranked.withColumn("__range", _range(edges))
    counts = {0: rows}
    if edges:
        counts = {row["__range"]: row["count"] for row in divided.groupBy("__range").count().collect()}
    better, offsets = 0, []
    for place in sorted(counts, reverse=True):
        offsets += [F.lit(place), F.lit(better).cast("bigint")]
        better += counts[place]
    window = Window.partitionBy("__range").orderBy(F.col("best_uplift").desc(), F.col(unit))
    number = F.row_number().over(window).cast("bigint")
    out = divided.withColumn("rank", number + F.create_map(*offsets)[F.col("__range")])
    decile = F.floor((F.col("rank") - 1) * 10 / F.lit(rows)).cast("int") + 1
    return out.withColumn("decile", decile).drop("__range")


def _range(edges: list[float]) -> Column:
    """Return the number of cuts that the score exceeds; range 0 holds the worst."""
    from pyspark.sql import functions as F

    if not edges:
        return F.lit(0)
    cuts = F.array(*[F.lit(float(edge)) for edge in edges])
    return F.size(F.filter(cuts, lambda edge: F.col("best_uplift") > edge))
