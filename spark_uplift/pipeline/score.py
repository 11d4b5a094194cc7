"""The use case ``score``: the uplift, the recommended arm and the rank of every recipient of a list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_uplift.core.forest import Forest
from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.pipeline.audit import JobRecord, public_text, recorded
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.train import trained
from spark_uplift.spark import rank, recipients, tables
from spark_uplift.spark.batches import unmeasured_batches
from spark_uplift.spark.columns import column, is_number
from spark_uplift.spark.keep import kept
from spark_uplift.spark.parallel import side_by_side
from spark_uplift.spark.snapshot import Snapshot, open_snapshot, unreadable
from spark_uplift.spark.source import arm_text

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

OWN_LIST = "experiment"
_NO_ID, _AGAIN, _INFINITE = "null_unit_id", "duplicate_unit", "infinite_feature"
_DETAILS = {
    _NO_ID: "null, expected an id",
    _AGAIN: "the unit has another row, which is kept",
    _INFINITE: "infinite, expected a finite number or null",
}


@dataclass(frozen=True)
class Recipients:
    """A list to score.

    Attributes
    ----------
    list_id : str
        Its name and version.
    rows : DataFrame
        unit_id (text), its hash, and the features in the forest's order: nothing else is read.
    id_column : str or None
        What the id is called in the list.
    snapshot : Snapshot or None
        None for the experiment's own rows.
    """

    list_id: str
    rows: DataFrame
    id_column: str | None
    snapshot: Snapshot | None


def score(context: RunContext) -> int:
    """Write ``uplift_scores``, one row a recipient; return how many.

    Without a configured list the experiment's own usable rows are scored. Of a list, rows without an id, with an
    infinite feature and second rows of the same id are put into quarantine; what came in must equal what was scored
    and what was set aside, before anything is written and in the tables afterwards.
    """
    with recorded(context, "score") as record:
        model, model_id = trained(context)
        listed = _recipients(context, model)
        record.inputs["list"] = listed.list_id
        with _file_named(listed.list_id):
            record.rows_in = listed.rows.count()
            if record.rows_in == 0:
                raise DataError(
                    f"The list '{listed.list_id}' must have recipients. Got none. Hint: check its path and filters."
                )
            _score(context, record, listed, model, model_id)
        record.digest = model.digest
        record.outputs = {
            "uplift_scores": str(tables.version(context.spark, context.warehouse, "uplift_scores")),
            "model_id": model_id,
            "list_id": listed.list_id,
        }
        record.message = f"{record.rows_out} recipients scored, {record.rows_quarantined} set aside"
    return int(record.rows_out or 0)


def _score(
    context: RunContext, record: JobRecord, listed: Recipients, model: UpliftForestModel, model_id: str
) -> None:
    """Score, rank and write; fill in the record's numbers."""
    forest, list_id = model.forest, listed.list_id
    level = model.value("intervalLevel") if forest.little_bags else None
    arms = len(forest.treatments)
    parts = recipients.number_of_parts(int(record.rows_in or 0))
    with ExitStack() as stack:
        with unmeasured_batches(context.spark, len(forest.features)):
            packed = recipients.packed(listed.rows, forest, parts, level)
            packed = stack.enter_context(kept(packed, on_disk=True))
            counted = rank.tally(packed)
        if listed.snapshot is not None:
            listed.snapshot.require_unchanged()
        _require_sum(list_id, record.rows_in, counted.good, counted.aside, "Nothing was written.")
        ranked = rank.ranked(packed, counted, arms, arms if level is None else 3 * arms)
        rows = _score_rows(ranked, forest, model_id, list_id)
        side_by_side(
            lambda: context.write(rows, "uplift_scores", model_id=model_id, list_id=list_id),
            lambda: _set_aside(context, listed, packed, forest),
        )
    record.rows_out = _rows(context, "uplift_scores", {"model_id": model_id, "list_id": list_id})
    record.rows_quarantined = 0
    if listed.snapshot is not None:
        record.rows_quarantined = _rows(context, "quarantine", {"run_id": _quarantine_key(context, listed)})
    _require_sum(list_id, record.rows_in, record.rows_out, record.rows_quarantined, "Another job wrote too.")


def _require_sum(list_id: str, rows_in: int | None, scored: int, aside: int, remark: str) -> None:
    if rows_in != scored + aside:
        raise DataError(
            f"The list '{list_id}' must not change while it is scored: {rows_in} recipients came in, but {scored} were "
            f"scored and {aside} set aside. {remark} Hint: run the job again."
        )


