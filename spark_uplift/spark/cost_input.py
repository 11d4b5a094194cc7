"""What a cost curve reads: the user's columns as a frame of plain numbers, checked in one pass.

The frame has ``label string, y w e double, unit bigint`` and the arrays ``scores`` (predicted gain of each
treatment), ``costs`` (of each treatment; null where they are the same for all rows) and ``dr`` (doubly robust values;
null where there are none).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spark_uplift.errors import ColumnNotFoundError, DataError, bad_value, nearest
from spark_uplift.spark.columns import Columns, column, is_number, unit_hash
from spark_uplift.spark.keep import kept

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row

__all__ = ["CostColumns", "CostRows", "prepare_costs"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CostColumns:
    """Columns and arms of scored rows; None for a role that is not filled.

    Parameters
    ----------
    treatment, control, label, score : str
        As for `spark_uplift.spark.evaluate_input.ScoredColumns`.
    costs : mapping of str to float, or str
        Cost of each arm, those left out cost nothing; or the column with the costs of each treatment.
    treatments : tuple of str or None
        Treatments in the order of scores and costs; None: the arms in the data, sorted.
    propensity, dr, weight, unit, cluster : str or None
        Optional columns.
    """

    treatment: str
    control: str
    label: str
    score: str
    costs: Mapping[str, float] | str
    treatments: tuple[str, ...] | None = None
    propensity: str | None = None
    dr: str | None = None
    weight: str | None = None
    unit: str | None = None
    cluster: str | None = None

    @property
    def cost_column(self) -> str | None:
        """Column of costs, if they are in one."""
        return self.costs if isinstance(self.costs, str) else None

    def named(self) -> list[str]:
        """Return every column name that is used, each once."""
        optional = (self.cost_column, self.propensity, self.dr, self.weight, self.unit, self.cluster)
        given = [self.treatment, self.label, self.score, *(name for name in optional if name is not None)]
        return list(dict.fromkeys(given))


@dataclass(frozen=True)
class CostRows:
    """Checked rows and what one pass found out about them.

    Parameters
    ----------
    frame : DataFrame
        See the module.
    treatments : tuple of str
        Their names, in order.
    control : str
        Name of control.
    costs : ndarray of shape (K,), dtype=float64, or None
        Cost of each treatment over control; None where each row has its own.
    scored : bool
        Whether steps have scores: doubly robust ones, or logged propensities.
    dr : bool
        Whether these are doubly robust.
    rows : int
        Number of rows.
    bounds : dict of str to float
        Largest values of ``w``, ``cost``, ``predicted`` and ``gain``, each but w times w.
    """

    frame: DataFrame
    treatments: tuple[str, ...]
    control: str
    costs: F64 | None
    scored: bool
    dr: bool
    rows: int
    bounds: dict[str, float]


def _unusable(value: Column) -> Column:
    from pyspark.sql import functions as F

    return value.isNull() | F.isnan(value) | (F.abs(value) == float("inf"))


def _type_faults(df: DataFrame, columns: CostColumns) -> list[str]:
    kinds = {f.name: f.dataType for f in df.schema.fields}
    missing = [name for name in columns.named() if name not in kinds]
    if missing:
        raise ColumnNotFoundError.of(missing, list(kinds))
    faults = []
    for role, name, arrays in (
        ("label", columns.label, False),
        ("weight", columns.weight, False),
        ("propensity", columns.propensity, False),
        ("score", columns.score, True),
        ("cost", columns.cost_column, True),
        ("doubly robust", columns.dr, True),
    ):
        if name is None:
            continue
        kind = kinds[name]
        inner = getattr(kind, "elementType", kind) if arrays else kind
        boolean = role == "label" and kind.typeName() == "boolean"
        if not is_number(inner) and not boolean:
            expected = "numbers or arrays of numbers" if arrays else "numbers"
            faults.append(
                f"The {role} column '{name}' must hold {expected}. Got {kind.simpleString()} instead."
            )
    return faults


def _cost_faults(columns: CostColumns) -> list[str]:
    if isinstance(columns.costs, str):
        return []
    bad = {arm: c for arm, c in columns.costs.items() if not (math.isfinite(c) and c >= 0)}
    return [bad_value("costs", "cost_curve", "finite numbers of at least 0", bad)] if bad else []


def _compact(df: DataFrame, columns: CostColumns) -> DataFrame:
    from pyspark.sql import functions as F

    def number(name: str | None, default: float) -> Column:
        return F.lit(default) if name is None else column(name).cast("double")

    def array(name: str | None) -> Column:
        if name is None:
            return F.lit(None).cast("array<double>")
        is_array = df.schema[name].dataType.typeName() == "array"
        values = column(name)
        return values.cast("array<double>") if is_array else F.array(values.cast("double"))

    content = tuple(f.name for f in df.schema.fields if f.dataType.typeName() not in ("map", "variant"))
    hashed = unit_hash(df, Columns(features=content, unit=columns.unit, cluster=columns.cluster))
    return hashed.select(
        column(columns.treatment).cast("string").alias("label"),
        number(columns.label, 0.0).alias("y"),
        number(columns.weight, 1.0).alias("w"),
        number(columns.propensity, 1.0).alias("e"),
        array(columns.score).alias("scores"),
        array(columns.cost_column).alias("costs"),
        array(columns.dr).alias("dr"),
        F.col("__unit").alias("unit"),
    )


def _summarise(frame: DataFrame) -> list[Row]:
    """Return one row an arm: counts of unusable values, lengths of the arrays, bounds of the lanes."""
    from pyspark.sql import functions as F

    y, w, e = (F.col(name) for name in ("y", "w", "e"))

    def count(condition: Column, name: str) -> Column:
        return F.sum(F.when(condition, 1).otherwise(0)).alias(name)

    def largest(name: str) -> Column:
        return F.array_max(F.transform(F.col(name), F.abs))

    wanted = [
        F.count("*").alias("n"),
        count(_unusable(y), "bad_y"),
        count(_unusable(w), "bad_w"),
        count(w < 0, "negative_w"),
        count(_unusable(e) | (e <= 0) | (e > 1), "bad_e"),
        F.max("w").alias("w"),
        F.max(F.abs(w * y / F.when((e > 0) & (e <= 1), e))).alias("ipw"),
    ]
    for name in ("scores", "costs", "dr"):
        values = F.col(name)
        wanted += [
            count(values.isNull() | F.exists(values, _unusable), f"bad_{name}"),
            count(F.exists(values, lambda value: value < 0), f"negative_{name}"),
            F.min(F.size(name)).alias(f"least_{name}"),
            F.max(F.size(name)).alias(f"most_{name}"),
            F.max(w * largest(name)).alias(name),
        ]
    return list(frame.groupBy("label").agg(*wanted).collect())


def _arms(counts: Mapping[Any, int], columns: CostColumns) -> tuple[tuple[str, ...], list[str]]:
    """Return the treatments in the order of the scores, and faults."""
    faults = []
    found = sorted(arm for arm in counts if arm is not None)
    where = f"Column '{columns.treatment}'"
    if None in counts:
        faults.append(f"{where}: {counts[None]} arms are null.")
    if columns.control not in counts:
        near = nearest(columns.control, found)
        hint = f" Hint: did you mean {near!r}?" if near else ""
        faults.append(
            f"{where}: there are no control rows, no value equals {columns.control!r}. "
            f"Values found: {found[:20]}.{hint}"
        )
    treatments = columns.treatments or tuple(arm for arm in found if arm != columns.control)
    unknown = [arm for arm in found if arm != columns.control and arm not in treatments]
    if unknown:
        faults.append(f"{where}: unknown arms {unknown}. Treatments: {list(treatments)}.")
    absent = [arm for arm in treatments if arm not in counts]
    if absent:
        faults.append(f"{where}: there are no rows of the treatments {absent}: nothing tells their effect.")
    if not treatments:
        faults.append(f"{where}: there are no treated rows, only {columns.control!r}.")
    if not isinstance(columns.costs, str):
        strange = [arm for arm in columns.costs if arm not in (columns.control, *treatments)]
        if strange:
            expected = f"by arm, of {[columns.control, *treatments]}"
            faults.append(bad_value("costs", "cost_curve", expected, strange))
        elif any(columns.costs.get(arm, 0.0) < columns.costs.get(columns.control, 0.0) for arm in treatments):
            faults.append(
                bad_value(
                    "costs", "cost_curve", "no less for a treatment than for control", dict(columns.costs)
                )
            )
    return treatments, faults


def _row_faults(total: Mapping[str, Any], columns: CostColumns, treatments: Sequence[str]) -> list[str]:
    checks = (
        ("bad_y", columns.label, "outcomes are null, NaN or infinite"),
        ("bad_w", columns.weight, "weights are null, NaN or infinite"),
        ("negative_w", columns.weight, "weights are negative"),
        ("bad_e", columns.propensity, "propensities are null, NaN or outside (0, 1]"),
        ("bad_scores", columns.score, "scores are null, NaN or infinite"),
        ("bad_costs", columns.cost_column, "costs are null, NaN or infinite"),
        ("negative_costs", columns.cost_column, "costs are negative"),
        ("bad_dr", columns.dr, "doubly robust scores are null, NaN or infinite"),
    )
    faults = [f"Column '{name}': {total[key]} {text}." for key, name, text in checks if total[key] and name]
    width = len(treatments)
    for name, key, allowed in (
        (columns.score, "scores", (width,)),
        (columns.cost_column, "costs", (width,)),
        (columns.dr, "dr", (width, width + 1)),
    ):
        sizes = {total[f"least_{key}"], total[f"most_{key}"]}
        if name is not None and not total[f"bad_{key}"] and (len(sizes) > 1 or not sizes <= set(allowed)):
            expected = f"one value for each of the treatments {list(treatments)}"
            expected += " (or for control and each of them)" if key == "dr" else ""
            faults.append(
                f"Column '{name}' must hold {expected}. Got {sorted(sizes)} values a row instead. "
                "Hint: pass treatmentNames= in their order."
            )
    if columns.weight is not None and not total["bad_w"] and not total["w"]:
        faults.append(f"Column '{columns.weight}': all weights are 0.")
    return faults


def _total(found: Sequence[Row]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for name in found[0].asDict():
        values = [row[name] for row in found if row[name] is not None]
        if name.startswith("least_"):
            total[name] = min(values, default=0)
        elif name.startswith("most_") or name in ("w", "ipw", "scores", "costs", "dr"):
            total[name] = max(values, default=0)
        elif name != "label":
            total[name] = sum(values)
    return total


@contextmanager
def prepare_costs(df: DataFrame, columns: CostColumns) -> Iterator[CostRows]:
    """Check rows, and keep them for the passes that follow.

    Raises
    ------
    ColumnNotFoundError, DataError
        All faults of a stage (parameters, names and types, then values) together.
    """
    if faults := _cost_faults(columns):
        raise DataError(faults)
    if faults := _type_faults(df, columns):
        raise DataError(faults)
    with kept(_compact(df, columns)) as frame:
        found = _summarise(frame)
        if not found:
            raise DataError(
                "The scored table has no rows. Hint: look at the filter or the split that made it."
            )
        total = _total(found)
        treatments, faults = _arms({row["label"]: row["n"] for row in found}, columns)
        faults += _row_faults(total, columns, treatments)
        if faults:
            raise DataError(faults)
        costs = None
        if not isinstance(columns.costs, str):
            own = columns.costs
            base = own.get(columns.control, 0.0)
            costs = np.array([own.get(arm, 0.0) - base for arm in treatments], np.float64)
        scored = columns.dr is not None or columns.propensity is not None
        gain = 2.0 * total["dr"] if columns.dr is not None else 2.0 * total["ipw"]
        cost = total["costs"] if costs is None else float(total["w"]) * float(costs.max())
        yield CostRows(
            frame=frame,
            treatments=treatments,
            control=columns.control,
            costs=costs,
            scored=scored,
            dr=columns.dr is not None,
            rows=int(total["n"]),
            bounds={
                "w": float(total["w"]),
                "cost": float(cost),
                "predicted": float(total["scores"]),
                "gain": float(gain),
            },
        )
