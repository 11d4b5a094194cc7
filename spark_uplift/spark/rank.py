"""A global rank without sorting in one place.

Scores are divided by fixed cut points into ranges; rows are numbered within their range, in parallel, and the counts of
the better ranges are added. Where the cuts lie only decides how the work is divided, never a rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_RANGES = 64


def with_rank(scored: DataFrame, uplift: str, unit: str) -> DataFrame:
    """Add ``best_uplift``, ``rank`` (from 1, best first, ties by unit) and ``decile`` (1 is the best tenth).

    Parameters
    ----------
    scored : DataFrame
        Rows with an array of uplifts and a unit id.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    ranked = scored.withColumn("best_uplift", F.array_max(F.col(uplift)))
    shares = [(i + 1) / _RANGES for i in range(_RANGES - 1)]
    cuts = ranked.select(F.percentile_approx("best_uplift", shares, 1000).alias("cuts")).collect()[0]["cuts"]
    if not cuts:
        typed = {"rank": F.lit(None).cast("bigint"), "decile": F.lit(None).cast("int")}
        return ranked.withColumns(typed)
    edges = F.array(*[F.lit(float(x)) for x in sorted(set(cuts))])
    # The number of cuts that the score exceeds; range 0 holds the worst.
    divided = ranked.withColumn("__range", F.size(F.filter(edges, lambda edge: F.col("best_uplift") > edge)))
    counts = {row["__range"]: row["count"] for row in divided.groupBy("__range").count().collect()}
    better, offsets = 0, []
    for place in sorted(counts, reverse=True):
        offsets += [F.lit(place), F.lit(better).cast("bigint")]
        better += counts[place]
    window = Window.partitionBy("__range").orderBy(F.col("best_uplift").desc(), F.col(unit))
    number = F.row_number().over(window).cast("bigint")
    out = divided.withColumn("rank", number + F.create_map(*offsets)[F.col("__range")])
    decile = F.floor((F.col("rank") - 1) * 10 / F.lit(better)).cast("int") + 1
    return out.withColumn("decile", decile).drop("__range")
