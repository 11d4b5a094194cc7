"""What a policy tree reads: net rewards of every arm for every unit, as expressions over the user's columns.

The net reward of an arm is ``value * reward - cost``. Rewards come as a column of doubly robust scores, an array with
one number an arm, control first; or they are made here by inverse propensity weighting: ``outcome / propensity`` for
the arm that the unit got, and 0 for all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spark_uplift.errors import ColumnNotFoundError, DataError, bad_value, nearest
from spark_uplift.spark.columns import Columns, column, is_number, unit_hash, validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["PolicyColumns", "arms_of", "cluster_column", "net_rewards", "weight_column"]


@dataclass(frozen=True, kw_only=True)
class PolicyColumns:
    """Roles of columns, arms and money; None for a role that is not filled.

    Attributes
    ----------
    control : str
    features : tuple of str
    treatments : tuple of str or None
        Order of the rewards; None: the arms in the data, sorted.
    rewards : str or None
        Column of every arm's reward, control first.
    treatment, label, propensity : str or None
        Column of the arm that was given, of the outcome, and of its probability (a number, or an array with one an
        arm). Without probabilities: the arms' shares.
    weight, unit, cluster : str or None
    value : float
        Worth of one unit of the outcome [money].
    costs : dict of str to float
        Of giving an arm to a unit [money]; arms left out cost nothing.
    """

    control: str
    features: tuple[str, ...] = ()
    treatments: tuple[str, ...] | None = None
    rewards: str | None = None
    treatment: str | None = None
    label: str | None = None
    propensity: str | None = None
    weight: str | None = None
    unit: str | None = None
    cluster: str | None = None
    value: float = 1.0
    costs: Mapping[str, float] = field(default_factory=dict)

    def check(self, df: DataFrame) -> None:
        """Check that the columns are there, and what they hold.

        Raises
        ------
        ColumnNotFoundError, DataError
            All faults of a stage together.
        """
        faults = []
        if self.rewards is None and (self.treatment is None or self.label is None):
            faults.append(
                "A policy tree must have rewards. Got neither rewardsCol nor both treatmentCol and labelCol instead. "
                "Hint: add rewards with su.doubly_robust, or name the arm's and the outcome's columns."
            )
        if self.treatments is None and self.treatment is None:
            faults.append(
                bad_value("treatmentNames", "PolicyTree", "given when there is no treatmentCol", None)
            )
        if faults:
            raise DataError(faults)
        kinds = {one.name: one.dataType for one in df.schema.fields}
        roles = (self.rewards, self.propensity)
        missing = [name for name in roles if name is not None and name not in kinds]
        if missing:
            raise ColumnNotFoundError.of(missing, list(kinds))
        validate(df, self._plain())
        for role, name in (("rewards", self.rewards), ("propensity", self.propensity)):
            if name is None:
                continue
            inner = getattr(kinds[name], "elementType", kinds[name] if role == "propensity" else None)
            if inner is None or not is_number(inner):
                faults.append(
                    f"The {role} column '{name}' must hold {'arrays of ' if role == 'rewards' else ''}numbers. "
                    f"Got {kinds[name].simpleString()} instead."
                )
        faults += [
            f"The feature column {name!r} must not have '${{' in its name, which SQL takes for a variable. "
            "Hint: rename it."
            for name in self.features
            if "${" in name
        ]
        if faults:
            raise DataError(faults)

    def _plain(self) -> Columns:
        made = self.rewards is None
        return Columns(
            features=self.features,
            treatment=self.treatment,
            label=self.label if made else None,
            unit=self.unit,
            weight=self.weight,
            cluster=self.cluster,
        )

    def hashed(self, df: DataFrame) -> DataFrame:
        """Return ``df`` with ``__unit``, the hash that decides on samples and halves."""
        return unit_hash(df, self._plain())


def arms_of(df: DataFrame, columns: PolicyColumns) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the arms, control first, and the share of each (empty when it isn't needed).

    Raises
    ------
    DataError
        When the control is not there, an arm is null or unknown, or costs name another arm.
    """
    from pyspark.sql import functions as F

    needs_shares = columns.rewards is None and columns.propensity is None
    treatments = columns.treatments
    shares: tuple[float, ...] = ()
    faults = []
    if treatments is None or needs_shares:
        arm = column(str(columns.treatment)).cast("string")
        counted = df.groupBy(arm.alias("arm")).agg(F.count("*").alias("n")).collect()
        counts = {row["arm"]: int(row["n"]) for row in counted}
        found = sorted(name for name in counts if name is not None)
        if columns.control not in found:
            near = nearest(columns.control, found)
            hint = f" Hint: did you mean {near!r}?" if near else ""
            faults.append(
                f"The 'controlName' parameter must be an arm in column '{columns.treatment}'. Got {columns.control!r} "
                f"instead; the arms are {found[:20]}.{hint}"
            )
        treatments = treatments or tuple(name for name in found if name != columns.control)
        total = max(sum(counts.values()), 1)
        shares = tuple(counts.get(name, 0) / total for name in (columns.control, *treatments))
        if needs_shares and 0.0 in shares:
            named = zip((columns.control, *treatments), shares, strict=True)
            absent = [name for name, share in named if share == 0.0]
            faults.append(f"Column '{columns.treatment}': there are no rows of the arms {absent}.")
    arms = (columns.control, *treatments)
    if len(arms) < 2 or len(set(arms)) < len(arms):
        faults.append(
            f"There must be a control and one other arm or more, each once. Got {list(arms)} instead."
        )
    for name, cost in columns.costs.items():
        if name not in arms:
            faults.append(bad_value("costs", "PolicyTree", f"costs of arms among {list(arms)}", name))
        elif not 0.0 <= cost < math.inf:
            faults.append(bad_value("costs", "PolicyTree", "numbers of 0 or more", {name: cost}))
    if faults:
        raise DataError(faults)
    return arms, shares if needs_shares else ()


def net_rewards(
    df: DataFrame, columns: PolicyColumns, arms: tuple[str, ...], shares: tuple[float, ...]
) -> list[Column]:
    """Return each arm's net reward, double [money]; null where it can't be told."""
    from pyspark.sql import functions as F

    found = []
    for place, name in enumerate(arms):
        cost = F.lit(float(columns.costs.get(name, 0.0)))
        if columns.rewards is not None:
            given = column(columns.rewards)
            reward = F.when(F.size(given) == len(arms), F.get(given, F.lit(place)).cast("double"))
        else:
            outcome = column(str(columns.label)).cast("double")
            share = _propensity(df, columns, place, shares)
            here = column(str(columns.treatment)).cast("string") == name
            reward = F.when(here, F.when((share > 0) & (share <= 1), outcome / share)).otherwise(F.lit(0.0))
        found.append(F.lit(float(columns.value)) * reward - cost)
    return found


def _propensity(df: DataFrame, columns: PolicyColumns, place: int, shares: tuple[float, ...]) -> Column:
    from pyspark.sql import functions as F

    if columns.propensity is None:
        return F.lit(shares[place])
    given = column(columns.propensity)
    many = df.schema[columns.propensity].dataType.typeName() == "array"
    return (F.get(given, F.lit(place)) if many else given).cast("double")


def weight_column(columns: PolicyColumns) -> Column:
    """Return the row's weight, 1 where none is given."""
    from pyspark.sql import functions as F

    return F.lit(1.0) if columns.weight is None else column(columns.weight).cast("double")


def cluster_column(columns: PolicyColumns) -> Column | None:
    """Return what rows of a cluster have in common; None when rows are independent."""
    return None if columns.cluster is None else column(columns.cluster).cast("string")
