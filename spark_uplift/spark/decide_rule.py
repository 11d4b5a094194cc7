"""A decision as plain SQL expressions: found prices decide each row where it lies, without Python.

The expressions do, in the same order on the same doubles, what `policy.allocation`'s kernel does (both follow IEEE 754,
and Spark's ``xxhash64`` gives both the same draws), so that what was counted is what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_uplift.policy.allocation import BUDGET
from spark_uplift.policy.exploration import SHARE_BITS, threshold
from spark_uplift.spark.columns import column
from spark_uplift.spark.decide_input import Request
from spark_uplift.spark.decide_passes import Setting, Solved

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

BEST = "best net value"
CONTROL_BEST = "control is best"
BELOW = "below minimum gain"
EXCLUDED = "excluded"
EXPLORED = "explored"
OVER, FULL = "over budget", "capacity full"
NEXT = ": next best"

REASONS = (BEST, OVER + NEXT, FULL + NEXT, OVER, FULL, BELOW, EXCLUDED, CONTROL_BEST, EXPLORED)


def prepared(scored: DataFrame, request: Request) -> DataFrame:
    """Return what decides a unit: id, hash, uplifts ``u``, net values ``v``, costs ``c``, bits, segment."""
    from pyspark.sql import functions as F

    k = len(request.treatments)
    columns = [column(request.id).cast("string").alias("id"), *_listed(scored, request.score, k, "u")]
    for name, prefix in zip(request.ends or (), ("lower", "upper"), strict=False):
        columns += _listed(scored, name, k, prefix)
    for a in range(k):
        if request.own_costs:
            of = request.cost_columns[a]
            cost = F.lit(request.costs[a]) if of is None else column(of).cast("double")
            columns.append(cost.alias(f"c{a}"))
    columns += [_allowed(request).alias("allowed"), *_segment(request)]
    rows = scored.select(*columns)
    net = [
        (request.value * F.col(f"u{a}") - _cost(request, a)).cast("float").alias(f"v{a}") for a in range(k)
    ]
    unit = F.when(F.col("id").isNotNull(), F.xxhash64("id")).alias("unit")
    return rows.select("*", unit, *net)


def for_packing(rows: DataFrame, request: Request) -> DataFrame:
    """Return what `decide_units.packed` reads."""
    k = len(request.treatments)
    costs = [f"c{a}" for a in range(k)] if request.own_costs else []
    return rows.select("unit", "allowed", "code", *(f"v{a}" for a in range(k)), *costs)


def _listed(scored: DataFrame, name: str, k: int, prefix: str) -> list[Column]:
    from pyspark.sql import functions as F

    if scored.schema[name].dataType.typeName() != "array":
        return [column(name).cast("double").alias(f"{prefix}0")]
    whole = F.when(F.size(column(name)) == k, column(name))
    return [F.get(whole, F.lit(a)).cast("double").alias(f"{prefix}{a}") for a in range(k)]


def _allowed(request: Request) -> Column:
    """Return the bits of the treatments that no rule excludes; a rule that gives null does not exclude."""
    from pyspark.sql import functions as F

    bits = F.lit(0)
    for a, rules in enumerate(request.exclusions):
        bit: Column = F.lit(1 << a)
        for text in rules:
            bit = F.when(F.expr(text), F.lit(0)).otherwise(bit)
        bits = bits + bit
    return bits.cast("int")


def _segment(request: Request) -> list[Column]:
    from pyspark.sql import functions as F

    if request.segment is None:
        return [F.lit(None).cast("string").alias("segment"), F.lit(0).alias("code")]
    text = column(request.segment).cast("string")
    code: Column = F.lit(0)
    if request.segments:
        listed = F.array(*[F.lit(name) for name in request.segments])
        code = F.coalesce(F.array_position(listed, text), F.lit(0)).cast("int")
    return [text.alias("segment"), code.alias("code")]


def _cost(request: Request, a: int) -> Column:
    from pyspark.sql import functions as F

    return F.col(f"c{a}") if request.own_costs else F.lit(request.costs[a])


def decided_rows(rows: DataFrame, request: Request, setting: Setting, found: Solved) -> DataFrame:
    """Return a row a unit: unit_id, arm, reason, uplift, gain, cost, net, propensity, explored, segment.

    Parameters
    ----------
    rows : DataFrame
        As `prepared` returns them. The ends of the chosen arm's interval follow as gain_lower and gain_upper if it has
        them.
    """
    from pyspark.sql import functions as F

    k = len(request.treatments)
    marked = rows.select("*", *_values(setting, found, k))
    flat, rate = setting.problem.charges(found.prices)
    reduced = marked.select(
        "*",
        *(
            (F.col(f"w{a}") - _by_segment(flat[:, a]) - F.lit(float(rate[a])) * _cost(request, a)).alias(
                f"r{a}"
            )
            for a in range(k)
        ),
    )
    chosen = reduced.select(
        "*",
        _largest([f"r{a}" for a in range(k)]).alias("greedy"),
        _largest([f"w{a}" for a in range(k)]).alias("top"),
    )
    chosen = _moved(chosen, found)
    chosen = _explored(chosen, setting, k)
    return _told(chosen, request, setting, found)


def _values(setting: Setting, found: Solved, k: int) -> list[Column]:
    from pyspark.sql import functions as F

    made = []
    for a in range(k):
        v = F.col(f"v{a}").cast("double")
        draw = F.shiftrightunsigned(F.xxhash64("unit", F.lit(setting.keys[a])), 32).cast("double")
        is_open = (F.col("allowed").bitwiseAND(F.lit(1 << a)) != 0) & (v > 0.0) & (v >= setting.least)
        tilted = v + F.lit(found.delta) * draw
        made.append(F.when(is_open, tilted).otherwise(F.lit(float("-inf"))).alias(f"w{a}"))
    return made


def _by_segment(values: Any) -> Column:
    from pyspark.sql import functions as F

    if np.all(values == values[0]):
        return F.lit(float(values[0]))
    return F.element_at(F.array(*[F.lit(float(v)) for v in values]), F.col("code") + 1)


def _largest(names: Sequence[str]) -> Column:
    """Return the number (from 1) of the first of the largest values, 0 when none is above 0."""
    from pyspark.sql import functions as F

    best = F.greatest(F.lit(0.0), *names)
    found = F.when(best == 0.0, F.lit(0))
    for a, name in enumerate(names[:-1]):
        found = found.when(F.col(name) == best, F.lit(a + 1))
    return found.otherwise(F.lit(len(names)))


def _moved(chosen: DataFrame, found: Solved) -> DataFrame:
    """Give the units that whole numbers moved their other arm."""
    from pyspark.sql import functions as F

    if not len(found.unit):
        return chosen
    moves = [(int(u), int(a)) for u, a in zip(found.unit.view(np.int64), found.arm, strict=True)]
    few = chosen.sparkSession.createDataFrame(moves, "unit bigint, moved int")
    joined = chosen.join(F.broadcast(few), "unit", "left")
    return joined.withColumn("greedy", F.coalesce("moved", "greedy")).drop("moved")


def _explored(chosen: DataFrame, setting: Setting, k: int) -> DataFrame:
    """Add the arm after exploration, whether the unit explores, and the probability of its arm."""
    from pyspark.sql import functions as F

    exploration = setting.exploration
    if exploration.share == 0.0:
        return chosen.withColumns(
            {"arm": F.col("greedy"), "explored": F.lit(False), "propensity": F.lit(1.0)}
        )
    bits = [F.shiftright(F.col("allowed"), a).bitwiseAND(F.lit(1)) for a in range(k)]
    ranks = [sum(bits[: a + 1], F.lit(0)) for a in range(k)]
    counted = chosen.withColumn("open", ranks[-1] + F.lit(1))
    shift = 64 - SHARE_BITS
    draw = F.shiftrightunsigned(F.xxhash64("unit", F.lit(exploration.key)), shift)
    arm_draw = F.shiftrightunsigned(F.xxhash64("unit", F.lit(exploration.arm_key)), 32)
    drawn = counted.withColumns({
        "explored": draw < F.lit(threshold(exploration.share)),
        "pick": F.shiftright(arm_draw * F.col("open"), 32),
    })  # fmt: skip
    other = F.lit(0)
    for a in range(k):
        other = F.when((bits[a] == 1) & (ranks[a] == F.col("pick")), F.lit(a + 1)).otherwise(other)
    armed = drawn.withColumn("arm", F.when(F.col("explored"), other).otherwise(F.col("greedy")))
    stays = F.when(F.col("arm") == F.col("greedy"), F.lit(1.0 - exploration.share)).otherwise(F.lit(0.0))
    return armed.withColumn("propensity", F.lit(exploration.share) / F.col("open") + stays)


def _pick(arm: Column, values: Sequence[Column], otherwise: Column) -> Column:
    from pyspark.sql import functions as F

    found = F.when(arm == 1, values[0])
    for a, value in enumerate(values[1:], 2):
        found = found.when(arm == a, value)
    return found.otherwise(otherwise)


def _told(chosen: DataFrame, request: Request, setting: Setting, found: Solved) -> DataFrame:
    from pyspark.sql import functions as F

    k, arm, zero = len(request.treatments), F.col("arm"), F.lit(0.0)
    named = _pick(arm, [F.lit(name) for name in request.treatments], F.lit(request.control))
    rows = chosen.select(
        F.col("id").alias("unit_id"),
        named.alias("arm"),
        _reason(request, setting, found).alias("reason"),
        _pick(arm, [F.col(f"u{a}") for a in range(k)], zero).alias("uplift"),
        _pick(arm, [_cost(request, a) for a in range(k)], zero).alias("cost"),
        "propensity",
        "explored",
        "segment",
        *(
            (F.lit(request.value) * _pick(arm, [F.col(f"{end}{a}") for a in range(k)], zero)).alias(
                f"gain_{end}"
            )
            for end in (("lower", "upper") if request.ends else ())
        ),
    )
    gain = F.lit(request.value) * F.col("uplift")
    ends = [f"gain_{end}" for end in ("lower", "upper")] if request.ends else []
    return rows.select(
        "unit_id", "arm", "reason", "uplift", gain.alias("gain"), "cost", (gain - F.col("cost")).alias("net"),
        "propensity", "explored", "segment", *ends,
    )  # fmt: skip


def _reason(request: Request, setting: Setting, found: Solved) -> Column:
    """Return why the unit has its arm, see `REASONS`."""
    from pyspark.sql import functions as F

    k, problem = len(request.treatments), setting.problem
    capacity = np.array([c.kind != BUDGET for c in problem.constraints], bool)
    fees, _ = problem.charges(np.where(capacity, found.prices, 0.0))
    rates = problem.by_cost.T @ found.prices if len(capacity) else np.zeros(k)
    has_budget = problem.by_cost.max(axis=0) > 0 if len(capacity) else np.zeros(k, bool)
    over = [
        (F.lit(float(rates[a])) * _cost(request, a) >= _by_segment(fees[:, a])) & F.lit(bool(has_budget[a]))
        for a in range(k)
    ]
    blamed = F.when(_pick(F.col("top"), over, F.lit(False)), F.lit(OVER)).otherwise(F.lit(FULL))
    values = [
        F.when(F.col("allowed").bitwiseAND(F.lit(1 << a)) != 0, F.col(f"v{a}")).otherwise(
            F.lit(float("-inf"))
        )
        for a in range(k)
    ]
    some = F.greatest(F.lit(float("-inf")).cast("float"), *[v.cast("float") for v in values]) > 0
    return (
        F.when(F.col("explored"), F.lit(EXPLORED))
        .when(F.col("allowed") == 0, F.lit(EXCLUDED))
        .when((F.col("top") == 0) & some, F.lit(BELOW))
        .when(F.col("top") == 0, F.lit(CONTROL_BEST))
        .when(F.col("arm") == F.col("top"), F.lit(BEST))
        .when(F.col("arm") == 0, blamed)
        .otherwise(F.concat(blamed, F.lit(NEXT)))
    )
