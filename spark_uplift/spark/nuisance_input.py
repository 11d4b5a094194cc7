"""What the nuisance models read: the experiment's rows, checked, profiled and laid out as an additive design."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spark_uplift.core.binning import FeatureBins
from spark_uplift.errors import DataError, bad_value
from spark_uplift.metrics.nuisance_design import FINE_BINS, Design, Grid, choose_design, screening_design
from spark_uplift.spark.columns import Columns, is_category, training_columns, unit_hash, validate
from spark_uplift.spark.keep import kept
from spark_uplift.spark.nuisance_screen import screen
from spark_uplift.spark.profile import Tally, profile

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

__all__ = ["Experiment", "experiment"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """Checked rows, and what one pass found out about them.

    Parameters
    ----------
    df : DataFrame
        The user's rows with ``__unit``, the hash of the unit or cluster.
    frame : DataFrame
        Columns arm (text), y, w, e, unit, f0, f1, …; kept between passes where Spark can.
    columns : Columns
        Roles of the user's columns.
    kinds : dict of str to DataType
        Types, text for what is to be taken as a category.
    arms : tuple of str
        Control first, then the treatments in order.
    design : Design
        Columns of the models.
    grid : Grid
        Units of the sums.
    mean_weight : float or None
        Weights are divided by it; None when all are equal.
    low, high : float
        Range of the outcomes.
    binary : bool
        Whether every outcome is 0 or 1.
    rows : int
        How many there are.
    """

    df: DataFrame
    frame: DataFrame
    columns: Columns
    kinds: dict[str, DataType]
    arms: tuple[str, ...]
    design: Design
    grid: Grid
    mean_weight: float | None
    low: float
    high: float
    binary: bool
    rows: int

    def inputs(self) -> list[Column]:
        """Return arm, y, w, e, unit, f0, f1, … as columns of `df`."""
        return training_columns(self.columns, self.kinds)

    def code(self, arm: Column) -> Column:
        """Return the number of the arm that a text column names, from 0."""
        from pyspark.sql import functions as F

        number = F.when(arm == self.arms[0], 0)
        for k, name in enumerate(self.arms[1:], start=1):
            number = number.when(arm == name, k)
        return number


@contextmanager
def experiment(
    df: DataFrame,
    columns: Columns,
    *,
    control: str,
    treatments: Sequence[str] | None,
    categorical: Sequence[str],
    seed: int,
) -> Iterator[Experiment]:
    """Check and profile the rows, one pass (two with logged propensities); they are kept within the body.

    Raises
    ------
    ColumnNotFoundError, DataError
        All faults of a stage (names and types, then values) together.
    """
    from pyspark.sql.types import StringType

    kinds = validate(df, columns)
    strangers = [name for name in categorical if name not in columns.features]
    if strangers:
        raise DataError(
            bad_value(
                "categoricalCols", "doubly_robust", f"among the features {list(columns.features)}", strangers
            )
        )
    kinds |= dict.fromkeys(categorical, StringType())
    # Without an id the content stands for the unit: the more columns, the fewer rows that look the same.
    content = tuple(f.name for f in df.schema.fields if f.dataType.typeName() not in ("map", "variant"))
    keyed = unit_hash(df, Columns(features=content, unit=columns.unit, cluster=columns.cluster))
    with kept(keyed.select(*training_columns(columns, kinds))) as frame:
        found = profile(
            frame,
            columns.features,
            [is_category(kinds[name]) for name in columns.features],
            max_bins=FINE_BINS,
            weighted=columns.weight is not None,
            logged=False,
            seed=seed,
        )
        tally = found.tally
        arms = (control, *_treatments(tally, control, treatments))
        faults = _faults(tally, columns, arms) + _propensity_faults(frame, columns)
        if faults:
            raise DataError(faults)
        mean, bound = _weights(tally, columns)
        design, columns, frame = _designed(frame, columns, tally, _useful(tally, found.features), mean)
        yield Experiment(
            df=keyed,
            frame=frame,
            columns=columns,
            kinds=kinds,
            arms=arms,
            design=design,
            grid=Grid.choose(tally.rows, max(abs(tally.low), abs(tally.high)), tally.whole, bound),
            mean_weight=mean,
            low=tally.low,
            high=tally.high,
            binary=tally.binary,
            rows=tally.rows,
        )


def _designed(
    frame: DataFrame, columns: Columns, tally: Tally, fine: Sequence[FeatureBins], mean_weight: float | None
) -> tuple[Design, Columns, DataFrame]:
    """Return the design, and columns and frame with the features that it has: all, unless they are too many."""
    from pyspark.sql import functions as F

    design = choose_design(fine, tally.levels)
    if design is not None:
        return design, columns, frame
    places = screen(frame, screening_design(fine, tally.levels), tally, mean_weight)
    chosen = [fine[place] for place in places]
    names = tuple(bins.name for bins in chosen)
    _LOG.warning(
        "outcomes are predicted from the %d of %d features that they are most associated with, among them %s",
        len(names),
        len(fine),
        list(names[:20]),
    )
    fewer = [F.col(f"f{place}").alias(f"f{j}") for j, place in enumerate(places)]
    frame = frame.select(*frame.columns[:5], *fewer)
    return choose_design(chosen, tally.levels) or Design((), (), ()), replace(columns, features=names), frame


def _treatments(tally: Tally, control: str, treatments: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(treatments) if treatments is not None else tuple(sorted(set(tally.arms) - {control}))


def _weights(tally: Tally, columns: Columns) -> tuple[float | None, float | None]:
    """Return mean and largest weight (in units of the mean); None, None where all are equal."""
    if columns.weight is None or tally.weight_sum == tally.rows * type(tally.weight_sum)(tally.weight_high):
        return None, None
    mean = float(tally.weight_sum / tally.rows)
    return mean, tally.weight_high / mean


def _useful(tally: Tally, features: Sequence[FeatureBins]) -> Sequence[FeatureBins]:
    """Log what can't help a prediction; a feature without values is missing in every row, and does no harm."""
    for bins in features:
        if tally.given[bins.name] == 0:
            _LOG.warning(
                "The feature column '%s' holds only nulls and tells nothing of the outcome.", bins.name
            )
    return features


