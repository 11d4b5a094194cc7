"""The step ``personalize measure``: what the send gained over the best single arm, and over no send."""

from __future__ import annotations

from typing import Any

from spark_uplift.errors import DataError
from spark_uplift.pipeline.audit import recorded
from spark_uplift.pipeline.personalize.context import SEND, CampaignContext, with_outcomes
from spark_uplift.pipeline.personalize.learn import PERSONALISED, SINGLE
from spark_uplift.pipeline.personalize.send import NO_SEND, arm_of, groups
from spark_uplift.policy.gain import Cell, compare

JOB = "personalize measure"
_EXACT = "decimal(28, 9)"


def measure(context: CampaignContext) -> list[dict[str, Any]]:
    """Compare the groups of the send; write ``campaign_results`` and return its rows.

    Raises
    ------
    TableError
        Nothing has been sent.
    DataError, ColumnNotFoundError
        Outcomes that can't be used.
    """
    with recorded(context, JOB) as record:
        sent = context.need("send")
        cells, version = _cells(context)
        rows = [
            _row(context, cells, sent, treated_as, against)
            for treated_as, against in _comparisons(context, sent["decision"])
        ]
        if not rows:
            raise DataError(
                "The gain of a send can only be measured against a group that was kept apart. Got send.no_send and "
                "send.single of 0. Hint: keep a small share apart next time."
            )
        context.write(context.frame("campaign_results", rows), "campaign_results", run_id=context.run_id)
        record.inputs["sent_outcomes"] = version
        record.rows_in = int(sum(cell.n for cell in cells))
        record.message = "; ".join(_told(row, _unit(context)) for row in rows)
        context.remember(
            "measure", {"outcomes_version": version, "recipients": record.rows_in}, record.message
        )
    return rows


def _cells(context: CampaignContext) -> tuple[list[Cell], str]:
    from pyspark.sql import functions as F

    config = context.campaign.sent_outcomes
    if config is None:
        raise DataError(
            "The step `personalize measure` needs the section 'sent_outcomes' of the configuration. Got none. "
            "Hint: say where the outcomes of the send lie, once they are in."
        )
    rows, version = with_outcomes(context, context.assigned(SEND), config, "sent_outcomes")
    y = F.col("outcome")
    unusable = y.isNull() | F.isnan(y) | (F.abs(y) == float("inf"))
    exact = y.cast(_EXACT)
    found = (
        rows.groupBy("split", "recommended")
        .agg(
            F.sum(F.when(unusable, 1).otherwise(0)).alias("bad"),
            F.count("*").alias("n"),
            F.sum(F.when(~unusable, exact)).cast("double").alias("y"),
            F.sum(F.when(~unusable, (y * y).cast("decimal(38, 9)"))).cast("double").alias("yy"),
        )
        .orderBy("split", "recommended")
        .collect()
    )
    bad = sum(row["bad"] for row in found)
    if bad:
        raise DataError(
            f"The outcomes of the send ('{config.column}') must be numbers. Got {bad} that are null, NaN or infinite. "
            "Hint: mend them at the source, or leave these rows out."
        )
    return [Cell(row["split"], row["recommended"], row["n"], row["y"], row["yy"]) for row in found], version


def _comparisons(context: CampaignContext, decision: str) -> list[tuple[str, str]]:
    """Return (group, group that it is compared with), those with units only."""
    there = [name for name, share in groups(context, decision) if share > 0.0]
    wanted = [(PERSONALISED, SINGLE), (PERSONALISED, NO_SEND), (SINGLE, NO_SEND)]
    return [(a, b) for a, b in wanted if a in there and b in there]


def _row(
    context: CampaignContext, cells: list[Cell], sent: dict[str, str], treated_as: str, against: str
) -> dict[str, Any]:
    level, money = context.campaign.learn.level, context.campaign.economics

    def given(group: str, recommended: str) -> str:
        return arm_of(context, sent["single"], group, recommended)

    gain = compare(cells, treated_as, against, given, level)
    net = compare(cells, treated_as, against, given, level, worth=money.value, costs=money.costs)
    return {
        "run_id": context.run_id,
        "comparison": f"{treated_as} against {against}",
        "treated_as": treated_as,
        "against": against,
        "n": gain.n,
        "n_against": gain.n_against,
        "share_compared": gain.share_compared,
        "gain": _number(gain.value),
        "lower": _number(gain.lower),
        "upper": _number(gain.upper),
        "net": _number(net.value),
        "net_lower": _number(net.lower),
        "net_upper": _number(net.upper),
        "total": _number(net.value * net.n),
        "total_lower": _number(net.lower * net.n),
        "total_upper": _number(net.upper * net.n),
        "level": level,
    }


def _number(value: float) -> float | None:
    return value if value == value else None


def _unit(context: CampaignContext) -> str:
    """Return what outcomes count, with a space before it; nothing when nobody said."""
    config = context.campaign.sent_outcomes
    return f" {config.unit}" if config is not None and config.unit else ""


def _told(row: dict[str, Any], unit: str) -> str:
    if row["gain"] is None or row["lower"] is None:
        return f"{row['comparison']}: too few recipients to tell"
    return (
        f"{row['comparison']}: {row['gain']:+.4g}{unit} a recipient ({row['level']:.0%}: {row['lower']:+.4g} to "
        f"{row['upper']:+.4g})"
    )
