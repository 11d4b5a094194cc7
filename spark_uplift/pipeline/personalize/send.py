"""The step ``personalize send``: an arm for each remaining recipient, and groups kept apart to measure the gain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_uplift.errors import DataError, ModelError
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.pipeline.audit import recorded
from spark_uplift.pipeline.personalize.context import (
    SEND,
    TEST,
    CampaignContext,
    fraction,
    require_one_row_each,
    units,
)
from spark_uplift.pipeline.personalize.learn import PERSONALISED, SINGLE, advised_arm
from spark_uplift.pipeline.train import model_path
from spark_uplift.spark import tables
from spark_uplift.spark.source import feature_columns

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

JOB = "personalize send"
NO_SEND = "no_send"


def send(context: CampaignContext) -> dict[str, str]:
    """Write who of the remaining recipients is sent what to ``assignments``, with the probability of it.

    A hash of the id keeps a share apart that is sent nothing, and one that is sent the best single arm; the others get
    the arm that the model recommends, or the best single arm when `learn` has found personalisation not to pay. A
    send that is done stays as it is.

    Raises
    ------
    TableError
        `learn` has not been done.
    ModelError
        The saved model is not the one that was learnt.
    DataError
        Nobody is left, or recipients can't be used; nothing is written.
    """
    with recorded(context, JOB) as record:
        learnt = context.need("learn")
        snapshot = context.recipients()
        done = context.facts("send")
        if done is not None and (done["recipients_version"], done["digest"], done["decision"]) != (
            snapshot.version,
            learnt["digest"],
            learnt["decision"],
        ):
            record.message = (
                f"the send was made before, to version {done['recipients_version']} of the recipients by model "
                f"{done['digest'][:8]}; nothing is changed"
            )
            return done
        rows = units(context, snapshot.df)
        total = require_one_row_each(rows)
        left = rows.join(context.assigned(TEST).select("unit_id"), "unit_id", "left_anti")
        planned = _planned(context, left, learnt)
        tables.write(
            context.spark, planned, context.warehouse, "assignments", run_id=f"{context.run_id}/{SEND}"
        )
        snapshot.require_unchanged()
        counts = {
            (row["split"], row["arm"]): int(row["count"])
            for row in context.assigned(SEND).groupBy("split", "arm").count().collect()
        }
        sent = sum(counts.values())
        if sent == 0:
            raise DataError(
                f"There must be recipients beside the {total:,} of the test. Got none. Hint: choose a smaller test."
            )
        facts = {
            "recipients_version": snapshot.version,
            "digest": learnt["digest"],
            "decision": learnt["decision"],
            "single": learnt["single"],
            "sent": str(sent),
            **{f"{split}/{arm}": str(n) for (split, arm), n in sorted(counts.items())},
        }
        record.digest = learnt["digest"]
        record.inputs["recipients"] = f"{snapshot.name}@{snapshot.version}"
        record.rows_in, record.rows_out = total, sent
        arms: dict[str, int] = {}
        for (_, arm), n in counts.items():
            arms[arm] = arms.get(arm, 0) + n
        record.message = f"{sent:,} recipients: " + ", ".join(
            f"{n:,} {arm}" for arm, n in sorted(arms.items())
        )
        context.remember("send", facts, record.message)
    return facts


def groups(context: CampaignContext, decision: str) -> list[tuple[str, float]]:
    """Return the groups of the send and their shares, in the order in which they lie in [0, 1)."""
    shares = context.campaign.send
    apart = [(NO_SEND, shares.no_send)]
    if decision == PERSONALISED:
        apart.append((SINGLE, shares.single))
    rest = 1.0 - sum(share for _, share in apart)
    return [*apart, (decision, rest)]


def arm_of(context: CampaignContext, single: str, group: str, recommended: str) -> str:
    """Return the arm that a group's unit is given."""
    return {NO_SEND: context.campaign.no_send, SINGLE: single, PERSONALISED: recommended}[group]


def _planned(context: CampaignContext, left: DataFrame, learnt: dict[str, str]) -> DataFrame:
    from pyspark.sql import functions as F

    model = UpliftForestModel.load(model_path(context, learnt["model_id"]))
    if model.digest != learnt["digest"]:
        raise ModelError(
            f"The model of campaign '{context.run_id}' must have the digest {learnt['digest']}. Got {model.digest} "
            "instead. Hint: run `spark-uplift personalize learn` again."
        )
    advised = advised_arm(context, model.value("upliftCol"))
    bins = model.forest.features
    features = feature_columns(left, [b.name for b in bins], {b.name for b in bins if b.categorical})
    scored: DataFrame = model.transform(left.select("unit_id", *features)).withColumn(
        "__recommended", advised
    )
    shares = groups(context, learnt["decision"])
    place = fraction(context, SEND)
    group, end = F.lit(shares[-1][0]), 0.0
    chosen: Column = group
    bounds = []
    for name, share in shares[:-1]:
        end += share
        bounds.append((name, end))
    for name, bound in reversed(bounds):
        chosen = F.when(place < F.lit(bound), F.lit(name)).otherwise(chosen)
    by_group = {
        NO_SEND: F.lit(context.campaign.no_send),
        SINGLE: F.lit(learnt["single"]),
        PERSONALISED: F.col("__recommended"),
    }
    given = scored.withColumn("__group", chosen)
    arm = by_group[shares[-1][0]]
    for name, _ in shares[:-1]:
        arm = F.when(F.col("__group") == name, by_group[name]).otherwise(arm)
    given = given.withColumn("__arm", arm)
    # What the unit would have been given in each group decides how probable its arm was.
    probability = F.lit(0.0)
    for name, share in shares:
        probability = probability + F.when(F.col("__arm") == by_group[name], F.lit(share)).otherwise(0.0)
    return given.select(
        "unit_id",
        F.col("__arm").alias("arm"),
        probability.alias("propensity"),
        F.col("__group").alias("split"),
        F.current_timestamp().alias("assigned_at"),
        F.lit(None).cast("string").alias("stratum"),
        F.col("__recommended").alias("recommended"),
    )
