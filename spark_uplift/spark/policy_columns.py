"""What an off-policy evaluation reads: the user's columns as a frame of plain numbers, checked in one pass.

The frame has ``r w e q double, unit bigint`` (reward, weight, logged propensity, predicted reward of the logged
action) and for policy j ``p{j}`` (its probability of the logged action), ``v{j}`` (predicted reward under it),
``c{j}`` (expected cost), and for the checks ``s{j}`` (sum of its probabilities), ``low{j}`` (the least of them) and
``u{j}`` (its probability of actions that were never logged).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.spark.columns import Columns, column, is_number, unit_hash

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = [
    "PolicyColumns",
    "compact",
    "logged_actions",
    "no_rows",
    "summarise",
    "type_faults",
    "unlogged_names",
]


@dataclass(frozen=True, kw_only=True)
class PolicyColumns:
    """Columns of logged rows; None for a role that is not filled.

    Parameters
    ----------
    action, reward, propensity : str
        What was done, what came of it, and its logged probability.
    policies : mapping of str to str
        Column of each policy by name.
    predicted : str, (str, str) or None
        Predicted reward of each action, or those of the logged action and under the policy.
    actions : tuple of str or None
        Actions of array columns, in order.
    costs : mapping of str to float or None
        Cost of each action.
    weight, unit, cluster : str or None
        Optional columns.
    needs_unit : bool
        Whether the rows' units matter: for a bootstrap, or clusters.
    """

    action: str
    reward: str
    propensity: str
    policies: Mapping[str, str]
    predicted: str | tuple[str, str] | None = None
    actions: tuple[str, ...] | None = None
    costs: Mapping[str, float] | None = None
    weight: str | None = None
    unit: str | None = None
    cluster: str | None = None
    needs_unit: bool = True
    kinds: dict[str, str] = field(default_factory=dict)

    @property
    def predictions(self) -> tuple[str, ...]:
        """Columns of predicted rewards."""
        if self.predicted is None:
            return ()
        return (self.predicted,) if isinstance(self.predicted, str) else tuple(self.predicted)

    def named(self) -> list[str]:
        """Return every column name that is used, each once."""
        optional = [name for name in (self.weight, self.unit, self.cluster) if name is not None]
        given = [self.action, self.reward, self.propensity, *self.policies.values(), *self.predictions]
        return list(dict.fromkeys([*given, *optional]))


def kind_of(kind: Any) -> str:
    """Return what a policy's column is: ``number``, ``name``, ``map``, ``array`` or ``other``."""
    name = kind.typeName()
    if is_number(kind):
        return "number"
    if name in ("string", "char", "varchar"):
        return "name"
    if name == "map" and is_number(kind.valueType):
        return "map"
    return "array" if name == "array" and is_number(kind.elementType) else "other"


def type_faults(df: DataFrame, columns: PolicyColumns) -> list[str]:
    """Return what is wrong with the columns' types.

    Raises
    ------
    ColumnNotFoundError
        Columns are missing; names the nearest ones.
    """
    kinds = {f.name: f.dataType for f in df.schema.fields}
    missing = [name for name in columns.named() if name not in kinds]
    if missing:
        raise ColumnNotFoundError.of(missing, list(kinds))
    faults = []
    for role, name in (
        ("reward", columns.reward),
        ("propensity", columns.propensity),
        ("weight", columns.weight),
    ):
        boolean = name is not None and role == "reward" and kinds[name].typeName() == "boolean"
        if name is not None and not is_number(kinds[name]) and not boolean:
            faults.append(
                f"The {role} column '{name}' must hold numbers. Got {kinds[name].simpleString()} instead."
            )
    pair = len(columns.predictions) == 2
    for name in [*columns.policies.values(), *([] if pair else columns.predictions)]:
        faults += _distribution_faults(name, kinds[name], columns, policy=name in columns.policies.values())
    if pair:
        faults += [
            f"The prediction column '{name}' must hold numbers. Got {kinds[name].simpleString()} instead."
            for name in columns.predictions
            if not is_number(kinds[name])
        ]
        if len(columns.policies) > 1:
            faults.append(
                "A pair of predictedCol belongs to one policy. Got several; pass a map or an array."
            )
    return faults


