"""The use case ``score``: the uplift, the recommended arm and the rank of every recipient of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.pipeline.audit import recorded
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.train import trained
from spark_uplift.spark import tables
from spark_uplift.spark.columns import column, is_number
from spark_uplift.spark.rank import with_rank
from spark_uplift.spark.source import feature_columns
from spark_uplift.spark.versions import open_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

OWN_LIST = "experiment"
_QUARANTINE_REASONS = {
    "null_unit": "The unit id is null.",
    "duplicate_unit": "The unit stands in the list more than once.",
}


def score(context: RunContext) -> int:
    """Write ``uplift_scores``, one row a recipient; return how many.

    Without a configured list the experiment's own usable rows are scored. Of a list, rows without an id and second rows
    of the same id are put into quarantine; what came in must equal what was scored and what was set aside.
    """
    from pyspark.sql import functions as F

    with recorded(context, "score") as record:
        model, model_id = trained(context)
        recipients, list_id = _recipients(context, model)
        good, bad = _divided(recipients, list_id != OWN_LIST)
        scored = with_rank(model.transform(good), model.value("upliftCol"), "unit_id")
        has_interval = "uplift_lower" in scored.columns
        empty = F.lit(None).cast("array<double>")
        rows = scored.select(
            F.lit(model_id).alias("model_id"),
            F.lit(list_id).alias("list_id"),
            "unit_id",
            "uplift",
            (F.col("uplift_lower") if has_interval else empty).alias("uplift_lower"),
            (F.col("uplift_upper") if has_interval else empty).alias("uplift_upper"),
            "recommended",
            "best_uplift",
            "rank",
            "decile",
            F.current_timestamp().alias("scored_at"),
        )
        context.write(rows, "uplift_scores", model_id=model_id, list_id=list_id)
        record.rows_in = recipients.count()
        record.rows_quarantined = _set_aside(context, bad)
        record.rows_out = _written(context, model_id, list_id)
        if record.rows_in != record.rows_out + record.rows_quarantined:
            raise DataError(
                f"The list '{list_id}' must not change while it is scored: {record.rows_in} recipients came in, but "
                f"{record.rows_out} were scored and {record.rows_quarantined} set aside. Hint: run the job again."
            )
        record.digest = model.digest
        record.outputs = {
            "uplift_scores": str(tables.version(context.spark, context.warehouse, "uplift_scores")),
            "model_id": model_id,
            "list_id": list_id,
        }
        record.message = f"{record.rows_out} recipients scored, {record.rows_quarantined} set aside"
    return int(record.rows_out)


def _recipients(context: RunContext, model: UpliftForestModel) -> tuple[DataFrame, str]:
    """Return the recipients with ``unit_id`` and the features, and the list's name."""
    wanted = [bins.name for bins in model.forest.features]
    config = context.config.score
    if config.path is None and config.table is None:
        view = context.rows("training_view", "prepare")
        return view.select("unit_id", *[column(name) for name in wanted]), OWN_LIST
    frame, name, version = open_rows(context.spark, config, section="score")
    unit = context.source.id
    if unit is None:
        raise DataError(
            "Scoring a list must have the unit's id. Got a configuration without 'experiment.id' instead. "
            "Hint: set experiment.id to the column of the list that identifies a recipient."
        )
    missing = [c for c in [unit, *wanted] if c not in frame.columns]
    if missing:
        raise ColumnNotFoundError.of(missing, frame.columns)
    categorical = [bins.name for bins in model.forest.features if bins.categorical]
    kinds = {field.name: field.dataType for field in frame.schema.fields}
    texts = [name for name in wanted if name not in categorical and not is_number(kinds[name])]
    if texts:
        raise DataError(
            [
                f"The feature column '{c}' of the list must hold numbers as in training. Got {kinds[c].simpleString()} "
                "instead. Hint: cast it, and look at the values that do not convert."
                for c in texts
            ]
        )
    features = feature_columns(frame, wanted, categorical)
    return frame.select(column(unit).cast("string").alias("unit_id"), *features), f"{name}@{version}"


def _divided(recipients: DataFrame, foreign: bool) -> tuple[DataFrame, DataFrame | None]:
    """Return the rows to score and the marked rest; the experiment's own rows were divided by ``prepare``."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    if not foreign:
        return recipients, None
    # Which of several rows of a unit is kept must not depend on their order: the one whose content hashes lowest.
    values = [F.coalesce(column(c).cast("string"), F.lit("\u0000")) for c in recipients.columns]
    window = Window.partitionBy("unit_id").orderBy(F.xxhash64(*values))
    marked = recipients.withColumn("__row", F.row_number().over(window)).withColumn(
        "reason",
        F.when(F.col("unit_id").isNull(), F.lit("null_unit")).when(
            F.col("__row") > 1, F.lit("duplicate_unit")
        ),
    )
    return marked.where("reason IS NULL").drop("reason", "__row"), marked.where("reason IS NOT NULL")


def _set_aside(context: RunContext, bad: DataFrame | None) -> int:
    from pyspark.sql import functions as F

    if bad is None:
        return 0
    detail = F.create_map(*[F.lit(x) for pair in _QUARANTINE_REASONS.items() for x in pair])
    rows = bad.select(
        F.lit(f"{context.run_id}/score").alias("run_id"),
        "unit_id",
        "reason",
        F.lit(context.source.id).alias("column_name"),
        detail[F.col("reason")].alias("detail"),
        F.current_timestamp().alias("quarantined_at"),
    )
    context.write(rows, "quarantine", run_id=f"{context.run_id}/score")
    return tables.read(
        context.spark, context.warehouse, "quarantine", {"run_id": f"{context.run_id}/score"}
    ).count()


def _written(context: RunContext, model_id: str, list_id: str) -> int:
    keys = {"model_id": model_id, "list_id": list_id}
    return tables.read(context.spark, context.warehouse, "uplift_scores", keys).count()
