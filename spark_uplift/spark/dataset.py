"""Training rows as packed blocks: validated, binned once, on the fixed-point grid (design E2, E4)."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core import fixedpoint, records, tree_kernel
from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.dtypes import FixedPoint
from spark_uplift.errors import DataError
from spark_uplift.spark import arrow
from spark_uplift.spark.batches import unmeasured_batches
from spark_uplift.spark.columns import Columns, is_category, training_frame, validate
from spark_uplift.spark.profile import Profile, Tally, profile, row_weights
from spark_uplift.spark.slots import parallelism

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LOG = logging.getLogger(__name__)

BLOCK_ROWS = 65_536
BLOCK_BYTES = 16 * 2**20  # wide rows make shorter blocks
BLOCK_SCHEMA = "rows bigint, words binary, units binary, sums binary, checksum bigint"
_FIELDS = [
    ("rows", pa.int64()), ("words", pa.binary()), ("units", pa.binary()), ("sums", pa.binary()),
    ("checksum", pa.int64()),
]  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """Training rows, ready to grow trees on.

    Attributes
    ----------
    frame : DataFrame
        Columns arm, y, w, e, unit, f0, f1, ….
    features : tuple of FeatureBins
    control : str
    treatments : tuple of str
        Sorted.
    grid : FixedPoint
    mean_weight : float
        Weights are divided by it: multiplying all of them by a constant changes nothing.
    rows : int
    arm_rows : dict of str to int
    outcome : str
        "binary" or "continuous".
    missing : tuple of str
        Features that lack a value in some row.
    content : int
        Checksum of the rows, whatever their order.
    """

    frame: DataFrame
    features: tuple[FeatureBins, ...]
    control: str
    treatments: tuple[str, ...]
    grid: FixedPoint
    mean_weight: float
    rows: int
    arm_rows: dict[str, int]
    outcome: str
    missing: tuple[str, ...]
    weighted: bool
    logged: bool
    content: int

    @property
    def slots(self) -> int:
        """Tasks that can run at once, at least 1."""
        return parallelism(self.frame.sparkSession)

    @property
    def block_bytes(self) -> int:
        """Size of all packed blocks, in bytes."""
        return self.rows * 8 * (records.record_words(len(self.features), self.grid.layout) + 1)

    def packing(self) -> AbstractContextManager[None]:
        """Return the context in which the job that packs the rows should run: it is faster there."""
        return _small_rows(self.frame, [bins.categorical for bins in self.features])

    def blocks(self) -> DataFrame:
        """Return the packed blocks, one row of binary columns for up to 65,536 training rows (wide ones fewer).

        Columns: ``rows``; ``words``, the records (see `spark_uplift.core.records`); ``units``, their hashes; ``sums``,
        the statistics of each arm; ``checksum``, the CRC-32 of words and units.
        """
        arms = {name: code for code, name in enumerate((self.control, *self.treatments))}
        worker = _make_packer(self.features, arms, self.grid, self.mean_weight, self.weighted, self.logged)
        return self.frame.mapInArrow(worker, BLOCK_SCHEMA)


def changed_rows(counted: int, packed: int) -> str:
    """Return what is wrong when two passes over the rows met different numbers of them."""
    return (
        f"The training rows changed between two passes over them: {counted} were counted first, but {packed} were "
        "packed. Write the input to a table first, so that both passes read the same rows."
    )


def checksum(words: npt.NDArray[np.uint64], units: npt.NDArray[np.uint64]) -> int:
    """Return the CRC-32 of a block's bytes."""
    return zlib.crc32(units.data, zlib.crc32(words.data))


