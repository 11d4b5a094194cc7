"""Cuts divide recipients into ranges of about the same size, whatever their scores, and numbers have no gaps."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from spark_uplift.spark import packing, rank, recipients
from spark_uplift.spark.packing import GOOD, Recipients

N = 20_000


def chunks(score: np.ndarray, size: int = 1000) -> pa.Table:
    """What leaves the first step: parts by hash, in chunks in the order of the scores."""
    rng = np.random.default_rng(1)
    n = len(score)
    ids = pa.array([f"u{i}" for i in range(n)], pa.large_string())
    rows = Recipients(rng.integers(0, 2**64, n, np.uint64), ids, score.reshape(-1, 1))
    gather = recipients._make_gatherer(1, 1, size)
    cut = recipients._by_hash(rows, 4, GOOD)
    parts = [gather(pa.Table.from_batches([cut.slice(i, 1)])) for i in range(cut.num_rows)]
    return pa.concat_tables(parts)


def numbered(table: pa.Table, cuts: rank.Cuts, n: int) -> pa.Table:
    """The ranks, by the functions that the tasks run."""
    batches = table.drop_columns(["points"]).to_batches()
    counts = np.sum([b["n"].to_numpy() for b in rank._make_counter(cuts, 1, 1)(iter(batches))], axis=0)
    assert counts.sum() == n
    pieces = pa.Table.from_batches(rank._make_cutter(cuts, 1, 1)(iter(batches)))
    number = rank._make_numberer(np.concatenate([[0], np.cumsum(counts)[:-1]]), n, 1, 1)
    found = [
        number(pieces.filter(pa.compute.equal(pieces["part"], i))) for i in range(cuts.ranges) if counts[i]
    ]
    return pa.concat_tables(found)


SCORES = {
    "continuous": lambda rng: rng.normal(size=N),
    "few": lambda rng: rng.integers(0, 5, N) / 10.0,
    "one": lambda rng: np.zeros(N),
    "one and others": lambda rng: np.where(rng.random(N) < 0.7, 0.25, rng.normal(size=N)),
}


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("ranges", [1, 2, 13])
def test_ranks_are_those_of_one_sort(kind: str, ranges: int) -> None:
    score = SCORES[kind](np.random.default_rng(2))
    table = chunks(score)
    cuts = rank.choose_cuts(table, ranges)
    assert cuts.ranges == ranges
    found = numbered(table, cuts, N).to_pandas()
    assert found["rank"].tolist() == list(range(1, N + 1))
    everybody = packing.unpacked(table, 1)
    order, best = packing.by_score(everybody, 1)
    assert found["unit_id"].tolist() == everybody.ids.take(pa.array(order)).to_pylist()
    assert found["best_uplift"].tolist() == best.tolist()
    assert found["decile"].tolist() == [(r - 1) * 10 // N + 1 for r in range(1, N + 1)]
    assert found["uplift_lower"].isna().all()


@pytest.mark.parametrize("kind", SCORES)
def test_ranges_are_about_equal(kind: str) -> None:
    table = chunks(SCORES[kind](np.random.default_rng(3)))
    cuts = rank.choose_cuts(table, 10)
    rows = [b["n"].to_numpy() for b in rank._make_counter(cuts, 1, 1)(iter(table.to_batches()))]
    assert np.sum(rows, axis=0).max() < 1.5 * N / 10


def test_cuts_of_nobody() -> None:
    empty = pa.Table.from_batches([], recipients._ARROW)
    assert rank.choose_cuts(empty, 3).ranges == 1


def test_several_treatments_and_intervals() -> None:
    value = np.array([[0.1, 0.3, 0, 0.2, 1, 1], [0.5, 0.5, 0.4, 0.4, 0.6, 0.6], [-1, -2, -3, -4, 0, 0]])
    rows = Recipients(np.arange(3, dtype=np.uint64), pa.array(["a", "b", "c"], pa.large_string()), value)
    packed = packing.cut(rows, np.array([0, 3]), np.zeros(1, np.int32), GOOD)
    out = rank._make_numberer(np.array([0]), 3, 2, 6)(pa.Table.from_batches([packed])).to_pydict()
    assert out["unit_id"] == ["b", "a", "c"]
    assert out["arm"] == [0, 1, 0]  # of equal ones the first
    assert out["uplift"] == [[0.5, 0.5], [0.1, 0.3], [-1.0, -2.0]]
    assert out["uplift_lower"] == [[0.4, 0.4], [0.0, 0.2], [-3.0, -4.0]]
    assert out["uplift_upper"][2] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("rows", "parts"), [(0, 1), (1, 1), (2**20, 1), (2**20 + 1, 2), (10**8, 96), (10**11, 8192)]
)
def test_parts_of_a_list(rows: int, parts: int) -> None:
    assert recipients.number_of_parts(rows) == parts
