"""Histograms against loops over rows, and additivity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core import histogram
from spark_uplift.core.dtypes import LANES, PACKED, UNIT, WEIGHTED, FixedPoint
from tests.oracles import histogram as oracle

N_CODES = np.array([5, 3, 9], np.int64)


def sample(
    layout: int, n: int, n_arms: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, FixedPoint]:
    rng = np.random.default_rng(seed)
    codes = np.column_stack([rng.integers(0, k, n) for k in N_CODES]).astype(np.uint8)
    arms = rng.integers(0, n_arms, n).astype(np.uint8)
    if layout == PACKED:
        lanes = 1 + (rng.integers(-50, 50, (n, 1)) << 32)
    else:
        lanes = rng.integers(-(2**40), 2**40, (n, LANES[layout]))
    grid = FixedPoint(layout, 1.0, 1.0, 1.0, 1.0, bool(seed % 2))
    return codes, arms, lanes * rng.integers(0, 4, (n, 1)), grid


def counted(
    codes: np.ndarray,
    arms: np.ndarray,
    lanes: np.ndarray,
    rows: np.ndarray,
    features: np.ndarray,
    n_arms: int,
    layout: int,
) -> np.ndarray:
    at = histogram.offsets(N_CODES[features], n_arms, layout)
    out = np.zeros(at[-1], np.int64)
    histogram.add_rows(codes, arms, lanes, rows, features, at, n_arms, out)
    return out


@given(
    layout=st.sampled_from([PACKED, UNIT, WEIGHTED]),
    n=st.integers(0, 60),
    n_arms=st.integers(2, 4),
    seed=st.integers(0, 10**6),
    features=st.sampled_from([[0], [1, 2], [0, 1, 2]]),
)
@settings(max_examples=80, deadline=None)
def test_cells_are_the_sums_over_their_rows(
    layout: int, n: int, n_arms: int, seed: int, features: list[int]
) -> None:
    codes, arms, lanes, grid = sample(layout, n, n_arms, seed)
    rows = np.flatnonzero(np.random.default_rng(seed).random(n) < 0.7)
    ours = counted(codes, arms, lanes, rows, np.array(features), n_arms, layout)
    at = histogram.offsets(N_CODES[features], n_arms, layout)
    cell = np.zeros(5, np.int64)
    for j, f in enumerate(features):
        expected = oracle.by_code(grid, codes, arms, lanes, rows, f, int(N_CODES[f]), n_arms)
        for code in range(N_CODES[f]):
            for arm in range(n_arms):
                position = at[j] + (code * n_arms + arm) * LANES[layout]
                histogram.read_cell(ours, position, layout, int(grid.binary), cell)
                np.testing.assert_array_equal(cell, expected[code, arm])
    whole = histogram.totals(ours, int(N_CODES[features[0]]), n_arms, layout, int(grid.binary), LANES[layout])
    np.testing.assert_array_equal(whole, oracle.statistics(grid, arms, lanes, rows, n_arms))


@pytest.mark.parametrize("layout", [PACKED, UNIT, WEIGHTED])
def test_parts_add_up_and_a_sibling_is_the_difference(layout: int) -> None:
    codes, arms, lanes, _ = sample(layout, 500, 3, 4)
    everything, rows = np.arange(3), np.arange(500)
    total = counted(codes, arms, lanes, rows, everything, 3, layout)
    part = counted(codes, arms, lanes, rows[::3], everything, 3, layout)
    rest = counted(codes, arms, lanes, np.setdiff1d(rows, rows[::3]), everything, 3, layout)
    np.testing.assert_array_equal(part + rest, total)
    np.testing.assert_array_equal(total - part, rest)
    shuffled = np.random.default_rng(0).permutation(500)
    np.testing.assert_array_equal(counted(codes, arms, lanes, shuffled, everything, 3, layout), total)


def test_counting_adds_to_what_is_there_and_changes_nothing_else() -> None:
    codes, arms, lanes, _ = sample(UNIT, 50, 2, 1)
    before = codes.copy(), arms.copy(), lanes.copy()
    at = histogram.offsets(N_CODES, 2, UNIT)
    out = np.zeros(at[-1], np.int64)
    for _ in range(2):
        histogram.add_rows(codes, arms, lanes, np.arange(50), np.arange(3), at, 2, out)
    np.testing.assert_array_equal(out, 2 * counted(codes, arms, lanes, np.arange(50), np.arange(3), 2, UNIT))
    for now, then in zip((codes, arms, lanes), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_offsets_are_dense() -> None:
    assert histogram.offsets(np.array([3, 2]), 2, WEIGHTED).tolist() == [0, 30, 50]
