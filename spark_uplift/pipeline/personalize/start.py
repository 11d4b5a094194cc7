"""The step ``personalize start``: draw the test, by hash, and log who was to get what with which probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_uplift.errors import DataError
from spark_uplift.pipeline.audit import recorded
from spark_uplift.pipeline.personalize.context import (
    TEST,
    CampaignContext,
    fraction,
    require_one_row_each,
    units,
)
from spark_uplift.policy.power import Design
from spark_uplift.spark import tables
from spark_uplift.spark.columns import column
from spark_uplift.spark.keep import kept
from spark_uplift.spark.parallel import side_by_side
from spark_uplift.spark.source import name_faults

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

JOB = "personalize start"
_SPARE = 1.5  # standard deviations of the size of a sample drawn by hash: it should not fall short of what is needed


@dataclass(frozen=True)
class Size:
    """How large the test is.

    Parameters
    ----------
    recipients, tested : int
        All, and those that the test should have.
    share : float
        Probability, in (0, 1], of being tested.
    smallest_effect : float or None
        Smallest effect that a test of that size finds [outcome]; None where the spread is not known.
    """

    recipients: int
    tested: int
    share: float
    smallest_effect: float | None


def start(context: CampaignContext) -> dict[str, str]:
    """Draw the test; write ``campaign_features`` and ``assignments``; return what later steps need.

    A test that is drawn stays as it is: run again, with the recipients as they were, the step writes the same rows;
    with others it leaves everything as it is and says so.

    Raises
    ------
    ColumnNotFoundError, DataError
        Recipients that can't be used, or too few for the effect that is to be found; nothing is written.
    """
    with recorded(context, JOB) as record:
        snapshot = context.recipients()
        done = context.facts("start")
        if done is not None and done["recipients_version"] != snapshot.version:
            record.message = (
                f"the test was drawn before, from version {done['recipients_version']} of the recipients; nothing is "
                "changed. Hint: another test needs another name"
            )
            return done
        rows = units(context, snapshot.df)
        _require_names(context, rows)
        size = size_of_test(context, require_one_row_each(rows))
        with kept(_drawn(context, rows, size.share)) as drawn:
            counts = {row["arm"]: int(row["count"]) for row in drawn.groupBy("arm").count().collect()}
            _require_arms(context, counts)
            snapshot.require_unchanged()
            _write(context, drawn)
        facts = {
            "recipients": snapshot.name,
            "recipients_version": snapshot.version,
            "recipients_count": str(size.recipients),
            "tested": str(sum(counts.values())),
            "share": repr(size.share),
            "smallest_effect": "" if size.smallest_effect is None else repr(size.smallest_effect),
            **{f"arm:{arm}": str(counts[arm]) for arm in context.campaign.arms},
        }
        record.inputs["recipients"] = f"{snapshot.name}@{snapshot.version}"
        record.rows_in, record.rows_out = size.recipients, sum(counts.values())
        record.message = _told(context, size, counts)
        context.remember("start", facts, record.message)
    return facts


def size_of_test(context: CampaignContext, recipients: int) -> Size:
    """Return how many recipients are tested.

    Raises
    ------
    DataError
        The effect that is to be found needs more recipients than there are; says which effect would do.
    """
    test = context.campaign.test
    known = test.spread is not None or test.baseline is not None
    design = Design(context.campaign.shares, test.spread, test.baseline, test.power, test.alpha)
    if test.share is not None:
        tested = round(test.share * recipients)
        return Size(recipients, tested, test.share, design.smallest_effect(tested) if known else None)
    effect = float(test.minimum_effect or 0.0)
    needed = design.units(effect)
    wanted = needed + _SPARE * needed**0.5
    if wanted > recipients:
        raise DataError(
            f"A test that finds an effect of {effect:g} with power {test.power:g} needs {needed:,} recipients. Got "
            f"{recipients:,}, which find {design.smallest_effect(recipients):.3g} at best. Hint: raise "
            "test.minimum_effect, or test fewer variations."
        )
    return Size(recipients, needed, wanted / recipients, effect)


def _require_names(context: CampaignContext, rows: DataFrame) -> None:
    faults = name_faults(rows.schema, _features(context, rows))
    if faults:
        raise DataError(faults)


def _features(context: CampaignContext, rows: DataFrame) -> list[str]:
    wanted = context.campaign.recipients.features
    return [name for name in rows.columns if name != "unit_id"] if wanted is None else list(wanted)


def _drawn(context: CampaignContext, rows: DataFrame, share: float) -> DataFrame:
    """Return the tested units with arm, propensity and stratum."""
    from pyspark.sql import functions as F

    strata = context.campaign.recipients.strata
    stratum = F.lit(None).cast("string")
    if strata:
        texts = [F.coalesce(column(name).cast("string"), F.lit("null")) for name in strata]
        stratum = F.concat_ws(" | ", *texts)
    tested = rows.withColumn("__stratum", stratum).where(fraction(context, TEST) < F.lit(share))
    place = fraction(context, "arm")
    if strata:
        place = _place_in_stratum(context)
    arm, propensity = _by_place(context, place)
    features = [column(name) for name in _features(context, rows)]
    return tested.select(
        "unit_id",
        arm.alias("arm"),
        propensity.alias("propensity"),
        F.col("__stratum").alias("stratum"),
        F.struct(*features).alias("features"),
    )


def _place_in_stratum(context: CampaignContext) -> Column:
    """Return the unit's place, in [0, 1), among those of its stratum in an order drawn by hash.

    The places start at a point drawn for each stratum and go round, so that no arm is favoured where units do not
    divide evenly: each unit still gets each arm with exactly its share as probability.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    group = Window.partitionBy("__stratum")
    order = group.orderBy(fraction(context, "arm"), "unit_id")
    start_at = fraction(context, "stratum", F.col("__stratum"))
    turned = (F.row_number().over(order) - 1) / F.count("*").over(group) + start_at
    return turned - F.floor(turned)


