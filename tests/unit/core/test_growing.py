"""Whole trees: what they depend on, and what not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark_uplift.core import growing, sampling
from spark_uplift.core.dtypes import PACKED
from spark_uplift.core.growing import LITTLE_BAG_TREES, draws_of, node_capacity
from spark_uplift.criteria.registry import CRITERIA
from tests.unit.core.data import grow, same_trees, spec_of
from tests.unit.core.test_splitting import random_rows

ROWS = random_rows(PACKED, 2, 800, 1)


def test_a_tree_is_a_function_of_its_number() -> None:
    spec = spec_of(ROWS, bootstrap=True, num_trees=4, features_per_node=2)
    gain = CRITERIA["gradient"].gain
    words = ROWS.words
    before = words.copy()
    once = dict(growing.grow_trees(words, ROWS.units, spec, gain, [3, 0]))
    np.testing.assert_array_equal(words, before)
    again = dict(growing.grow_trees(words, ROWS.units, spec, gain, [0, 1, 2, 3]))
    assert list(once) == [3, 0]
    same_trees([once[0], once[3]], [again[0], again[3]])
    assert not np.array_equal(again[0].stats[0], again[1].stats[0])


def test_the_seed_matters() -> None:
    one, two = (grow(ROWS, bootstrap=True, seed=seed)[0] for seed in (1, 2))
    assert not np.array_equal(one.stats[0], two.stats[0])


def test_streams_of_a_tree() -> None:
    spec = spec_of(ROWS, bootstrap=True, num_trees=9, seed=5)
    draws = [draws_of(spec, tree) for tree in range(9)]
    assert (
        len({int(d.bag) for d in draws} | {int(d.half) for d in draws} | {int(d.features) for d in draws})
        == 27
    )
    assert [int(d.group) for d in draws] == [
        int(sampling.stream_key(5, sampling.BAG, tree // LITTLE_BAG_TREES)) for tree in range(9)
    ]
    assert not draws[0].grouped
    assert draws_of(replace(spec, intervals=True), 0).grouped


@pytest.mark.parametrize(
    ("settings", "rows", "nodes"),
    [
        ({"max_depth": 3, "min_node": 1, "min_arm": 1}, 10**6, 15),
        ({"max_depth": 30, "min_node": 100, "min_arm": 1}, 1000, 23),
        ({"max_depth": 30, "min_node": 1, "min_arm": 50}, 1000, 23),
        ({"max_depth": 30, "min_node": 1, "min_arm": 0}, 10, 23),
    ],
)
def test_the_capacity_bounds_the_nodes(settings: dict[str, int], rows: int, nodes: int) -> None:
    assert node_capacity(spec_of(ROWS, **settings), rows) == nodes


def test_minimum_sizes_hold_in_every_node() -> None:
    for tree in grow(ROWS, bootstrap=True, num_trees=5, max_depth=10, min_node=60, min_arm=25):
        n = tree.stats[:, :, 0]
        assert n.sum(axis=1).min() >= 60
        assert n.min() >= 25
        assert tree.depth.max() <= 10


def test_an_empty_bag_predicts_the_prior() -> None:
    spec = replace(spec_of(ROWS, subsampling_rate=1e-9), prior=(0.25,))
    gain = CRITERIA["gradient"].gain
    ((_, tree),) = growing.grow_trees(ROWS.words, ROWS.units, spec, gain, [0])
    assert tree.n_nodes == 1
    assert tree.effect.tolist() == [[0.25]]
