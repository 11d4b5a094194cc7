"""What the steps of a personalization test share, and the state that they leave for each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING

from spark_uplift.config import RunConfig
from spark_uplift.config_campaign import CampaignConfig, OutcomesConfig
from spark_uplift.config_loading import Whole
from spark_uplift.errors import ColumnNotFoundError, DataError, TableError
from spark_uplift.pipeline.context import LogProgress, Progress, RunContext
from spark_uplift.spark import tables
from spark_uplift.spark.columns import column, is_number
from spark_uplift.spark.session import get_session
from spark_uplift.spark.snapshot import Snapshot, open_snapshot
from spark_uplift.spark.source import Source, resolve

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

TEST, SEND = "test", "send"


@dataclass
class CampaignContext(RunContext):
    """One campaign; its test is an experiment like any other, and its id is the run's.

    Parameters
    ----------
    campaign : CampaignConfig
    """

    campaign: CampaignConfig = field(kw_only=True)

    @property
    def settings(self) -> Whole:
        """What the user configured."""
        return self.campaign

    @cached_property
    def run_id(self) -> str:
        """The campaign's id."""
        return self.campaign.campaign_id

    @cached_property
    def source(self) -> Source:
        """The tested recipients with arm, propensity, outcome, and features as they were at the draw."""
        campaign = self.campaign
        if campaign.outcomes is None:
            raise DataError(
                "The step `personalize learn` needs the section 'outcomes' of the configuration. Got none. "
                "Hint: say where the outcomes of the test lie, once they are in."
            )
        features = tables.read(self.spark, self.warehouse, "campaign_features", {"run_id": self.run_id})
        drawn = self.assigned(TEST).select("unit_id", "arm", "propensity")
        rows = drawn.join(features.drop("run_id"), "unit_id")
        joined, version = with_outcomes(self, rows, campaign.outcomes, "outcomes")
        # Types and roles are resolved as those of any experiment.
        return resolve(joined, self.config.experiment, f"test of {campaign.name}", version)

    def assigned(self, which: str) -> DataFrame:
        """Return the rows of ``assignments`` that were written for the test or the send."""
        return tables.read(self.spark, self.warehouse, "assignments", {"run_id": f"{self.run_id}/{which}"})

    def recipients(self) -> Snapshot:
        """Open the recipients, as they are now, and check the configured columns."""
        return open_snapshot(self.spark, self.campaign.recipients, "recipients")

    def facts(self, step: str) -> dict[str, str] | None:
        """Return what a step left, or None when it is not done."""
        rows = self.small_rows("campaigns")
        found = next((row for row in rows if row["step"] == step), None)
        return None if found is None else dict(found["facts"])

    def need(self, step: str) -> dict[str, str]:
        """Return what a step left.

        Raises
        ------
        TableError
            When it is not done.
        """
        found = self.facts(step)
        if found is None:
            raise TableError(
                f"The step `personalize {step}` of campaign '{self.run_id}' must be done first. Got no record of it. "
                f"Hint: run `spark-uplift personalize {step}` with the same configuration."
            )
        return found

    def remember(self, step: str, facts: Mapping[str, object], message: str) -> None:
        """Record that a step is done, last of all that it writes."""
        row = {
            "run_id": self.run_id,
            "step": step,
            "facts": {name: str(value) for name, value in facts.items()},
            "message": message,
            "done_at": datetime.now(timezone.utc),
        }
        self.write(self.frame("campaigns", [row]), "campaigns", run_id=self.run_id, step=step)


def open_campaign(config: CampaignConfig, progress: Progress | None = None) -> CampaignContext:
    """Return the context of a campaign."""
    spark = get_session(
        app_name=f"spark_uplift {config.name}", master=config.spark.master, conf=config.spark.conf
    )
    return CampaignContext(_as_run(config), spark, progress or LogProgress(), campaign=config)


def _as_run(config: CampaignConfig) -> RunConfig:
    """Return the test as the configuration of an experiment."""
    outcomes = config.outcomes
    return RunConfig.model_validate(
        {
            "name": config.name,
            "seed": config.seed,
            "warehouse": config.warehouse,
            "experiment": {
                "table": "assignments",
                "id": "unit_id",
                "treatment": "arm",
                "control": config.arms[0],
                "arms": config.arms,
                "shares": config.shares,
                "outcome": "outcome",
                "outcome_unit": outcomes.unit if outcomes else None,
                "categorical": config.recipients.categorical,
                "propensity": "propensity",
            },
            "checks": config.checks,
            "split": {"holdout": 0.5},
            "forest": config.forest,
            "evaluation": {"level": config.learn.level},
            "economics": config.economics,
            "mlflow": {"enabled": False},
            "spark": config.spark,
        }
    )


