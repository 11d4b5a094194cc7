"""The use case ``score``: the uplift, the recommended arm and the rank of every recipient of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.pipeline.audit import public_text, recorded
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.train import trained
from spark_uplift.spark import tables
from spark_uplift.spark.columns import column, is_number
from spark_uplift.spark.keep import kept
from spark_uplift.spark.parallel import side_by_side
from spark_uplift.spark.quarantine import content_hash
from spark_uplift.spark.rank import with_rank
from spark_uplift.spark.source import feature_columns
from spark_uplift.spark.versions import open_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

OWN_LIST = "experiment"
_NO_ID, _AGAIN = "null_unit_id", "duplicate_unit"
_DETAILS = {_NO_ID: "null, expected an id", _AGAIN: "the unit has another row, which is kept"}


def score(context: RunContext) -> int:
    """Write ``uplift_scores``, one row a recipient; return how many.

    Without a configured list the experiment's own usable rows are scored. Of a list, rows without an id and second rows
    of the same id are put into quarantine; what came in must equal what was scored and what was set aside.
    """
    with recorded(context, "score") as record:
        model, model_id = trained(context)
        recipients, list_id = _recipients(context, model)
        good, bad = _divided(recipients, list_id != OWN_LIST)
        with kept(model.transform(good)) as scored:
            record.rows_in, ranked = side_by_side(
                recipients.count, lambda: with_rank(scored, model.value("upliftCol"), "unit_id")
            )
            if record.rows_in == 0:
                raise DataError(
                    f"The list '{list_id}' must have recipients. Got none. Hint: check its path and filters."
                )
            rows = _score_rows(ranked, model_id, list_id)
            _, record.rows_quarantined = side_by_side(
                lambda: context.write(rows, "uplift_scores", model_id=model_id, list_id=list_id),
                lambda: _set_aside(context, list_id, bad),
            )
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


def _score_rows(ranked: DataFrame, model_id: str, list_id: str) -> DataFrame:
    from pyspark.sql import functions as F

    has_interval = "uplift_lower" in ranked.columns
    empty = F.lit(None).cast("array<double>")
    return ranked.select(
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
    return frame.select(column(unit).cast("string").alias("unit_id"), *features), public_text(
        f"{name}@{version}"
    )


def _divided(recipients: DataFrame, foreign: bool) -> tuple[DataFrame, DataFrame | None]:
    """Return the rows to score and the marked rest; the experiment's own rows were divided by ``prepare``."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    if not foreign:
        return recipients, None
    # Which of several rows of a unit is kept must not depend on their order: the one whose content hashes lowest.
    content = content_hash(recipients.columns)
    # Rows without an id must not meet in one giant group.
    unit = F.coalesce(F.col("unit_id"), F.concat(F.lit("\0"), F.hex(content)))
    marked = recipients.withColumn("__row", F.row_number().over(Window.partitionBy(unit).orderBy(content)))
    again = F.when(F.col("__row") > 1, F.lit(_AGAIN))
    marked = marked.withColumn("__reason", F.when(F.col("unit_id").isNull(), F.lit(_NO_ID)).otherwise(again))
    good, bad = marked.where("__reason IS NULL"), marked.where("__reason IS NOT NULL")
    return good.drop("__reason", "__row"), bad


def _set_aside(context: RunContext, list_id: str, bad: DataFrame | None) -> int:
    from pyspark.sql import functions as F

    if bad is None:
        return 0
    key = f"{context.run_id}/{list_id}"
    details = F.create_map(*[F.lit(x) for pair in _DETAILS.items() for x in pair])
    rows = bad.select(
        F.lit(key).alias("run_id"),
        "unit_id",
        F.col("__reason").alias("reason"),
        F.lit(context.source.id).alias("column_name"),
        details[F.col("__reason")].alias("detail"),
        F.current_timestamp().alias("quarantined_at"),
    )
    context.write(rows, "quarantine", run_id=key)
    return tables.read(context.spark, context.warehouse, "quarantine", {"run_id": key}).count()


def _written(context: RunContext, model_id: str, list_id: str) -> int:
    keys = {"model_id": model_id, "list_id": list_id}
    return tables.read(context.spark, context.warehouse, "uplift_scores", keys).count()
