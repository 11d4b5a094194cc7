"""What an evaluation reads: the user's scored rows, checked and packed in one pass (evaluate_blocks.py)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_uplift.errors import ColumnNotFoundError, DataError, bad_value, nearest
from spark_uplift.spark.columns import Columns, column, is_number, unit_hash
from spark_uplift.spark.evaluate_blocks import BLOCKS_DDL, BOUNDS, Layout, Summary, make_packer, merged
from spark_uplift.spark.keep import refusal

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["Prepared", "ScoredColumns", "prepare"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScoredColumns:
    """Columns and arms of scored rows; None for a role that is not filled.

    Parameters
    ----------
    treatment, control : str
        Column of the arm, and the value that is control.
    label, score : str
        Outcome; predicted effect(s): an array with one value a treatment, or a number.
    arm : str or None
        The one treatment to evaluate.
    treatments : tuple of str or None
        Treatments in the order of the scores; None: the arms in the data, sorted.
    weight, propensity, unit, cluster : str or None
        Optional columns.
    dr : str or None
        Doubly robust scores, an array with one value a treatment, or a number.
    rivals : tuple of str
        Scores of other models, to be evaluated on the same rows.
    owner : str
        Name of the function that was called, for messages.
    """

    treatment: str
    control: str
    label: str
    score: str = "uplift"
    arm: str | None = None
    treatments: tuple[str, ...] | None = None
    weight: str | None = None
    propensity: str | None = None
    unit: str | None = None
    cluster: str | None = None
    dr: str | None = None
    rivals: tuple[str, ...] = ()
    owner: str = "evaluate"

    @property
    def arrays(self) -> list[str]:
        """The columns with a value a treatment: scores of each model, then the doubly robust scores."""
        return [self.score, *self.rivals, *([] if self.dr is None else [self.dr])]

    def named(self) -> list[str]:
        """Return every column name that is used."""
        optional = (self.weight, self.propensity, self.unit, self.cluster)
        return [self.treatment, self.label, *self.arrays, *(name for name in optional if name is not None)]


@dataclass(frozen=True)
class Prepared:
    """Checked rows and what one pass found out about them.

    Parameters
    ----------
    blocks : DataFrame
        Packed rows, see evaluate_blocks.py.
    layout : Layout
        How they are packed.
    treatments : tuple of str
        Their names, in order.
    logged : bool
        Whether propensities are logged.
    rows : int
        Number of rows.
    binary : bool
        Whether every outcome is 0 or 1.
    bounds : dict of str to float
        Largest absolute value of w, wy, wyy, ww (all with w/e for w), mass (plain w), mm (its square), and of w*G
        and w*G^2 (gain, square).
    least_propensity : dict of str to float
        Smallest logged propensity by arm, control included.
    """

    blocks: DataFrame
    layout: Layout
    treatments: tuple[str, ...]
    logged: bool
    rows: int
    binary: bool
    bounds: dict[str, float]
    least_propensity: dict[str, float]


def check_types(df: DataFrame, columns: ScoredColumns) -> None:
    """Check names and types of the columns.

    Raises
    ------
    ColumnNotFoundError
        Columns are missing; names the nearest ones.
    DataError
        Types are unusable; all faults together.
    """
    kinds = {field.name: field.dataType for field in df.schema.fields}
    missing = [name for name in columns.named() if name not in kinds]
    if missing:
        raise ColumnNotFoundError.of(missing, list(kinds))
    faults = []
    for role, name in (
        ("label", columns.label),
        ("weight", columns.weight),
        ("propensity", columns.propensity),
    ):
        boolean_label = name is not None and role == "label" and kinds[name].typeName() == "boolean"
        if name is not None and not is_number(kinds[name]) and not boolean_label:
            faults.append(
                f"The {role} column '{name}' must hold numbers. Got {kinds[name].simpleString()} instead."
            )
    for name in columns.arrays:
        kind = kinds[name]
        if not is_number(getattr(kind, "elementType", kind)):
            role = "doubly robust score" if name == columns.dr else "score"
            faults.append(
                f"The {role} column '{name}' must hold numbers or arrays of numbers. "
                f"Got {kind.simpleString()} instead."
            )
    if faults:
        raise DataError(faults)


def _compact(df: DataFrame, columns: ScoredColumns) -> DataFrame:
    """Return the columns label, y, unit, w and e where given, and the arrays a0, a1, …"""
    from pyspark.sql import functions as F

    def array(name: str) -> Column:
        is_array = df.schema[name].dataType.typeName() == "array"
        return column(name).cast("array<double>") if is_array else F.array(column(name).cast("double"))

    # Without an id the content stands for the unit: the more columns, the fewer rows that look the same.
    content = tuple(f.name for f in df.schema.fields if f.dataType.typeName() not in ("map", "variant"))
    hashed = unit_hash(df, Columns(features=content, unit=columns.unit, cluster=columns.cluster))
    given = [
        column(name).cast("double").alias(short)
        for short, name in (("w", columns.weight), ("e", columns.propensity))
        if name is not None
    ]
    return hashed.select(
        column(columns.treatment).cast("string").alias("label"),
        column(columns.label).cast("double").alias("y"),
        F.col("__unit").alias("unit"),
        *given,
        *[array(name).alias(f"a{j}") for j, name in enumerate(columns.arrays)],
    )


def _row_faults(summary: Summary, columns: ScoredColumns, treatments: Sequence[str]) -> list[str]:
    texts = {
        "y": (columns.label, "outcomes are null, NaN or infinite"),
        "w": (columns.weight, "weights are null, NaN or infinite"),
        "negative_w": (columns.weight, "weights are negative"),
        "e": (columns.propensity, "propensities are null or outside (0, 1]"),
    }
    faults = [
        f"Column '{name}': {summary.faults[key]} {text}."
        for key, (name, text) in texts.items()
        if summary.faults[key] and name
    ]
    for number, name in enumerate(columns.arrays):
        what = "doubly robust scores" if name == columns.dr else "scores"
        faults += _array_faults(summary, number, name, what, columns, treatments)
    return faults


def _array_faults(
    summary: Summary, number: int, name: str, what: str, columns: ScoredColumns, treatments: Sequence[str]
) -> list[str]:
    """Return what is wrong with one column of arrays."""
    faults = []
    bad = summary.faults[f"a{number}"]
    if bad:
        faults.append(f"Column '{name}': {bad} {what} are null, NaN or infinite.")
    sizes = summary.sizes[number]
    width = summary.width(number)
    other = sum(sizes.values()) - sizes.get(width, 0)
    if other:
        faults.append(f"Column '{name}': {other} {what} have another length than {width}, that of most rows.")
    # One score, about the one arm that was asked for, needs no order of treatments.
    if width != len(treatments) and not (width == 1 and columns.arm is not None):
        faults.append(
            f"Column '{name}': {width} {what} a row, but there are {len(treatments)} treatments "
            f"{list(treatments)}. Hint: pass treatmentNames= in their order, or arm= with one score."
        )
    return faults


def _arms(counts: dict[str | None, int], columns: ScoredColumns) -> tuple[tuple[str, ...], list[str]]:
    """Return the treatments in the order of the scores, and faults."""
    faults = []
    found = sorted(arm for arm in counts if arm is not None)
    if None in counts:
        faults.append(f"Column '{columns.treatment}': {counts[None]} arms are null.")
    if columns.control not in counts:
        near = nearest(columns.control, found)
        hint = f" Hint: did you mean {near!r}?" if near else ""
        faults.append(
            f"Column '{columns.treatment}': there are no control rows, no value equals {columns.control!r}. "
            f"Values found: {found[:20]}.{hint}"
        )
    treatments = columns.treatments or tuple(arm for arm in found if arm != columns.control)
    unknown = [arm for arm in found if arm != columns.control and arm not in treatments]
    if unknown:
        faults.append(
            f"Column '{columns.treatment}': unknown arms {unknown}. Treatments: {list(treatments)}."
        )
    if columns.arm is not None and columns.arm not in treatments:
        near = nearest(columns.arm, treatments)
        way = f"did you mean {near!r}?" if near else None
        faults.append(bad_value("arm", columns.owner, f"one of {list(treatments)}", columns.arm, way))
    for arm in [columns.arm] if columns.arm in treatments else treatments:
        if arm not in counts:
            faults.append(f"Column '{columns.treatment}': there are no rows of the treatment {arm!r}.")
    if not treatments:
        faults.append(f"Column '{columns.treatment}': there are no treated rows, only {columns.control!r}.")
    return treatments, faults


@contextmanager
def prepare(df: DataFrame, columns: ScoredColumns) -> Iterator[Prepared]:
    """Check and pack scored rows, and keep them for the passes that follow, where Spark can.

    Parameters
    ----------
    df : DataFrame
        Scored rows of an experiment; read once, or once a pass where Spark keeps nothing.
    columns : ScoredColumns
        Their roles.

    Raises
    ------
    ColumnNotFoundError, DataError
        All faults of a stage (names and types, then values) together.
    """
    check_types(df, columns)
    optional = [short for short, name in (("w", columns.weight), ("e", columns.propensity)) if name]
    packer = make_packer(len(columns.arrays), tuple(optional))
    blocks = _compact(df, columns).mapInArrow(packer, BLOCKS_DDL)
    refused = refusal(blocks)
    if refused is not None:
        _LOG.info("scored rows can't be kept between passes here and are read again for each: %s", refused)
    try:
        headers: list[Any] = blocks.select("header").toArrow()["header"].to_pylist()
        yield _checked(blocks, merged([json.loads(header) for header in headers]), columns, tuple(optional))
    finally:
        if refused is None:
            blocks.unpersist()


def _checked(
    blocks: DataFrame, summary: Summary, columns: ScoredColumns, optional: tuple[str, ...]
) -> Prepared:
    if not summary.counts:
        raise DataError("The scored table has no rows. Hint: look at the filter or the split that made it.")
    treatments, faults = _arms(summary.counts, columns)
    faults += _row_faults(summary, columns, treatments)
    if faults:
        raise DataError(faults)
    return Prepared(
        blocks=blocks,
        layout=Layout(
            arms=(columns.control, *treatments),
            optional=optional,
            widths=tuple(summary.width(j) for j in range(len(columns.arrays))),
            models=1 + len(columns.rivals),
        ),
        treatments=treatments,
        logged=columns.propensity is not None,
        rows=sum(summary.counts.values()),
        binary=not summary.faults["not_binary"],
        bounds={name: summary.bounds[name] for name in BOUNDS},
        least_propensity={str(arm): least for arm, least in summary.least.items()},
    )