def units(context: CampaignContext, rows: DataFrame) -> DataFrame:
    """Return those who may be sent anything, with ``unit_id`` as text in front of their columns.

    Raises
    ------
    ColumnNotFoundError, DataError
        Columns are missing, the condition is no SQL, ids are null or given twice.
    """
    wanted = context.campaign.recipients
    named = [wanted.id, *(wanted.features or ()), *wanted.categorical, *wanted.strata]
    missing = [name for name in dict.fromkeys(named) if name not in rows.columns]
    if missing:
        raise ColumnNotFoundError.of(missing, rows.columns)
    if wanted.where is not None:
        try:
            rows = rows.where(wanted.where)
            _ = rows.schema
        except Exception as error:
            raise DataError(
                f"The 'recipients.where' parameter of the configuration must be a SQL condition. Got {wanted.where!r} "
                f"instead: {str(error).splitlines()[0]}"
            ) from error
    return rows.select(
        column(wanted.id).cast("string").alias("unit_id"), *map(column, _kept(rows, wanted.id))
    )


def _kept(rows: DataFrame, unit: str) -> list[str]:
    return [name for name in rows.columns if name != unit]


def require_one_row_each(rows: DataFrame) -> int:
    """Check that every unit has an id and one row; return how many there are.

    Raises
    ------
    DataError
        Says how many ids are null or repeated, and one of them.
    """
    from pyspark.sql import functions as F

    per_unit = rows.groupBy("unit_id").agg(F.count("*").alias("n"))
    several = F.col("unit_id").isNotNull() & (F.col("n") > 1)
    found = per_unit.agg(
        F.sum(F.when(F.col("unit_id").isNull(), F.col("n")).otherwise(0)).alias("nulls"),
        F.sum(F.when(several, 1).otherwise(0)).alias("several"),
        F.min(F.when(several, F.col("unit_id"))).alias("example"),
        F.sum("n").alias("rows"),
    ).collect()[0]
    faults = []
    if not found["rows"]:
        faults.append(
            "The recipients must not be empty. Got none. Hint: check the path and recipients.where."
        )
    if found["nulls"]:
        faults.append(f"Every recipient must have an id. Got {found['nulls']} rows in which it is null.")
    if found["several"]:
        faults.append(
            f"Every recipient must have one row. Got {found['several']} ids with several, e.g. {found['example']!r}. "
            "Hint: make the list distinct by id."
        )
    if faults:
        raise DataError(faults)
    return int(found["rows"])


def fraction(context: CampaignContext, purpose: str, key: Column | None = None) -> Column:
    """Return a draw in [0, 1) for each unit: a function of the seed, the campaign's name, the purpose and the unit.

    xxHash64 with seed 42 of the UTF-8 text ``personalize:<purpose>:<seed>:<name>:<unit_id>``, its upper 53 bits.
    """
    from pyspark.sql import functions as F

    text = F.lit(f"personalize:{purpose}:{context.campaign.seed}:{context.campaign.name}:")
    draw = F.xxhash64(F.concat(text, F.col("unit_id") if key is None else key))
    return F.shiftrightunsigned(draw, 11).cast("double") / F.lit(2.0**53)


def with_outcomes(
    context: CampaignContext, rows: DataFrame, config: OutcomesConfig, section: str
) -> tuple[DataFrame, str]:
    """Return the rows with the column ``outcome``, and the version of the outcomes.

    Raises
    ------
    ColumnNotFoundError, DataError
        Columns are missing, outcomes are not numbers, or a unit has several and they are not to be combined.
    """
    from pyspark.sql import functions as F

    found = open_snapshot(context.spark, config, section)
    unit = config.id or context.campaign.recipients.id
    missing = [name for name in (unit, config.column) if name not in found.df.columns]
    if missing:
        raise ColumnNotFoundError.of(missing, found.df.columns)
    kind = found.df.schema[config.column].dataType
    if not is_number(kind) and kind.typeName() != "boolean":
        raise DataError(
            f"The column {config.column!r} ({section}.column) must hold numbers. Got {kind.simpleString()} instead."
        )
    value = column(config.column).cast("double")
    total = {"one": F.max, "sum": F.sum, "max": F.max}[config.combine]
    per_unit = (
        found.df.select(column(unit).cast("string").alias("unit_id"), value.alias("value"))
        .groupBy("unit_id")
        .agg(total("value").alias("outcome"), F.count("*").alias("n"))
    )
    joined = rows.join(per_unit, "unit_id", "left" if config.missing == "zero" else "inner")
    if config.combine == "one":
        several = (
            joined.where(F.col("n") > 1)
            .agg(F.count("*").alias("n"), F.min("unit_id").alias("id"))
            .collect()[0]
        )
        if several["n"]:
            raise DataError(
                f"The outcomes ({section}) must have one row a recipient. Got several of {several['n']} recipients, "
                f"e.g. {several['id']!r}. Hint: set {section}.combine to 'sum' or 'max'."
            )
    # A row whose outcome is null is a fault that `prepare` sets aside; only a missing row means "nothing happened".
    outcome = F.when(F.col("n").isNull(), F.lit(0.0)).otherwise(F.col("outcome"))
    return joined.withColumn("outcome", outcome).drop("n"), found.version
