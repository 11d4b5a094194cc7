"""Intervals from little bags: the formula, and that they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spark_uplift.core.intervals import group_sizes, little_bags
from tests.unit.core.data import fit, rows_of

Z90 = 1.6448536269514722


def test_the_last_little_bag_may_hold_fewer_trees() -> None:
    assert group_sizes(8, 4).tolist() == [4, 4]
    assert group_sizes(10, 4).tolist() == [4, 4, 2]
    assert group_sizes(3, 4).tolist() == [3]


def test_the_variance_is_that_between_bags_less_the_noise_within() -> None:
    rng = np.random.default_rng(0)
    bags, size, true_sd, noise_sd = 4000, 4, 0.3, 0.5
    effects = rng.normal(1.0, true_sd, (bags, 1)) + rng.normal(0.0, noise_sd, (bags, size))
    sums, squares = effects.sum(axis=1)[:, None, None], (effects**2).sum()[None, None]
    effect, lower, upper = little_bags(sums, squares, size, 0.9)
    assert effect[0, 0] == pytest.approx(effects.mean(), rel=1e-12)
    assert (upper - effect)[0, 0] == pytest.approx(Z90 * true_sd, rel=0.05)
    assert (effect - lower)[0, 0] == pytest.approx((upper - effect)[0, 0], rel=1e-12)


def test_a_negative_difference_still_gives_a_positive_width() -> None:
    # Bags that agree better than the trees within them would have it.
    effects = np.tile([1.0, 2.0, 3.0, 4.0], (6, 1)) + np.linspace(-0.01, 0.01, 6)[:, None]
    sums, squares = effects.sum(axis=1)[:, None, None], (effects**2).sum()[None, None]
    _, lower, upper = little_bags(sums, squares, 4, 0.9)
    assert 0.0 < (upper - lower)[0, 0] < 2.0


def test_trees_that_agree_have_no_width() -> None:
    sums, squares = np.full((5, 1, 2), 4.0), np.full((1, 2), 20.0)
    effect, lower, upper = little_bags(sums, squares, 4, 0.9)
    assert effect.tolist() == lower.tolist() == upper.tolist() == [[1.0, 1.0]]


def test_higher_levels_are_wider_by_the_normal_quantiles() -> None:
    rng = np.random.default_rng(1)
    effects = rng.normal(size=(10, 4))
    sums, squares = effects.sum(axis=1)[:, None, None], (effects**2).sum()[None, None]
    widths = [np.subtract(*little_bags(sums, squares, 4, level)[:0:-1])[0, 0] for level in (0.9, 0.95)]
    assert widths[1] / widths[0] == pytest.approx(1.959963984540054 / Z90)


def simulated(seed: int, num_trees: int, max_depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intervals of an honest forest at the same 300 points, on a new sample of 2,000 rows with an effect of 0.3."""
    x = np.random.default_rng(seed).normal(size=(2000, 3))
    x[:300] = np.random.default_rng(0).normal(size=(300, 3))
    rng = np.random.default_rng(1000 + seed)
    arms = rng.integers(0, 2, 2000)
    y = x[:, 1] + 0.3 * arms + rng.normal(size=2000)
    units = rng.integers(0, 2**63, 2000).astype(np.uint64)
    rows = rows_of({f"x{j}": x[:, j] for j in range(3)}, arms, y, units=units, max_bins=32)
    forest = fit(
        rows, num_trees=num_trees, max_depth=max_depth, min_node=40, min_arm=10, intervals=True, honest=True,
        subsampling_rate=0.7, seed=seed,
    )  # fmt: skip
    return forest.predict_interval(rows.codes[:300], 0.9)


@pytest.mark.parametrize(("num_trees", "max_depth"), [(200, 0), (120, 3)])
def test_intervals_cover_and_are_as_wide_as_they_should_be(num_trees: int, max_depth: int) -> None:
    runs = [simulated(seed, num_trees, max_depth) for seed in range(30)]
    effect, lower, upper = (np.stack([run[i][:, 0] for run in runs]) for i in range(3))
    coverage = np.mean((lower <= 0.3) & (upper >= 0.3))
    assert 0.8 < coverage < 0.99
    claimed = math.sqrt(np.mean(((upper - lower) / (2 * Z90)) ** 2))
    true = math.sqrt(np.mean(effect.var(axis=0, ddof=1)))
    assert 0.75 < claimed / true < 1.5
