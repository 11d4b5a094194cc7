"""The split search against a twin that tries every candidate on the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core import histogram, splitting
from spark_uplift.core.dtypes import PACKED, UNIT, WEIGHTED
from spark_uplift.core.growing import ForestSpec
from spark_uplift.criteria.registry import CRITERIA
from spark_uplift.criteria.signature import call
from tests.oracles import splitting as oracle
from tests.oracles.splitting import Candidate, Data
from tests.unit.core.data import Rows, grow, rows_of, spec_of


def random_rows(layout: int, n_arms: int, n: int, seed: int, missing: float = 0.15) -> Rows:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 6, (n, 2)).astype(float)
    x[rng.random((n, 2)) < missing] = np.nan
    city = rng.choice(["a", "b", "c", "d", "e"], n).tolist()
    city = [None if gone else c for c, gone in zip(city, rng.random(n) < missing, strict=True)]
    arms = rng.integers(0, n_arms, n)
    arms[:n_arms] = np.arange(n_arms)
    y = rng.integers(0, 2, n).astype(float)
    y[:2] = 0, 1
    if layout == UNIT:
        y *= rng.normal(size=n)
    weight = rng.integers(0, 4, n) if layout == WEIGHTED else None
    if weight is not None:
        weight[:n_arms] = 1
    rows = rows_of({"x0": x[:, 0], "city": city, "x1": x[:, 1]}, arms, y, weight)
    assert rows.grid.layout == layout
    return rows


def gain_of(criterion: str, spec: ForestSpec) -> oracle.Gain:
    def gain(left: Any, right: Any, reference: Any) -> float:
        options: dict[str, Any] = {"n_reg": spec.n_reg, "normalization": spec.normalization}
        return call(CRITERIA[criterion].gain, left, right, reference=reference, **options)

    return gain


def searched(
    rows: Rows, spec: ForestSpec, criterion: str
) -> tuple[Candidate | None, np.ndarray, list[Candidate]]:
    """The kernel's split in the twin's words, its left statistics, and all candidates."""
    params, everybody = spec.params(), np.arange(rows.arms.size)
    features = np.arange(spec.n_features)
    at = histogram.offsets(spec.n_codes, spec.n_arms, params.layout)
    counted = np.zeros(at[-1], np.int64)
    histogram.add_rows(rows.codes, rows.arms, rows.lanes, everybody, features, at, spec.n_arms, counted)
    lanes = rows.lanes.shape[1]
    node = histogram.totals(counted, int(spec.n_codes[0]), spec.n_arms, params.layout, params.binary, lanes)
    reference = np.zeros(spec.n_arms)
    splitting.root_means(node, params, reference)
    out, mask, left = np.zeros(4, np.int64), np.zeros(4, np.uint64), np.zeros((spec.n_arms, 5), np.int64)
    before = counted.copy(), node.copy(), reference.copy()
    gain = splitting.best_split(
        counted, features, at, spec.n_codes, spec.categorical, node, reference, params,
        CRITERIA[criterion].gain, out, mask, left,
    )  # fmt: skip
    for now, then in zip((counted, node, reference), before, strict=True):
        np.testing.assert_array_equal(now, then)
    data = Data(rows.codes, rows.arms, rows.lanes)
    np.testing.assert_allclose(reference, oracle.root_means(spec, node))
    tried = list(
        oracle.candidates(
            spec, data, everybody.tolist(), features.tolist(), reference, gain_of(criterion, spec)
        )
    )
    if not out[splitting.FOUND]:
        assert gain == 0.0
        return None, left, tried
    codes = frozenset(c for c in range(256) if int(mask[c // 64]) >> (c % 64) & 1)
    feature, threshold, missing_left = (int(v) for v in out[:3])
    return Candidate(feature, threshold, bool(missing_left), codes, float(gain)), left, tried


@given(
    criterion=st.sampled_from(["gradient", "gradient", "kl", "ddp", "it", "causal_mse"]),
    layout=st.sampled_from([PACKED, UNIT, WEIGHTED]),
    n_arms=st.sampled_from([2, 2, 3, 4]),
    n=st.integers(30, 160),
    min_arm=st.integers(0, 6),
    n_reg=st.sampled_from([0.0, 5.0, 50.0]),
    missing=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_it_finds_the_best_of_all_candidates(
    criterion: str, layout: int, n_arms: int, n: int, min_arm: int, n_reg: float, missing: float, seed: int
) -> None:
    if criterion == "kl" and layout == UNIT:
        criterion = "gradient"
    rows = random_rows(layout, n_arms, n, seed, missing)
    spec = spec_of(rows, min_arm=min_arm, min_node=10, n_reg=n_reg)
    found, left, tried = searched(rows, spec, criterion)
    best = max((c.gain for c in tried), default=0.0)
    if found is None:
        assert best <= 1e-12
        return
    assert found.gain == pytest.approx(best, rel=1e-9, abs=1e-15)
    twins = [c for c in tried if (c.feature, c.threshold, c.missing_left, c.left) == _key(found)]
    assert len(twins) == 1
    assert twins[0].gain == pytest.approx(found.gain, rel=1e-9, abs=1e-15)
    if found.threshold > 0:
        assert found.left - {0} == set(range(1, found.threshold + 1))
    on_left = [r for r in range(n) if rows.codes[r, found.feature] in found.left]
    data = Data(rows.codes, rows.arms, rows.lanes)
    expected = oracle.histogram.statistics(spec.grid, data.arms, data.lanes, on_left, n_arms)
    np.testing.assert_array_equal(left, expected)


def _key(split: Candidate) -> tuple[int, int, bool, frozenset[int]]:
    """Of a numeric split the mask holds the given codes only."""
    return split.feature, split.threshold, split.missing_left, split.left


def test_the_first_of_equal_splits_is_taken() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 8, 400).astype(float)
    arms = rng.integers(0, 2, 400)
    y = (rng.random(400) < 0.3 + 0.3 * arms * (x > 3)).astype(float)
    rows = rows_of({"a": x, "b": x, "c": -x}, arms, y)
    found, _, tried = searched(rows, spec_of(rows), "gradient")
    assert found is not None
    assert found.feature == 0
    assert sum(c.gain == found.gain for c in tried) >= 2


def test_missing_values_go_left_right_or_stand_alone() -> None:
    rng = np.random.default_rng(1)
    n = 2000
    x = rng.integers(0, 4, n).astype(float)
    arms = rng.integers(0, 2, n)
    gone = rng.random(n) < 0.3
    for treated_well, side in ((gone | (x < 2), "left"), (gone | (x > 1), "right"), (gone, "alone")):
        y = (rng.random(n) < 0.2 + 0.5 * arms * treated_well).astype(float)
        rows = rows_of({"x": np.where(gone, np.nan, x)}, arms, y)
        found, _, _ = searched(rows, spec_of(rows), "gradient")
        assert found is not None
        if side == "alone":
            assert found.left == {1, 2, 3, 4}
        else:
            assert found.left == ({0, 1, 2} if side == "left" else {1, 2})


def test_codes_that_the_node_has_not_seen_follow_most_rows() -> None:
    rng = np.random.default_rng(2)
    x = rng.choice([0.0, 1.0], 600, p=[0.3, 0.7])
    arms = rng.integers(0, 2, 600)
    city = np.where(x == 0, "b", "c").tolist()
    y = (rng.random(600) < 0.2 + 0.5 * arms * (x == 0)).astype(float)
    rows = rows_of({"x": x, "city": [*city[:-40], *["a", "d"] * 20]}, arms, y)
    seen = np.isin(rows.codes[:, 1], [2, 3])
    found, _, _ = searched(rows.take(seen), spec_of(rows, min_arm=20), "gradient")
    assert found is not None
    assert found.left == {1}  # a numeric feature is cut; missing goes right, where 70 % of the rows are
    assert not found.missing_left
    only_city = rows_of({"city": [*city[:-40], *["a", "d"] * 20]}, arms, y)
    found, _, _ = searched(only_city.take(seen), spec_of(only_city, min_arm=20), "gradient")
    assert found is not None
    assert found.left in ({0, 1, 3, 4}, {2})  # "b" against "c"; the unseen "a", "d" and missing are with "c"
    assert (0 in found.left) == (3 in found.left) == (1 in found.left) == (4 in found.left)


def test_categories_are_ordered_by_effect_and_not_by_baseline() -> None:
    rng = np.random.default_rng(3)
    n = 6000
    level = rng.integers(0, 6, n)
    arms = rng.integers(0, 2, n)
    baseline, lift = np.array([0.1, 0.5, 0.2, 0.6, 0.3, 0.4]), np.array([0.0, 0.3, 0.0, 0.0, 0.3, 0.3])
    y = (rng.random(n) < baseline[level] + lift[level] * arms).astype(float)
    rows = rows_of({"city": [f"city {k}" for k in level]}, arms, y)
    found, _, _ = searched(rows, spec_of(rows), "gradient")
    assert found is not None
    assert found.left in ({0, 1, 3, 4}, {1, 3, 4}, {2, 5, 6})


def test_arms_with_opposite_effects_still_order_categories() -> None:
    # One arm gains exactly what the other loses: the contrast is orthogonal to the sum of the effects.
    counts, city, arms, y = 40, [], [], []
    for level, (first, second) in enumerate([(8, -8), (-8, 8), (4, -4), (-4, 4)]):
        for arm, successes in enumerate((16, 16 + first, 16 + second)):
            city += [f"city {level}"] * counts
            arms += [arm] * counts
            y += [1.0] * successes + [0.0] * (counts - successes)
    rows = rows_of({"city": city}, arms, y)
    found, _, tried = searched(rows, spec_of(rows), "gradient")
    assert found is not None
    assert found.left - {0} in ({1, 3}, {2, 4})
    assert {c.left - {0} for c in tried} <= {
        frozenset(s) for s in ({1}, {1, 3}, {1, 3, 4}, {2}, {2, 4}, {2, 4, 3})
    }


def test_the_principal_contrast_orders_several_arms() -> None:
    rng = np.random.default_rng(4)
    for n_arms in (3, 4, 6):
        rows = random_rows(PACKED, n_arms, 3000, n_arms, missing=0.1)
        spec = spec_of(rows, n_reg=10.0)
        params = spec.params()
        cells = oracle.histogram.by_code(
            spec.grid, rows.codes, rows.arms, rows.lanes, range(3000), 1, 6, n_arms
        )
        cells[:, :, 2] += rng.integers(0, 30, (6, n_arms))  # far from ties
        node = cells.sum(axis=0)
        reference = oracle.root_means(spec, node)
        ours = splitting.order_categories(cells, node, reference, params).tolist()
        theirs = oracle.category_order(spec, cells, node, reference)
        assert ours in (theirs, theirs[::-1])


def test_an_arm_without_weight_does_not_count() -> None:
    rng = np.random.default_rng(5)
    x, arms = rng.integers(0, 3, 300).astype(float), rng.integers(0, 3, 300)
    y = rng.integers(0, 2, 300).astype(float)
    weight = np.where(arms == 2, 0.0, 1.0 + (x == 1))
    city = ["a" if v else "b" for v in rng.random(300) < 0.5]
    rows = rows_of({"x": x, "city": city}, arms, y, weight)
    (tree,) = grow(rows, min_arm=0)
    assert tree.n_nodes == 1
    assert tree.effect[0, 1] == 0.0  # nothing is known of it, here or above


def test_effective_rows_are_enough_in_every_child() -> None:
    # 100 rows of the treatment on the left, but nearly all weight on one of them.
    n = 400
    x, arms = np.repeat([0.0, 1.0], n // 2), np.tile([0, 1], n // 2)
    y = ((x == 0) & (arms == 1)).astype(float)
    weight = np.ones(n)
    weight[1] = 500.0
    rows = rows_of({"x": x}, arms, y, weight)
    assert searched(rows, spec_of(rows, min_arm=1), "gradient")[0] is not None
    assert searched(rows, spec_of(rows, min_arm=3), "gradient")[0] is None
    same = rows_of({"x": x}, arms, y)
    assert searched(same, spec_of(same, min_arm=3), "gradient")[0] is not None
