from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import costs, scaling, simulation
from benchmarks.simulation import Work
from spark_uplift.core.dtypes import PACKED, UNIT
from spark_uplift.core.records import record_words
from spark_uplift.spark import edge_sample

# A tenth of the trees and cores of `costs.LARGE`, two levels less: seconds.
REDUCED = replace(costs.LARGE, trees=50, depth=6, slots=100, rows=10**9)


@pytest.fixture(scope="module")
def passes():
    return list(simulation.run(REDUCED))


def test_no_task_reducer_or_driver_exceeds_its_bound(passes):
    assert [fault for found in passes for fault in found.faults(REDUCED.limits, 0)] == []
    assert all(found.bucket_bytes <= REDUCED.limits.reduce_bytes for found in passes)
    assert all(found.histograms <= REDUCED.limits.group_bytes for found in passes)


def test_every_node_of_every_level_is_counted_once(passes):
    assert sum(found.nodes for found in passes) == REDUCED.trees * (2**REDUCED.depth - 1)
    assert sum(found.open_rows for found in passes if found.depth == 0) == REDUCED.rows * REDUCED.trees


def test_all_features_at_every_node_and_three_arms_stay_within_bounds():
    wide = replace(REDUCED, features_per_node=200, arms=3, depth=4, trees=40)
    found = list(simulation.run(wide))

    assert len(found) > 4, "a level must take several passes"
    assert [fault for one in found for fault in one.faults(wide.limits, 0)] == []


def test_a_bound_that_is_broken_is_told(passes):
    tight = replace(REDUCED.limits, group_bytes=1000, reduce_bytes=1000)

    assert "a task's histograms" in passes[0].faults(tight, 0)[0]
    assert "a reducer's bucket" in passes[0].faults(tight, 0)[1]


def test_nothing_that_travels_grows_with_the_rows():
    few, many = (
        list(simulation.run(replace(REDUCED, trees=4, depth=4, rows=n, tasks=200))) for n in (10**9, 10**10)
    )

    for name in ("histograms", "buckets", "bucket_bytes", "reducer_bytes", "shuffled", "collected"):
        assert [getattr(one, name) for one in few] == [getattr(one, name) for one in many], name


def test_small_nodes_are_finished_as_the_engine_would():
    found = list(
        simulation.run(Work(rows=10**6, features=12, trees=10, depth=6, features_per_node=12, slots=2))
    )

    assert sum(one.nodes for one in found if one.kind == "finished") > 0 or len(found) == 6
    assert all(one.bucket_bytes < 100e6 for one in found)


def test_buckets_go_where_sparks_hash_puts_them():
    # SELECT hash(id) FROM range(5), as Spark 4.2 answers for ints
    assert simulation.partition_of(5, 2**31).tolist() == [x % 2**31 for x in HASHES]


HASHES = [933211791, -559580957, 1765031574, -1823081949, -397064898]


def test_layout_follows_the_rows():
    small, large = (
        Work(rows=n, features=200, trees=1, depth=1, features_per_node=15, slots=1) for n in (10**8, 10**10)
    )

    assert (small.spec.grid.layout, large.spec.grid.layout) == (PACKED, UNIT)
    assert large.record_bytes == 8 * (record_words(200, UNIT) + 1) == 240
    assert large.block_bytes == 240 * 10**10


def test_first_pass_sends_what_tasks_are_told_to():
    found = simulation.first_pass(REDUCED)

    assert found.partitions == -(-(10**9) * 203 * 8 // simulation.PARTITION_BYTES)
    assert found.sampled == sum(edge_sample.quota(p) for p in range(found.partitions))
    assert found.reducers == 25


def test_costs_are_proportional_to_rows_where_they_should_be(passes):
    work = replace(REDUCED, tasks=200)
    more = replace(work, rows=2 * work.rows)
    one, two = (
        sum(cost.cpu for cost in costs.costs(w, costs.Constants(), simulation.run(w))) for w in (work, more)
    )  # fmt: skip

    assert two == pytest.approx(2 * one, rel=1e-3)
    clustered = costs.costs(REDUCED, costs.Constants(), passes, cluster=True)
    alone = costs.costs(REDUCED, costs.Constants(), passes)
    assert sum(cost.seconds for cost in clustered) > sum(cost.seconds for cost in alone)


def test_constants_come_from_measurements():
    fit = {
        "rows": 10**7, "trees": 100, "depth": 6, "source_bytes": 12 * 10**8, "seconds": 90.0, "fixed_seconds": 4.0,
        "first_pass_seconds": 8.0, "pack_seconds": 10.0, "digest": "",
        "passes": [{"kind": "counted", "depth": 0, "seconds": 9.0}, {"kind": "finished", "depth": 1, "seconds": 2.0}],
    }  # fmt: skip
    kernel = {"draw": 3.0, "step": 1.0, "update": [1.0, 2.0], "far": 0.5}
    found = costs.calibrated([fit], kernel, 2)

    assert found.read == pytest.approx((8.0 - 0.5) * 2 / 15e7 * 1e9)
    assert found.job == 0.5
    assert (found.draw, found.update) == (3.0, (1.0, 2.0))
    table = scaling.predictions([fit], found, 2)
    assert "10,000,000 rows: model" in table
    first = next(line for line in table.splitlines() if line.startswith("| first pass"))
    assert first.count("8.00") == 2, "the fit that constants come from is met"


def test_the_kernel_is_measured_and_fitted():
    found = costs.measure(rows=20_000, trees=1, depths=(0, 2, 7), repeats=1)

    assert len(found["cases"]) == 12
    assert all(case["measured"] > 0 for case in found["cases"])
    assert np.isfinite([found["draw"], found["step"], *found["update"], found["far"]]).all()
