"""The use case ``decide``: one arm for every scored recipient, within budgets, capacities and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spark_uplift.config_decide import DecideConfig
from spark_uplift.errors import ColumnNotFoundError, ConfigError, DataError, TableError
from spark_uplift.pipeline.audit import public_text, recorded
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.score import OWN_LIST
from spark_uplift.pipeline.train import trained
from spark_uplift.policy.allocation_report import ALL, sentence
from spark_uplift.policy.holdout_gain import Buckets, expected_gain
from spark_uplift.spark import tables
from spark_uplift.spark.columns import column
from spark_uplift.spark.decide import decide as decide_units
from spark_uplift.spark.decide_input import expression_faults
from spark_uplift.spark.snapshot import open_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Row = dict[str, Any]


def decide(context: RunContext) -> int:
    """Write ``decisions``, ``decision_summary`` and ``decision_constraints`` of the run's list; return how many units.

    The list must have been scored, in the version that it has now. Columns that rules, segments and costs look at are
    taken from it; of several rows of a recipient each rule that is true in one of them counts.

    Raises
    ------
    ConfigError
        When the configuration has no section ``decide``.
    TableError
        When the list has not been scored.
    DataError, ColumnNotFoundError
        When a limit can't be kept, or a rule does not fit the list's columns.
    """
    config = context.config.decide
    if config is None:
        raise ConfigError(
            "The configuration must have a section 'decide' for this job. Got none. "
            "Hint: add decide: with budgets, capacities or rules; decide: {} decides without limits."
        )
    with recorded(context, "decide") as record:
        model, model_id = trained(context)
        list_id, columns, extra = _columns_of_list(context, config)
        keys = {"run_id": context.run_id, "model_id": model_id, "list_id": list_id}
        scores = _scores(context, model_id, list_id)
        record.inputs = {
            "list": list_id,
            "uplift_scores": str(tables.version(context.spark, context.warehouse, "uplift_scores")),
        }
        rows = scores if columns is None else scores.join(columns, "unit_id", "left")
        economics = context.config.economics
        treatments = model.forest.treatments
        result = decide_units(
            rows,
            idCol="unit_id",
            treatmentNames=treatments,
            controlName=model.forest.control,
            value=economics.value,
            costs={arm: cost for arm, cost in economics.costs.items() if arm not in config.cost_columns},
            budgets=[budget.model_dump() for budget in config.budgets],
            capacities=[capacity.model_dump() for capacity in config.capacities],
            minimumGain=config.minimum_gain,
            explore=config.explore,
            seed=context.config.seed if config.seed is None else config.seed,
            **extra,
        )
        _write(context, result.decisions, "decisions", keys)
        written = tables.read(context.spark, context.warehouse, "decisions", keys)
        record.rows_in, record.rows_out = result.units, written.count()
        if record.rows_in != record.rows_out:
            raise DataError(
                f"The list '{list_id}' must not change while it is decided: {record.rows_in} units came in, but "
                f"{record.rows_out} were decided. Hint: run the job again."
            )
        summary = [row.asDict() for row in result.summary.collect()]
        summary = _by_holdout(context, summary, written, treatments)
        _write_rows(context, "decision_summary", summary, keys)
        limits = [row.asDict() for row in result.constraints.collect()]
        _write_rows(context, "decision_constraints", limits, keys)
        record.digest = model.digest
        record.outputs = {
            **keys,
            "decisions": str(tables.version(context.spark, context.warehouse, "decisions")),
        }
        record.message = sentence(_control_first(summary, model.forest.control), economics.currency)
    return int(record.rows_out or 0)


def _scores(context: RunContext, model_id: str, list_id: str) -> DataFrame:
    keys = {"model_id": model_id, "list_id": list_id}
    if context.exists("uplift_scores"):
        rows = tables.read(context.spark, context.warehouse, "uplift_scores", keys).select(
            "unit_id", "uplift"
        )
        if rows.take(1):
            return rows
    raise TableError(
        f"The table 'uplift_scores' must have rows of the list '{list_id}' and the model '{model_id}'. Got none. "
        "Hint: run `spark-uplift score` with the same configuration first, and again when the list has changed."
    )


def _columns_of_list(
    context: RunContext, config: DecideConfig
) -> tuple[str, DataFrame | None, dict[str, Any]]:
    """Return the list's id, what rules need of it a recipient (None for nothing), and `decide`'s arguments for that."""
    place = context.config.score
    if place.path is None and place.table is None:
        list_id, frame, unit = OWN_LIST, context.source.df, context.source.id
    else:
        snapshot = open_snapshot(context.spark, place)
        list_id, frame = public_text(f"{snapshot.name}@{snapshot.version}"), snapshot.df
        unit = context.source.id
    if not (config.exclusions or config.segment or config.cost_columns):
        return list_id, None, {}
    if unit is None:
        raise DataError(
            "Rules, segments and costs of single units must find them by their id. Got a configuration without "
            "'experiment.id' instead. Hint: set experiment.id to the column of the list that identifies a recipient."
        )
    return list_id, *_a_unit(frame, unit, config)


def _a_unit(frame: DataFrame, unit: str, config: DecideConfig) -> tuple[DataFrame, dict[str, Any]]:
    from pyspark.sql import functions as F

    wanted = [unit, *config.cost_columns.values(), *([config.segment] if config.segment else [])]
    missing = [name for name in dict.fromkeys(wanted) if name not in frame.columns]
    texts = list(dict.fromkeys(text for rules in config.exclusions.values() for text in rules))
    faults = expression_faults(frame, texts)
    if missing:
        faults.insert(0, str(ColumnNotFoundError.of(missing, frame.columns)))
    if faults:
        raise DataError(faults)
    rules = {text: f"rule{i}" for i, text in enumerate(texts)}
    costs = {arm: f"cost{i}" for i, arm in enumerate(config.cost_columns)}
    picked = frame.select(
        column(unit).cast("string").alias("unit_id"),
        *(F.coalesce(F.expr(text), F.lit(False)).alias(name) for text, name in rules.items()),
        *(column(config.cost_columns[arm]).cast("double").alias(name) for arm, name in costs.items()),
        *([column(config.segment).cast("string").alias("segment")] if config.segment else []),
    )
    merged = [
        *(F.bool_or(name).alias(name) for name in rules.values()),
        *(F.max(name).alias(name) for name in costs.values()),
        *([F.min("segment").alias("segment")] if config.segment else []),
    ]
    arguments = {
        "exclusions": {arm: [rules[text] for text in found] for arm, found in config.exclusions.items()},
        "costCols": costs,
        "segmentCol": "segment" if config.segment else None,
    }
    return picked.where("unit_id IS NOT NULL").groupBy("unit_id").agg(*merged), arguments


def _by_holdout(
    context: RunContext, summary: Sequence[Row], written: DataFrame, treatments: Sequence[str]
) -> list[Row]:
    """Put the holdout's expectation and interval into the summary, where the run has an uplift table with them."""
    from pyspark.sql import functions as F

    level, value = context.config.evaluation.level, context.config.economics.value
    table = [row for row in context.small_rows("uplift_table") if row["split"] == "holdout"]
    buckets = {arm: Buckets.of([row for row in table if row["arm"] == arm], level) for arm in treatments}
    known = {arm: of for arm, of in buckets.items() if of is not None}
    if len(known) < len(buckets):
        return list(summary)
    place = F.lit(0)
    for arm, of in known.items():
        above = sum(((F.col("uplift") > edge).cast("int") for edge in of.edges), F.lit(0))
        place = F.when(F.col("arm") == arm, above).otherwise(place)
    found = written.groupBy("arm", place.alias("bucket")).count().collect()
    counts = {arm: [0] * len(of.uplift) for arm, of in known.items()}
    for row in found:
        if row["arm"] in counts:
            counts[row["arm"]][row["bucket"]] = row["count"]
    gains = expected_gain(known, counts, value, level)
    return [_with_gain(row, gains.get(row["arm"], (0.0, 0.0, 0.0))) for row in summary]


def _with_gain(row: Mapping[str, Any], gain: tuple[float, float, float]) -> Row:
    middle, lower, upper = gain
    return {
        **row,
        "gain": middle,
        "lower": lower,
        "upper": upper,
        "net": middle - row["cost"],
        "basis": "holdout",
    }


def _control_first(summary: Sequence[Row], control: str) -> list[Row]:
    return sorted(summary, key=lambda row: (row["arm"] != control, row["arm"] == ALL, row["arm"]))


def _write_rows(context: RunContext, name: str, rows: Sequence[Row], keys: dict[str, str]) -> None:
    context.write(context.frame(name, [{**row, **keys} for row in rows]), name, **keys)


def _write(context: RunContext, rows: DataFrame, name: str, keys: dict[str, str]) -> None:
    from pyspark.sql import functions as F

    tagged = rows.withColumns({**{k: F.lit(v) for k, v in keys.items()}, "decided_at": F.current_timestamp()})
    context.write(tagged, name, **keys)