def _by_place(context: CampaignContext, place: Column) -> tuple[Column, Column]:
    """Return arm and propensity of a place in [0, 1): the arms' shares lie one after the other."""
    from pyspark.sql import functions as F

    names, shares = list(context.campaign.shares), list(context.campaign.shares.values())
    arm, propensity = F.lit(names[-1]), F.lit(shares[-1])
    for k in range(len(names) - 2, -1, -1):
        below = place < F.lit(sum(shares[: k + 1]))
        arm = F.when(below, F.lit(names[k])).otherwise(arm)
        propensity = F.when(below, F.lit(shares[k])).otherwise(propensity)
    return arm, propensity


def _require_arms(context: CampaignContext, counts: dict[str, int]) -> None:
    least = context.campaign.forest.minInstancesPerArm
    few = {arm: counts.get(arm, 0) for arm in context.campaign.arms if counts.get(arm, 0) < least}
    if few:
        raise DataError(
            f"Each arm of the test must get {least} recipients (forest.minInstancesPerArm) or more. Got "
            f"{', '.join(f'{n} for {arm!r}' for arm, n in few.items())}. Hint: raise test.share."
        )


def _write(context: CampaignContext, drawn: DataFrame) -> None:
    from pyspark.sql import functions as F

    key = f"{context.run_id}/{TEST}"
    assignments = drawn.select(
        *("unit_id", "arm", "propensity", "stratum"),
        F.lit(TEST).alias("split"),
        F.lit(None).cast("string").alias("recommended"),
        F.current_timestamp().alias("assigned_at"),
    )
    features = drawn.select("unit_id", "features.*")
    spark, warehouse = context.spark, context.warehouse
    side_by_side(
        lambda: tables.write(spark, assignments, warehouse, "assignments", run_id=key),
        lambda: tables.write(spark, features, warehouse, "campaign_features", run_id=context.run_id),
    )


def _told(context: CampaignContext, size: Size, counts: dict[str, int]) -> str:
    arms = ", ".join(f"{counts[arm]:,} {arm}" for arm in context.campaign.arms)
    text = f"{sum(counts.values()):,} of {size.recipients:,} recipients are tested: {arms}"
    if size.smallest_effect is not None:
        test = context.campaign.test
        text += f"; finds an effect of {size.smallest_effect:.3g} with power {test.power:g}"
    return text
