"""Rows in memory, and forests grown on them: the whole engine without Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core import binning, fixedpoint, growing, records
from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.estimation import average_effects
from spark_uplift.core.forest import Forest
from spark_uplift.core.growing import ForestSpec
from spark_uplift.core.histogram import add_rows, offsets, totals
from spark_uplift.core.tree import Tree
from spark_uplift.criteria.registry import CRITERIA
from spark_uplift.criteria.signature import NORMALIZATION_CODES

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

DEFAULTS: dict[str, Any] = {
    "num_trees": 1,
    "max_depth": 4,
    "min_node": 20,
    "min_arm": 5,
    "n_reg": 0.0,
    "shrinkage": 0.0,
    "bootstrap": False,
    "subsampling_rate": 1.0,
    "honest": False,
    "intervals": False,
    "seed": 1,
}


@dataclass(frozen=True)
class Rows:
    """Rows on the engine's terms."""

    features: tuple[FeatureBins, ...]
    codes: npt.NDArray[np.uint8]
    arms: npt.NDArray[np.uint8]
    lanes: I64
    units: npt.NDArray[np.uint64]
    n_arms: int
    grid: Any

    @property
    def words(self) -> npt.NDArray[np.uint64]:
        return records.pack(self.codes, self.arms, self.lanes, self.grid.layout)

    def take(self, rows: Any) -> Rows:
        """Return some of the rows, or all in another order."""
        return replace(
            self, codes=self.codes[rows], arms=self.arms[rows], lanes=self.lanes[rows], units=self.units[rows]
        )


def unit_hashes(n: int) -> npt.NDArray[np.uint64]:
    return np.random.default_rng(0).integers(0, 2**64, n, dtype=np.uint64, endpoint=False)


def encode(
    columns: Mapping[str, Any], max_bins: int = 64
) -> tuple[tuple[FeatureBins, ...], npt.NDArray[np.uint8]]:
    """Bin columns: floats are numeric, lists of text (or None) are categories."""
    features, codes = [], []
    for name, values in columns.items():
        out = np.zeros((len(values), 1), np.uint8)
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            bins = FeatureBins(name, binning.weighted_edges(values, None, max_bins))
            binning.encode_numeric(bins, values, 0, out)
        else:
            given = [x for x in values if x is not None]
            bins = binning.choose_levels(name, {level: given.count(level) for level in set(given)})
            out[:, 0] = binning.encode_levels(bins, list(values))
        features.append(bins)
        codes.append(out)
    return tuple(features), np.ascontiguousarray(np.concatenate(codes, axis=1))


def rows_of(
    columns: Mapping[str, Any],
    arms: npt.ArrayLike,
    y: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    units: npt.NDArray[np.uint64] | None = None,
    max_bins: int = 64,
    squares: bool = True,
) -> Rows:
    """Return rows as training would have them."""
    arm, outcome = np.asarray(arms, np.uint8), np.asarray(y, np.float64)
    features, codes = encode(columns, max_bins)
    weights = None
    if weight is not None:
        weights = np.asarray(weight, np.float64)
        weights = weights / weights.mean()
    grid = fixedpoint.choose(
        rows=outcome.size,
        outcome_bound=float(np.abs(outcome).max()),
        outcome_whole=bool(np.all(outcome == np.rint(outcome))),
        outcome_binary=bool(np.all((outcome == 0) | (outcome == 1))),
        weight_bound=None if weights is None else float(weights.max()),
        needs_squares=squares,
    )
    return Rows(
        features=features,
        codes=codes,
        arms=arm,
        lanes=fixedpoint.lanes(grid, outcome, weights),
        units=unit_hashes(outcome.size) if units is None else units,
        n_arms=int(arm.max()) + 1,
        grid=grid,
    )


def prior_of(rows: Rows) -> tuple[float, ...]:
    layout, binary, lanes = rows.grid.layout, int(rows.grid.binary), rows.lanes.shape[1]
    n_codes = np.array([int(rows.codes[:, 0].max()) + 1])
    at = offsets(n_codes, rows.n_arms, layout)
    histogram = np.zeros(at[-1], np.int64)
    everybody = np.arange(rows.arms.size)
    add_rows(rows.codes, rows.arms, rows.lanes, everybody, np.array([0]), at, rows.n_arms, histogram)
    stats = totals(histogram, int(n_codes[0]), rows.n_arms, layout, binary, lanes)
    found = average_effects(stats, weight_unit=rows.grid.weight_unit, wy_unit=rows.grid.outcome_unit)
    return tuple(float(x) for x in found)


def spec_of(rows: Rows, **settings: Any) -> ForestSpec:
    values = {**DEFAULTS, "normalization": "paper", "features_per_node": len(rows.features), **settings}
    values["normalization"] = NORMALIZATION_CODES[values["normalization"]]
    return ForestSpec(
        n_codes=np.array([bins.n_codes for bins in rows.features], np.int64),
        categorical=np.array([bins.categorical for bins in rows.features], np.bool_),
        n_arms=rows.n_arms,
        grid=rows.grid,
        prior=prior_of(rows),
        **values,
    )


def grow(rows: Rows, criterion: str = "gradient", **settings: Any) -> list[Tree]:
    spec = spec_of(rows, **settings)
    gain = CRITERIA[criterion].gain
    return [tree for _, tree in growing.grow_trees(rows.words, rows.units, spec, gain, range(spec.num_trees))]


def fit(rows: Rows, criterion: str = "gradient", **settings: Any) -> Forest:
    return Forest(
        features=rows.features,
        control="control",
        treatments=tuple(f"arm{t}" for t in range(1, rows.n_arms)),
        grid=rows.grid,
        trees=tuple(grow(rows, criterion, **settings)),
        little_bags=bool(settings.get("intervals", False)),
    )


def same_trees(ours: Sequence[Tree], theirs: Sequence[Tree]) -> None:
    """Assert that every array of every tree is equal to the bit."""
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for name in Tree.__dataclass_fields__:
            x, y = getattr(a, name), getattr(b, name)
            assert x.dtype == y.dtype, name
            np.testing.assert_array_equal(x, y, err_msg=name)