def _faults(tally: Tally, columns: Columns, arms: tuple[str, ...]) -> list[str]:
    """Return every reason why nothing can be fitted on these rows."""
    if tally.rows == 0:
        return [
            "The table must have rows. Got an empty one instead. Hint: look at the filter or split that made it."
        ]
    faults = []
    unit_role = "id" if columns.cluster is None else "cluster"
    for count, role, name, needed in (
        (tally.null_arms, "treatment", columns.treatment, "not be null"),
        (tally.null_units, unit_role, columns.cluster or columns.unit, "not be null"),
        (tally.bad_labels, "label", columns.label, "hold finite numbers"),
        (tally.bad_weights, "weight", columns.weight, "hold finite numbers of 0 or more"),
        *((count, "feature", name, "hold finite numbers or nulls") for name, count in tally.infinite.items()),
    ):
        if count and name is not None:
            faults.append(
                f"The {role} column '{name}' must {needed}. Got {count} of {tally.rows} rows that don't instead."
            )
    found = sorted(tally.arms)
    absent = [arm for arm in arms if arm not in tally.arms]
    unknown = [arm for arm in found if arm not in arms]
    if absent:
        faults.append(
            f"The treatment column '{columns.treatment}' must have rows of every arm. Got none of {absent} instead; "
            f"the arms are {found[:20]}."
        )
    if unknown:
        faults.append(
            f"The treatment column '{columns.treatment}' must hold the arms {list(arms)}. Got {unknown} too."
        )
    if len(arms) == 1:
        faults.append(
            f"The treatment column '{columns.treatment}' must hold two arms or more. Got only {found} instead."
        )
    if len(arms) > 255:
        faults.append(
            f"The treatment column '{columns.treatment}' must hold at most 255 arms. Got {len(arms)} instead."
        )
    if columns.weight is not None and not tally.bad_weights and tally.weight_sum == 0:
        faults.append(f"The weight column '{columns.weight}' must have a positive sum. Got 0 instead.")
    return faults


def _propensity_faults(frame: DataFrame, columns: Columns) -> list[str]:
    from pyspark.sql import functions as F

    if columns.propensity is None:
        return []
    e = F.col("e")
    usable = F.coalesce((e > 0) & (e <= 1), F.lit(False))
    row = frame.agg(F.sum(F.when(usable, 0).otherwise(1)).alias("n")).head()
    count = int(row["n"] or 0) if row is not None else 0
    if not count:
        return []
    return [
        f"The propensity column '{columns.propensity}' must hold numbers in (0, 1]. Got {count} rows that don't "
        "instead."
    ]
