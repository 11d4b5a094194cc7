"""The bootstrap kernel against rows written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spark_uplift.metrics import Pair, Rows, curve_from_rows, find
from spark_uplift.metrics.replicates import (
    INTERVALS,
    accumulate,
    count_copies,
    locate,
    locator,
    poisson_limits,
    replicate_curve,
    whole_unit,
)
from tests.oracles.metrics import copied, copies_by_hash
from tests.unit.metrics.data import experiment

R = 12


def units(n, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


@pytest.mark.parametrize("intervals", INTERVALS)
@pytest.mark.parametrize("replicates", [3, 70])
def test_copies_are_what_the_hash_says(intervals, replicates):
    ids = units(300)
    counts = count_copies(ids, 3, replicates, intervals)
    expected = [copies_by_hash(unit, 3, replicates, intervals) for unit in ids.tolist()]
    assert np.array_equal(counts, expected)


def test_copies_have_equal_mean_and_standard_deviation():
    ids = units(200_000)
    for intervals, mean in (("poisson", 1.0), ("half_sample", 0.5)):
        counts = count_copies(ids, 1, 8, intervals).astype(float)
        assert counts.mean(axis=0) == pytest.approx(np.full(8, mean), abs=0.01)
        assert counts.std(axis=0) == pytest.approx(np.full(8, mean), abs=0.01)
        together = np.corrcoef(counts.T)
        assert np.abs(together - np.eye(8)).max() < 0.01  # parts of one draw are independent


def test_poisson_limits_are_the_distribution():
    limits = poisson_limits()
    assert limits.tolist() == [round(65536 * p) for p in stats.poisson(1).cdf(np.arange(len(limits)))]
    assert 65536 * stats.poisson(1).cdf(len(limits)) > 65535.5
    assert np.sum(65536 - limits.astype(int)) / 65536 == pytest.approx(1.0, abs=1e-4)


def replicated(y, t, s, ids, order=None, weight=None, replicates=R):
    """The replicates of a curve through the kernel."""
    base = curve_from_rows(Rows.of(y=y, arm=t, weight=weight), s)
    w = np.ones(len(y)) if weight is None else weight
    order = np.arange(len(y)) if order is None else order
    rank = base.low.shape[0] - 1 - np.searchsorted(base.low[::-1], s)
    grid = [whole_unit(float(np.abs(v).max()), len(y)) for v in (w, w * y, w)]
    values = np.rint(np.stack([w, w * y], axis=1) / grid[:2])
    own = (rank * 2 + t).astype(np.int32)
    sums = np.zeros((base.low.shape[0] * 2, 2, replicates))
    accumulate(own[order], values[order], count_copies(ids[order], 1, replicates), sums)
    return Pair.of(replicate_curve(base, sums.reshape(-1, 2, 2, replicates), None, None, grid))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    "style, name", [("sklift", "qini"), ("ydf", "auuc"), ("grf", "ate"), ("sklift", "auuc")]
)
def test_a_replicate_is_the_rows_written_out(binary, style, name):
    y, t, s = experiment(ties=True, binary=binary)
    metric = find(name, style)
    if metric.binary_only and not binary:
        return
    ids = units(len(y))
    got = metric.compute(replicated(y, t, s, ids))
    for r in range(R):
        counts = count_copies(ids, 1, R)[:, r]
        ys, ts, ss = copied(counts, y, t, s)
        expected = metric.compute(Pair.of(curve_from_rows(Rows.of(y=ys, arm=ts), ss)))
        assert got[r] == pytest.approx(float(expected), rel=1e-9)


def test_order_of_rows_does_not_change_a_bit():
    y, t, s = experiment(ties=True, binary=False)
    rng = np.random.default_rng(1)
    ids, weight = units(len(y)), rng.uniform(0.1, 9, len(y))
    base = replicated(y, t, s, ids, weight=weight)
    again = replicated(y, t, s, ids, order=rng.permutation(len(y)), weight=weight)
    assert np.array_equal(base.sides, again.sides)


def test_units_that_share_a_hash_are_drawn_together():
    counts = count_copies(np.repeat(units(50), 3), 1, R)
    assert np.array_equal(counts[0::3], counts[1::3])


def test_the_spread_of_replicates_is_the_standard_error():
    y, t, s = experiment(n=5000, binary=False)
    ids = units(len(y))
    drawn = find("ate").compute(replicated(y, t, s, ids, replicates=400))
    expected = np.sqrt(y[t == 1].var() / (t == 1).sum() + y[t == 0].var() / (t == 0).sum())
    assert drawn.std() == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("largest, rows", [(1.0, 10), (499.0, 10**7), (1e-9, 3), (2.0**40, 10**9)])
def test_sums_on_the_grid_stay_whole(largest, rows):
    unit = whole_unit(largest, rows)
    assert np.log2(unit) == np.round(np.log2(unit))
    assert largest / unit * rows * 4 <= 2**53
    assert unit <= largest * rows * 2.0**-48
    assert whole_unit(0.0, rows) == 1.0


def test_sums_of_cells_are_those_of_a_loop():
    """Cells of equal values, of different ones, of zeros, rows without a cell, and none at all."""
    rng = np.random.default_rng(2)
    cells = rng.integers(-1, 6, 400).astype(np.int32)
    cells[cells == 4] = 3
    values = np.where(cells[:, None] < 2, 5.0, rng.integers(0, 2**40, (400, 2)).astype(float))
    values[rng.random((400, 2)) < 0.3] = 0.0
    copies = count_copies(units(400), 1, R)
    sums = np.ones((6, 2, R))
    accumulate(cells, values, copies, sums)
    expected = np.ones((6, 2, R))
    for i, cell in enumerate(cells):
        if cell >= 0:
            expected[cell] += values[i][:, None] * copies[i]
    assert np.array_equal(sums, expected)


EDGES = {
    "none": [],
    "one": [0.0],
    "equal": [1.0, 1.0, 1.0],
    "heavy tail": np.sort(np.random.default_rng(0).standard_cauchy(500)),
    "huge": [-1e308, 0.0, 1e-300, 1e308],
    "tiny": [0.0, 5e-324, 1e-323],
}


@pytest.mark.parametrize("edges", EDGES.values(), ids=EDGES)
def test_values_are_located_as_numpy_does(edges):
    edges = np.array(edges, float)
    values = np.concatenate(
        [edges, edges + 1e-9, np.random.default_rng(1).normal(0, 3, 500), [-1e308, 1e308, 0.0]]
    )
    assert np.array_equal(locate(locator(edges), values), np.searchsorted(edges, values, side="right"))