def _distribution_faults(name: str, kind: Any, columns: PolicyColumns, *, policy: bool) -> list[str]:
    found = kind_of(kind)
    if found == "array" and not columns.actions:
        return [
            f"Column '{name}' is an array. Hint: pass actions= with the action of each element, in order."
        ]
    if policy and found == "other":
        return [
            f"The policy column '{name}' must hold the probability of the logged action (a number), an action "
            f"(text), or a probability of each action (a map or an array). Got {kind.simpleString()} instead."
        ]
    if not policy and found not in ("map", "array"):
        return [
            f"The prediction column '{name}' must hold a predicted reward of each action (a map or an array). "
            f"Got {kind.simpleString()} instead. Hint: pass a pair (prediction for the logged action, prediction "
            "under the policy) of number columns."
        ]
    if policy and found == "number":
        if columns.costs is not None:
            return [
                f"With costs= the policy column '{name}' must tell the actions. Got a probability instead."
            ]
        if isinstance(columns.predicted, str):
            return [
                f"The policy column '{name}' holds the logged action's probability alone, so the predictions in "
                f"'{columns.predicted}' can't be averaged over its actions. Hint: pass a map, or predictedCol= as "
                "a pair (prediction for the logged action, prediction under the policy)."
            ]
    return []


def _of_actions(df: DataFrame, name: str, actions: Sequence[str] | None) -> Column:
    """Return a map or array column as map<string,double>; an array of another length becomes null."""
    from pyspark.sql import functions as F

    values = column(name)
    if kind_of(df.schema[name].dataType) == "map":
        return values.cast("map<string,double>")
    names = list(actions or ())
    keys = F.array(*[F.lit(action) for action in names])
    return F.when(F.size(values) == len(names), F.map_from_arrays(keys, values.cast("array<double>")))


def _total(values: Column) -> Column:
    from pyspark.sql import functions as F

    return F.aggregate(values, F.lit(0.0), lambda so_far, value: so_far + value)


def _cost_map(costs: Mapping[str, float]) -> Column:
    from pyspark.sql import functions as F

    pairs: list[Column] = []
    for action, cost in costs.items():
        pairs += [F.lit(str(action)), F.lit(float(cost))]
    return F.create_map(*pairs) if pairs else F.lit(None).cast("map<string,double>")


def _policy(
    df: DataFrame, name: str, columns: PolicyColumns, logged: Sequence[str] | None
) -> dict[str, Column]:
    """Return the columns p, v, c, s, low and u of one policy."""
    from pyspark.sql import functions as F

    action = column(columns.action).cast("string")
    one, none = F.lit(1.0), F.lit(0.0)
    kind = kind_of(df.schema[name].dataType)
    predicted = None
    if len(columns.predictions) == 1:
        predicted = _of_actions(df, columns.predictions[0], columns.actions)
    costs = None if columns.costs is None else _cost_map(columns.costs)
    if kind == "number":
        p = column(name).cast("double")
        v = column(columns.predictions[1]).cast("double") if len(columns.predictions) == 2 else none
        return {"p": p, "v": v, "c": none, "s": F.when(p.isNotNull(), one), "low": p, "u": none}
    if kind == "name":
        taken = column(name)
        found = {
            "p": F.when(taken.isNotNull() & action.isNotNull(), (taken == action).cast("double")),
            "v": none if predicted is None else F.try_element_at(predicted, taken),
            "c": none if costs is None else F.coalesce(F.try_element_at(costs, taken), none),
            "s": F.when(taken.isNotNull(), one),
            "low": F.when(taken.isNotNull(), one),
            "u": none if logged is None else F.when(taken.isin(list(logged)), 0.0).otherwise(1.0),
        }
    else:
        given = _of_actions(df, name, columns.actions)
        values = F.map_values(given)
        used = F.map_filter(given, lambda _, value: value > 0)
        entries = F.map_entries(used)
        found = {
            "p": F.when(
                given.isNotNull() & action.isNotNull(), F.coalesce(F.try_element_at(given, action), none)
            ),
            "v": none
            if predicted is None
            else _total(F.transform(entries, lambda e: e["value"] * F.try_element_at(predicted, e["key"]))),
            "c": none
            if costs is None
            else _total(
                F.transform(
                    entries, lambda e: e["value"] * F.coalesce(F.try_element_at(costs, e["key"]), none)
                )
            ),
            "s": _total(values),
            "low": F.array_min(values),
            "u": none
            if logged is None
            else _total(F.map_values(F.map_filter(used, lambda key, _: ~key.isin(list(logged))))),
        }
    if len(columns.predictions) == 2:
        found["v"] = column(columns.predictions[1]).cast("double")
    return found


