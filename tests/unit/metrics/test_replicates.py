"""The bootstrap kernel against rows written out."""

from __future__ import annotations

import numpy as np
import pytest

from spark_uplift.core.sampling import REPLICATE, poisson_counts
from spark_uplift.metrics import Pair, Rows, curve_from_rows, find
from spark_uplift.metrics.replicates import count_copies, replicate_curve, stream_keys, tally, whole_unit
from tests.oracles.metrics import copied
from tests.unit.metrics.data import experiment

R = 12


def units(n, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def test_copies_are_those_of_the_sampling_module():
    ids = units(20_000)
    counts = count_copies(ids, stream_keys(3, R))
    for r in range(R):
        assert np.array_equal(counts[:, r], poisson_counts(3, REPLICATE, r, ids))
    assert counts.max() > 6  # the slow branch was taken
    assert counts.mean() == pytest.approx(1.0, abs=0.01)


def replicated(y, t, s, ids, order=None, weight=None, replicates=R):
    """The replicates of a curve through the kernel."""
    base = curve_from_rows(Rows.of(y=y, arm=t, weight=weight), s)
    w = np.ones(len(y)) if weight is None else weight
    order = np.arange(len(y)) if order is None else order
    rank = base.low.shape[0] - 1 - np.searchsorted(base.low[::-1], s)
    grid = [whole_unit(float(np.abs(v).max()), len(y)) for v in (w, w * y, w)]
    values = np.rint(np.stack([w, w * y, w], axis=1) / grid)
    own = (rank * 2 + t).astype(np.int32)[:, None]
    sums, masses = np.zeros((base.low.shape[0] * 2, 2, replicates)), np.zeros((0, replicates))
    none = np.full((len(y), 1), -1, np.int32)
    tally(ids[order], own[order], none, values[order], stream_keys(1, replicates), sums, masses)
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
        counts = poisson_counts(1, REPLICATE, r, ids)
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
    counts = count_copies(np.repeat(units(50), 3), stream_keys(1, R))
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
