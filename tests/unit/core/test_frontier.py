"""What is counted of a node, and how it is decided; the whole seam is tested in test_grower."""

from __future__ import annotations

import numpy as np

from spark_uplift.core import frontier, histogram
from spark_uplift.core.dtypes import LANES, WEIGHTED
from spark_uplift.core.grower import Grower
from spark_uplift.criteria.registry import CRITERIA
from tests.oracles import histogram as oracle
from tests.unit.core.data import spec_of
from tests.unit.core.test_splitting import random_rows

GAIN = CRITERIA["gradient"].gain


def test_a_root_is_counted_from_its_features_alone() -> None:
    rows = random_rows(WEIGHTED, 3, 300, 1)
    spec = spec_of(rows, features_per_node=2)
    (node,) = Grower(spec, GAIN).frontier()[0]
    assert (node.key, node.stats, node.reference) == ((0, 1), None, None)
    assert node.offsets.tolist() == histogram.offsets(spec.n_codes[node.features], 3, WEIGHTED).tolist()
    assert node.histogram_bytes == 8 * 3 * LANES[WEIGHTED] * int(spec.n_codes[node.features].sum())
    counted = frontier.count(node, rows.codes, rows.arms, rows.lanes, np.arange(300), 3)
    decision = frontier.decide(spec, GAIN, node, counted)
    expected = oracle.statistics(spec.grid, rows.arms, rows.lanes, range(300), 3)
    np.testing.assert_array_equal(decision.stats, expected)


def test_rows_without_copies_add_nothing() -> None:
    rows = random_rows(WEIGHTED, 2, 200, 2)
    spec = spec_of(rows, bootstrap=True)
    (node,) = Grower(spec, GAIN).frontier()[0]
    copies = frontier.bag_copies(spec, 0, rows.units)
    lanes = rows.lanes * copies[:, None]
    everybody = frontier.count(node, rows.codes, rows.arms, lanes, np.arange(200), 2)
    members = frontier.count(node, rows.codes, rows.arms, lanes, np.flatnonzero(copies), 2)
    np.testing.assert_array_equal(everybody, members)


def test_a_node_too_small_or_too_deep_is_a_leaf() -> None:
    rows = random_rows(WEIGHTED, 2, 200, 2)
    for settings in ({"min_node": 101}, {"max_depth": 0}, {"min_arm": 80}):
        spec = spec_of(rows, **settings)
        (node,) = Grower(spec, GAIN).frontier()[0]
        counted = frontier.count(node, rows.codes, rows.arms, rows.lanes, np.arange(200), 2)
        assert not frontier.decide(spec, GAIN, node, counted).found