def compact(df: DataFrame, columns: PolicyColumns, logged: Sequence[str] | None) -> DataFrame:
    """Return the frame of the module; `logged` are the actions that occur, None where nobody asks."""
    from pyspark.sql import functions as F

    action = column(columns.action).cast("string")
    if not columns.predictions:
        predicted = F.lit(0.0)
    elif len(columns.predictions) == 2:
        predicted = column(columns.predictions[0]).cast("double")
    else:
        predicted = F.try_element_at(_of_actions(df, columns.predictions[0], columns.actions), action)
    if columns.needs_unit:
        plain = tuple(f.name for f in df.schema.fields if f.dataType.typeName() not in ("map", "variant"))
        df = unit_hash(df, Columns(features=plain, unit=columns.unit, cluster=columns.cluster))
    own = [
        value.alias(f"{kind}{j}")
        for j, name in enumerate(columns.policies.values())
        for kind, value in _policy(df, name, columns, logged).items()
    ]
    return df.select(
        action.isNull().alias("unnamed"),
        column(columns.reward).cast("double").alias("r"),
        (F.lit(1.0) if columns.weight is None else column(columns.weight).cast("double")).alias("w"),
        column(columns.propensity).cast("double").alias("e"),
        predicted.alias("q"),
        (F.col("__unit") if columns.needs_unit else F.lit(0).cast("bigint")).alias("unit"),
        *own,
    )


def logged_actions(df: DataFrame, columns: PolicyColumns) -> list[str] | None:
    """Return the actions that occur; None where the policies are plain probabilities."""
    kinds = [kind_of(df.schema[name].dataType) for name in columns.policies.values()]
    if all(kind == "number" for kind in kinds):
        return None
    found = df.select(column(columns.action).cast("string").alias("action")).distinct().collect()
    return sorted(row["action"] for row in found if row["action"] is not None)


def unlogged_names(df: DataFrame, columns: PolicyColumns, policy: str, logged: Sequence[str]) -> list[str]:
    """Return up to 20 actions that a policy takes and that were never logged, the most frequent first."""
    from pyspark.sql import functions as F

    name = columns.policies[policy]
    if kind_of(df.schema[name].dataType) == "name":
        taken = df.select(column(name).alias("action"), F.lit(1.0).alias("share"))
    else:
        given = _of_actions(df, name, columns.actions)
        used = F.map_filter(given, lambda key, value: (value > 0) & ~key.isin(list(logged)))
        taken = df.select(F.explode(used).alias("action", "share"))
    found = (
        taken.where(F.col("action").isNotNull() & ~F.col("action").isin(list(logged)))
        .groupBy("action")
        .agg(F.count("*").alias("n"))
        .orderBy(F.desc("n"), "action")
        .limit(20)
        .collect()
    )
    return [row["action"] for row in found]


def no_rows() -> DataError:
    """Return the error for an empty frame."""
    return DataError("The logged table has no rows. Hint: look at the filter or the split that made it.")


def _unusable(value: Column) -> Column:
    from pyspark.sql import functions as F

    return value.isNull() | F.isnan(value) | (F.abs(value) == float("inf"))


def summarise(frame: DataFrame, policies: int) -> dict[str, Any]:
    """Return counts of unusable values, and the bounds of the lanes."""
    from pyspark.sql import functions as F

    r, w, e, q = (F.col(name) for name in ("r", "w", "e", "q"))
    usable = (e > 0) & (e <= 1)

    def count(condition: Column, name: str) -> Column:
        return F.sum(F.when(condition, 1).otherwise(0)).alias(name)

    wanted = [
        F.count("*").alias("n"),
        count(F.col("unnamed"), "bad_action"),
        count(_unusable(r), "bad_r"),
        count(_unusable(w), "bad_w"),
        count(w < 0, "negative_w"),
        count(_unusable(e) | ~usable, "bad_e"),
        count(_unusable(q), "bad_q"),
        F.min("r").alias("least"),
        F.max("r").alias("most"),
        F.max("w").alias("w"),
        F.max(F.abs(w * r)).alias("wr"),
    ]
    for j in range(policies):
        p, v, s, low, u, c = (F.col(f"{name}{j}") for name in ("p", "v", "s", "low", "u", "c"))
        rho = F.when(usable, p / e)
        wanted += [
            count(_unusable(s) | _unusable(low), f"bad_p{j}"),
            count((low < 0) | (p > 1), f"outside_p{j}"),
            F.max(F.abs(s - 1.0)).alias(f"sum{j}"),
            count(_unusable(v), f"bad_v{j}"),
            F.sum(F.when(u > 0, 1).otherwise(0)).alias(f"unlogged{j}"),
            F.max(rho).alias(f"rho{j}"),
            F.max(w * rho).alias(f"ratio{j}"),
            F.max(F.abs(w * rho * r)).alias(f"ips{j}"),
            F.max(F.abs(w * v)).alias(f"dm{j}"),
            F.max(w * (F.abs(v) + rho * F.abs(r - q))).alias(f"dr{j}"),
            F.max(F.abs(w * c)).alias(f"cost{j}"),
        ]
    return dict(frame.agg(*wanted).collect()[0].asDict())
