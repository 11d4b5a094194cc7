"""The additive design of the nuisance models, and its sums of products as whole numbers.

A row becomes an intercept; for each number an indicator of its quantile bin (missing is one of them) and its
standardised value; for each category an indicator of its level. Values lie on a grid, so that the weighted sums of
products X'WX and X'Wy are int64 and don't depend on the order or partitioning of the rows (design E2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.jit import inlined, kernel
from spark_uplift.metrics.replicates import whole_unit

__all__ = [
    "FINE_BINS",
    "LINEAR_STEPS",
    "MAX_COLUMNS",
    "Design",
    "Grid",
    "add_rows",
    "choose_design",
    "most_associated",
    "predict",
    "screening_design",
]

FINE_BINS = 32
"""Quantile bins from which location, scale and the indicator bins of a number are taken."""

MAX_COLUMNS = 512
"""Columns of a design at most: sums of their products are held for every fold and arm."""

_BINS = (8, 4, 2, 1)  # of a number; as many as the limit of columns lets pass
_LEVELS = 30  # the most frequent levels have an indicator each
LINEAR_STEPS = 256
"""Standardised values lie on a grid of 1/256 …"""

_LINEAR_LIMIT = 3.0  # … within +-3, one unit being half of the range of the inner 15/16 of the values
_LINEAR_BITS = 10
_PRODUCT_BITS = 62
_WEIGHT_BITS = 12
_LANE_BITS = 26

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Design:
    """Columns of an additive model.

    Parameters
    ----------
    features : tuple of FeatureBins
        Bins or levels, code 0 being "missing".
    middle, half : tuple of float
        Location and scale of each number; half = 0 for categories, and where there is no linear column.
    """

    features: tuple[FeatureBins, ...]
    middle: tuple[float, ...]
    half: tuple[float, ...]

    @cached_property
    def offsets(self) -> I64:
        """Column of code 0 of each feature; column 0 of the design is the intercept."""
        widths = [bins.n_codes + int(half > 0.0) for bins, half in zip(self.features, self.half, strict=True)]
        return 1 + np.concatenate([[0], np.cumsum(widths)])[:-1].astype(np.int64)

    @cached_property
    def linear(self) -> I64:
        """Column of each feature's standardised value, -1 for none."""
        ends = self.offsets + np.array([bins.n_codes for bins in self.features], np.int64)
        return np.where(np.array(self.half) > 0.0, ends, -1).astype(np.int64)

    @property
    def columns(self) -> int:
        """Number of columns, the intercept included."""
        return 1 + sum(bins.n_codes for bins in self.features) + sum(half > 0.0 for half in self.half)

    def standardised(self, feature: int, values: F64) -> I64:
        """Return a number's standardised values in steps of 1/256, missing as 0.

        Parameters
        ----------
        feature : int
            Its place.
        values : ndarray of shape (n,), dtype=float64
            NaN is missing.
        """
        if self.half[feature] <= 0.0:
            return np.zeros(values.shape[0], np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (values - self.middle[feature]) / self.half[feature]
        limited = np.clip(np.nan_to_num(scaled, nan=0.0), -_LINEAR_LIMIT, _LINEAR_LIMIT)
        return np.rint(limited * LINEAR_STEPS).astype(np.int64)


@dataclass(frozen=True)
class Grid:
    """Units of the whole numbers.

    Parameters
    ----------
    weight : float
        Unit of the weights, which have mean 1; 1 where all are equal.
    fine_weight : float
        Unit of the sums of weights that shares of the arms are taken from.
    outcome : float
        Unit of the lower half of the outcomes.
    lane : int
        Bits of the lower half: an outcome is ``(high << lane) + low`` units.
    """

    weight: float
    fine_weight: float
    outcome: float
    lane: int

    @classmethod
    def choose(cls, rows: int, outcome_bound: float, outcome_whole: bool, weight_bound: float | None) -> Grid:
        """Return the finest grid on which no sum over the rows can overflow.

        Parameters
        ----------
        rows : int
            Number of rows.
        outcome_bound : float
            Largest absolute outcome.
        outcome_whole : bool
            Whether every outcome is a whole number.
        weight_bound : float or None
            Largest weight, mean weight 1; None when all weights are equal.
        """
        free = _PRODUCT_BITS - max(1, math.ceil(math.log2(max(rows, 2))))
        bits = 0 if weight_bound is None else max(1, min(_WEIGHT_BITS, free - 2 * _LINEAR_BITS))
        lane = max(1, min(_LANE_BITS, free - _LINEAR_BITS - bits))
        top = math.frexp(outcome_bound)[1] if outcome_bound > 0.0 else 0
        exact = outcome_whole and top <= lane
        return cls(
            weight=1.0 if weight_bound is None else math.ldexp(1.0, math.frexp(weight_bound)[1] - bits),
            fine_weight=1.0 if weight_bound is None else whole_unit(weight_bound, rows, bits=61),
            outcome=1.0 if exact else math.ldexp(1.0, top - 2 * lane),
            lane=lane,
        )


def choose_design(fine: Sequence[FeatureBins], levels: Mapping[str, Mapping[str, int]]) -> Design | None:
    """Return the design of features that are cut into `FINE_BINS` bins.

    Parameters
    ----------
    fine : sequence of FeatureBins
        Edges of numbers; of categories only the name counts.
    levels : mapping of str to mapping of str to int
        Rows a level of each category. The 30 most frequent levels have a column each, the others share one.

    Returns
    -------
    Design or None
        None when there are too many features, see `most_associated`.
    """
    for bins in _BINS:
        design = _design(fine, levels, bins)
        if design.columns <= MAX_COLUMNS:
            return design
    return None


def _design(fine: Sequence[FeatureBins], levels: Mapping[str, Mapping[str, int]], bins: int) -> Design:
    parts = [
        _coarse(one, bins) if one.levels is None else (_levels(one, levels.get(one.name, {})), 0.0, 0.0)
        for one in fine
    ]
    return Design(*(tuple(values) for values in zip(*parts, strict=True))) if parts else Design((), (), ())


def screening_design(fine: Sequence[FeatureBins], levels: Mapping[str, Mapping[str, int]]) -> Design:
    """Return the design whose indicators `most_associated` compares; it has no bound."""
    return _design(fine, levels, _BINS[1])


def most_associated(design: Design, weights: F64, outcomes: F64) -> list[int]:
    """Return the places of the features to keep, ascending: as many as the limit of columns lets pass.

    Those with the largest spread of the mean outcome between their bins or levels, sum of squares over degrees of
    freedom (the F statistic of a one-way analysis of variance, but for the common denominator).

    Parameters
    ----------
    design : Design
        See `screening_design`.
    weights, outcomes : ndarray of shape (F, 256), dtype=float64
        Sums of w and w*y for each code of each feature.
    """
    squares = np.divide(outcomes**2, weights, out=np.zeros_like(outcomes), where=weights > 0).sum(axis=1)
    total, mean = weights.sum(axis=1), outcomes.sum(axis=1)
    between = squares - np.divide(mean**2, total, out=np.zeros_like(mean), where=total > 0)
    freedom = np.maximum((weights > 0).sum(axis=1) - 1, 1)
    chosen: list[int] = []
    columns = 1
    for place in np.argsort(-between / freedom, kind="stable").tolist():
        columns += design.features[place].n_codes + int(design.half[place] > 0.0)
        if columns > MAX_COLUMNS:
            break
        chosen.append(place)
    return sorted(chosen)


def _coarse(fine: FeatureBins, bins: int) -> tuple[FeatureBins, float, float]:
    """Return about `bins` bins of a number, and the location and scale of its linear column."""
    edges = np.array(fine.edges)
    count = edges.shape[0]
    spaced = np.linspace(0, max(count - 1, 0), bins + 1)[1:-1].round().astype(np.int64)
    chosen = edges if count < bins else edges[np.unique(spaced)]
    middle = half = 0.0
    if count > 1:
        middle, half = float(edges[0] / 2.0 + edges[-1] / 2.0), float(edges[-1] / 2.0 - edges[0] / 2.0)
    return FeatureBins(fine.name, edges=tuple(chosen.tolist())), middle, half


def _levels(fine: FeatureBins, counts: Mapping[str, int]) -> FeatureBins:
    common = sorted(fine.levels or (), key=lambda level: (-counts.get(level, 0), level))[:_LEVELS]
    return FeatureBins(fine.name, levels=tuple(sorted(common)), pooled=len(common) < len(counts))


@inlined
def _columns_of(codes, linear_values, i, offsets, linear, places, values):  # type: ignore[no-untyped-def]
    """Write the row's columns that are not 0, and their values in steps; return how many they are."""
    places[0], values[0] = 0, 1
    count = 1
    for j in range(offsets.shape[0]):
        places[count], values[count] = offsets[j] + codes[i, j], 1
        count += 1
        if linear[j] >= 0 and linear_values[i, j] != 0:
            places[count], values[count] = linear[j], linear_values[i, j]
            count += 1
    return count


@kernel
def _add_rows(cells, codes, linear_values, weights, fine, outcomes, lane, offsets, linear, sums, totals):  # type: ignore[no-untyped-def]
    places = np.empty(1 + 2 * offsets.shape[0], np.int64)
    values = np.empty(1 + 2 * offsets.shape[0], np.int64)
    width = sums.shape[1]
    for i in range(cells.shape[0]):
        totals[cells[i], 0] += 1
        totals[cells[i], 1] += fine[i]
        high = outcomes[i] >> lane
        low = outcomes[i] - (high << lane)
        count = _columns_of(codes, linear_values, i, offsets, linear, places, values)
        for a in range(count):
            value = weights[i] * values[a]
            row = sums[cells[i], places[a]]
            for b in range(a, count):
                row[places[b]] += value * values[b]
            row[width] += value * high
            row[width + 1] += value * low


def add_rows(
    design: Design,
    grid: Grid,
    cells: I64,
    codes: U8,
    linear_values: I64,
    weights: F64 | None,
    outcomes: F64,
    sums: I64,
    totals: I64,
) -> None:
    """Add rows to the sums of products of their cells (fold and arm).

    Parameters
    ----------
    design, grid
        Columns and units.
    cells : ndarray of shape (n,), dtype=int64
        Cell of each row. IN
    codes : ndarray of shape (n, F), dtype=uint8
        Bin or level of each feature. IN
    linear_values : ndarray of shape (n, F), dtype=int64
        `Design.standardised` of each feature. IN
    weights : ndarray of shape (n,), dtype=float64, or None
        Weights with mean 1; None: all 1. IN
    outcomes : ndarray of shape (n,), dtype=float64
        Outcomes. IN
    sums : ndarray of shape (cells, p, p + 2), dtype=int64
        Products of pairs of columns, each pair on one side of the diagonal only; then of the columns with the high
        and the low half of the outcome. IN and OUT
    totals : ndarray of shape (cells, 2), dtype=int64
        Rows and fine weights. IN and OUT
    """
    rows = cells.shape[0]
    whole = np.ones(rows, np.int64) if weights is None else np.rint(weights / grid.weight).astype(np.int64)
    fine = whole if weights is None else np.rint(weights / grid.fine_weight).astype(np.int64)
    wanted = np.rint(outcomes / grid.outcome).astype(np.int64)
    _add_rows(
        cells,
        codes,
        linear_values,
        whole,
        fine,
        wanted,
        grid.lane,
        design.offsets,
        design.linear,
        sums,
        totals,
    )


@kernel
def _predict(folds, codes, linear_values, offsets, linear, coefficients, out):  # type: ignore[no-untyped-def]
    places = np.empty(1 + 2 * offsets.shape[0], np.int64)
    values = np.empty(1 + 2 * offsets.shape[0], np.int64)
    for i in range(folds.shape[0]):
        count = _columns_of(codes, linear_values, i, offsets, linear, places, values)
        for a in range(out.shape[1]):
            out[i, a] = 0.0
        for c in range(count):
            row = coefficients[folds[i], places[c]]
            for a in range(out.shape[1]):
                out[i, a] += row[a] * values[c]


def predict(design: Design, coefficients: F64, folds: I64, codes: U8, linear_values: I64) -> F64:
    """Return each row's predictions by the models that did not see its fold.

    Parameters
    ----------
    design : Design
        Columns.
    coefficients : ndarray of shape (folds, p, A), dtype=float64
        Per step of a column, so that whole numbers are multiplied.
    folds : ndarray of shape (n,), dtype=int64
        Fold of each row.
    codes, linear_values
        As in `add_rows`.

    Returns
    -------
    ndarray of shape (n, A), dtype=float64
    """
    out = np.empty((folds.shape[0], coefficients.shape[2]))
    _predict(folds, codes, linear_values, design.offsets, design.linear, coefficients, out)
    return out