def _make_packer(
    features: tuple[FeatureBins, ...],
    arms: dict[str, int],
    grid: FixedPoint,
    mean_weight: float,
    weighted: bool,
    logged: bool,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = pa.schema(_FIELDS)
    width = records.record_words(len(features), grid.layout)
    block_rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (8 * width)))

    def pack(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        rows = batch.num_rows
        codes = np.empty((rows, len(features)), np.uint8)
        arrow.encode_batch(features, batch.columns[5:], codes)
        arm = arrow.coded(
            batch.column(0), lambda levels: np.array([arms.get(x, 255) for x in levels], np.uint8)
        )
        weights = None
        if weighted or logged:
            w = arrow.numbers(batch.column(2)) if weighted else None
            e = arrow.numbers(batch.column(3)) if logged else None
            weights = row_weights(w, e, rows) / mean_weight
        lanes = fixedpoint.lanes(grid, arrow.numbers(batch.column(1)), weights)
        return records.pack(codes, arm, lanes, grid.layout), arrow.hashes(batch.column(4))

    def emit(words: list[Any], units: list[Any]) -> pa.RecordBatch:
        block, unit = np.concatenate(words), np.concatenate(units)
        sums = tree_kernel.block_sums(block, len(features), len(arms), grid.layout, grid.binary)
        row = [[len(unit)], [block.tobytes()], [unit.tobytes()], [sums.tobytes()], [checksum(block, unit)]]
        return pa.RecordBatch.from_arrays(
            [pa.array(c, f.type) for c, f in zip(row, schema, strict=True)], schema=schema
        )

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        words: list[npt.NDArray[np.uint64]] = []
        units: list[npt.NDArray[np.uint64]] = []
        held = 0
        for batch in batches:
            if batch.num_rows == 0:
                continue
            block, unit = pack(batch)
            words.append(block)
            units.append(unit)
            held += batch.num_rows
            if held >= block_rows:
                yield emit(words, units)
                words, units, held = [], [], 0
        if held:
            yield emit(words, units)

    return work


def _small_rows(frame: DataFrame, categorical: list[bool]) -> AbstractContextManager[None]:
    """Have Spark send batches by the number of rows alone: of numbers, not of text that may be long."""
    return nullcontext() if any(categorical) else unmeasured_batches(frame.sparkSession, len(categorical))


def prepare(
    df: DataFrame, columns: Columns, control: str, *, max_bins: int, needs_squares: bool, seed: int
) -> Dataset:
    """Validate the rows, cut the bins and choose the grid: one pass over ``df``.

    Raises
    ------
    ColumnNotFoundError, DataError
        All faults together: missing columns, unusable types, nulls, an unknown control, one arm only, an outcome
        without variation, features without a value, bad weights and propensities, too many categories.
    """
    kinds = validate(df, columns)
    categorical = [is_category(kinds[name]) for name in columns.features]
    frame = training_frame(df, columns, kinds)
    weighted, logged = columns.weight is not None, columns.propensity is not None
    with _small_rows(frame, categorical):
        found = profile(
            frame,
            columns.features,
            categorical,
            max_bins=max_bins,
            weighted=weighted,
            logged=logged,
            seed=seed,
        )
    tally = found.tally
    faults = _faults(tally, found, columns, control)
    if faults:
        raise DataError(faults)
    treatments = tuple(sorted(set(tally.arms) - {control}))
    mean = float(tally.weight_sum / tally.rows) if weighted or logged else 1.0
    bound = tally.weight_high / mean if weighted or logged else None
    if bound is not None and tally.weight_sum == Fraction(tally.weight_high) * tally.rows:
        bound = None  # all weights are equal, which is the same as no weights
        weighted = logged = False
    grid = fixedpoint.choose(
        rows=tally.rows,
        outcome_bound=max(abs(tally.low), abs(tally.high)),
        outcome_whole=tally.whole,
        outcome_binary=tally.binary,
        weight_bound=bound,
        needs_squares=needs_squares,
    )
    return Dataset(
        frame=frame,
        features=found.features,
        control=control,
        treatments=treatments,
        grid=grid,
        mean_weight=mean,
        rows=tally.rows,
        arm_rows=dict(tally.arms),
        outcome="binary" if tally.binary else "continuous",
        missing=tuple(name for name in columns.features if tally.given[name] < tally.rows),
        weighted=weighted,
        logged=logged,
        content=tally.content,
    )


def _faults(tally: Tally, found: Profile, columns: Columns, control: str) -> list[str]:
    """Return every reason why a forest can't be grown on these rows."""
    if tally.rows == 0:
        return ["The training data must have rows. Got an empty table instead."]
    faults = []
    arms = sorted(tally.arms)

    def bad_rows(count: int, role: str, name: str | None, needed: str) -> None:
        if count:
            faults.append(
                f"The {role} column '{name}' must {needed}. Got {count} of {tally.rows} rows that don't instead. "
                "Hint: drop these rows, or let `spark-uplift prepare` put them into quarantine."
            )

    bad_rows(tally.null_arms, "treatment", columns.treatment, "not be null")
    unit_role = "id" if columns.cluster is None else "cluster"
    bad_rows(tally.null_units, unit_role, columns.cluster or columns.unit, "not be null")
    bad_rows(tally.bad_labels, "label", columns.label, "hold finite numbers")
    bad_rows(tally.bad_weights, "weight", columns.weight, "hold finite numbers of 0 or more")
    bad_rows(tally.bad_propensities, "propensity", columns.propensity, "hold numbers in (0, 1]")
    for name, count in tally.infinite.items():
        bad_rows(count, "feature", name, "hold finite numbers or nulls")
    if control not in tally.arms:
        faults.append(
            f"The 'controlName' parameter must be an arm in column '{columns.treatment}'. "
            f"Got {control!r} instead; the arms are {arms[:20]}."
        )
    if len(tally.arms) == 1:
        faults.append(
            f"The treatment column '{columns.treatment}' must hold two arms or more. Got only {arms} instead."
        )
    if len(tally.arms) > 255:
        faults.append(
            f"The treatment column '{columns.treatment}' must hold at most 255 arms. Got {len(arms)} instead. "
            "Hint: is it the right column?"
        )
    if tally.rows > tally.bad_labels and tally.low == tally.high:
        faults.append(
            f"The label column '{columns.label}' must vary. Got {tally.low:g} in every row instead."
        )
    if tally.bad_weights == 0 and columns.weight is not None and tally.weight_sum == 0:
        faults.append(f"The weight column '{columns.weight}' must have a positive sum. Got 0 instead.")
    for name in columns.features:
        if tally.given[name] == 0:
            faults.append(
                f"The feature column '{name}' must hold a value. Got only nulls instead. Hint: leave it out."
            )
    for bins in found.features:
        if tally.given[bins.name] and bins.n_codes <= 2 and not bins.pooled:
            _LOG.warning("The feature column '%s' is constant and can't be split on.", bins.name)
    return faults