@contextmanager
def _file_named(list_id: str) -> Iterator[None]:
    """Name the file of the list that can't be read, if that is what went wrong."""
    try:
        yield
    except Exception as error:
        file = unreadable(error)
        if file is None:
            raise
        raise DataError(
            f"The list '{list_id}' must have files that can be read whole. Got {file} instead, which is broken, gone, "
            "or in another format. No scores were written. Hint: write that file anew, or take it away."
        ) from error


def _score_rows(ranked: DataFrame, forest: Forest, model_id: str, list_id: str) -> DataFrame:
    from pyspark.sql import functions as F

    names = F.array(*[F.lit(name) for name in forest.treatments])
    best = F.element_at(names, F.col("arm") + 1)
    return ranked.select(
        F.lit(model_id).alias("model_id"),
        F.lit(list_id).alias("list_id"),
        "unit_id",
        "uplift",
        "uplift_lower",
        "uplift_upper",
        F.when(F.col("best_uplift") > 0, best).otherwise(F.lit(forest.control)).alias("recommended"),
        "best_uplift",
        "rank",
        "decile",
        F.current_timestamp().alias("scored_at"),
    )


def _recipients(context: RunContext, model: UpliftForestModel) -> Recipients:
    """Open the list, or the experiment's own usable rows.

    Raises
    ------
    DataError
        When the id is not configured, or a feature has another type than in training.
    ColumnNotFoundError
        When the list lacks columns.
    """
    config, forest = context.config.score, model.forest
    if config.path is None and config.table is None:
        view = context.rows("training_view", "prepare")
        return Recipients(OWN_LIST, _columns(view, "unit_id", forest), context.source.id, None)
    unit = context.source.id
    if unit is None:
        raise DataError(
            "Scoring a list must have the unit's id. Got a configuration without 'experiment.id' instead. "
            "Hint: set experiment.id to the column of the list that identifies a recipient."
        )
    snapshot = open_snapshot(context.spark, config)
    frame = snapshot.df
    kinds = {field.name: field.dataType for field in frame.schema.fields}
    missing = [c for c in [unit, *(bins.name for bins in forest.features)] if c not in kinds]
    if missing:
        raise ColumnNotFoundError.of(missing, list(kinds))
    texts = [
        bins.name for bins in forest.features if not bins.categorical and not is_number(kinds[bins.name])
    ]
    if texts:
        raise DataError(
            [
                f"The feature column '{c}' of the list must hold numbers as in training. Got {kinds[c].simpleString()} "
                "instead. Hint: cast it, and look at the values that do not convert."
                for c in texts
            ]
        )
    list_id = public_text(f"{snapshot.name}@{snapshot.version}")
    return Recipients(list_id, _columns(frame, unit, forest), unit, snapshot)


def _columns(frame: DataFrame, unit: str, forest: Forest) -> DataFrame:
    """Return what is read of a list; a missing number may be null or NaN."""
    from pyspark.sql import functions as F

    kinds = {field.name: field.dataType for field in frame.schema.fields}
    text = column(unit).cast("string")
    features = [
        (
            arm_text(bins.name, kinds[bins.name]) if bins.categorical else column(bins.name).cast("double")
        ).alias(f"f{j}")
        for j, bins in enumerate(forest.features)
    ]
    return frame.select(text.alias("unit_id"), F.xxhash64(text).alias("unit_hash"), *features)


def _set_aside(context: RunContext, listed: Recipients, packed: DataFrame, forest: Forest) -> None:
    """Write the recipients without a score to ``quarantine``; the experiment's own were divided by ``prepare``."""
    from pyspark.sql import functions as F

    if listed.snapshot is None:
        return
    key = _quarantine_key(context, listed)
    number = F.col("reason")
    names = F.array(*[F.lit(bins.name) for bins in forest.features])
    reason = F.when(number == recipients.NO_ID, _NO_ID).when(number == recipients.DUPLICATE, _AGAIN)
    details = F.create_map(*[F.lit(x) for pair in _DETAILS.items() for x in pair])
    rows = recipients.set_aside(packed).select(
        F.lit(key).alias("run_id"),
        "unit_id",
        reason.otherwise(_INFINITE).alias("reason"),
        F.when(number > 0, F.element_at(names, number))
        .otherwise(F.lit(listed.id_column))
        .alias("column_name"),
    )
    rows = rows.withColumns({"detail": details[F.col("reason")], "quarantined_at": F.current_timestamp()})
    context.write(rows, "quarantine", run_id=key)


def _quarantine_key(context: RunContext, listed: Recipients) -> str:
    return f"{context.run_id}/{listed.list_id}"


def _rows(context: RunContext, name: str, keys: dict[str, str]) -> int:
    return int(tables.read(context.spark, context.warehouse, name, keys).count())
