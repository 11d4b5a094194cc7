"""Packed recipients: cut and joined again, ordered, each unit once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from spark_uplift.spark import packing
from spark_uplift.spark.packing import BAD, GOOD, Recipients


def recipients(ids: list[str], values: list[list[float]], hashes: list[int] | None = None) -> Recipients:
    made = [hash(i) & (2**64 - 1) for i in ids] if hashes is None else hashes
    array = np.array(values, np.float64).reshape(len(ids), -1)
    return Recipients(np.array(made, np.uint64), pa.array(ids, pa.large_string()), array)


def random(n: int, seed: int = 1, width: int = 2) -> Recipients:
    rng = np.random.default_rng(seed)
    ids = [f"{'ä' * int(k)}{i}" for i, k in enumerate(rng.integers(0, 4, n))]
    values = np.round(rng.normal(size=(n, width)), 1)  # many ties
    return Recipients(rng.integers(0, 2**64, n, np.uint64), pa.array(ids, pa.large_string()), values)


def listed(some: Recipients) -> list[tuple[int, str, tuple[float, ...]]]:
    return list(zip(some.hash.tolist(), some.ids.to_pylist(), map(tuple, some.value.tolist()), strict=True))


def test_pieces_hold_what_was_cut() -> None:
    rows = random(100)
    cuts = np.array([0, 0, 17, 17, 60, 100, 100], np.int64)
    batch = packing.cut(rows, cuts, np.arange(6, dtype=np.int32) + 10, GOOD)
    assert batch.schema == packing.ARROW
    assert batch["part"].to_pylist() == [11, 13, 14]  # empty pieces are left out
    assert batch["n"].to_pylist() == [17, 43, 40]
    for i, (first, end) in enumerate([(0, 17), (17, 60), (60, 100)]):
        piece = packing.unpacked(batch.slice(i, 1), 2)
        assert listed(piece) == listed(rows)[first:end]


def test_pieces_of_several_batches_lie_end_to_end() -> None:
    one, two = random(30, 1), random(20, 2)
    batches = [
        packing.cut(rows, np.array([0, 10, rows.size]), np.arange(2, dtype=np.int32), GOOD)
        for rows in (one, two)
    ]
    table = pa.Table.from_batches(batches)
    assert listed(packing.unpacked(table, 2)) == listed(one) + listed(two)
    second = table.filter(pa.compute.equal(table["part"], 1))
    assert listed(packing.unpacked(second, 2)) == listed(one)[10:] + listed(two)[10:]


def test_pieces_of_a_slice() -> None:
    """The ids of a slice share the buffers of the whole."""
    rows = random(50)
    part = Recipients(rows.hash[20:], rows.ids.slice(20), rows.value[20:])
    batch = packing.cut(part, np.array([0, 30]), np.zeros(1, np.int32), BAD)
    assert listed(packing.unpacked(batch, 2)) == listed(rows)[20:]


def test_a_number_of_rows_without_an_id() -> None:
    batch = packing.nameless(7)
    assert batch.schema == packing.ARROW
    assert batch["n"].to_pylist() == [7]


@pytest.mark.parametrize("treatments", [1, 2])
def test_the_order_of_scores(treatments: int) -> None:
    rows = random(500)
    order, best = packing.by_score(rows, treatments)
    expected = sorted(range(500), key=lambda i: (-max(rows.value[i, :treatments]), int(rows.hash[i])))
    assert order.tolist() == expected
    assert best.tolist() == [max(rows.value[i, :treatments]) for i in expected]


def test_equal_scores_and_hashes_go_by_the_id() -> None:
    rows = recipients(["b", "d", "a", "c"], [[1.0], [2.0], [1.0], [1.0]], [5, 5, 5, 4])
    order, _ = packing.by_score(rows, 1)
    assert [rows.ids[i].as_py() for i in order] == ["d", "c", "a", "b"]


def test_all_scores_equal_are_ordered_by_the_hash() -> None:
    rows = random(200)
    rows = Recipients(rows.hash, rows.ids, np.zeros((200, 1)))
    order, _ = packing.by_score(rows, 1)
    assert rows.hash[order].tolist() == sorted(rows.hash.tolist())


def test_of_a_units_rows_the_least_score_stays() -> None:
    rows = recipients(["a", "b", "a", "a", "c"], [[3.0, 1.0], [1.0, 1.0], [2.0, 2.0], [2.0, 1.0], [0.0, 0.0]])
    kept, again = packing.one_a_unit(rows, 2)
    assert sorted((i, v) for _, i, v in listed(kept)) == [
        ("a", (2.0, 1.0)),
        ("b", (1.0, 1.0)),
        ("c", (0.0, 0.0)),
    ]
    assert sorted(v for _, i, v in listed(again)) == [(2.0, 2.0), (3.0, 1.0)]


def test_different_ids_of_the_same_hash_stay_both() -> None:
    rows = recipients(["a", "b", "a", "b", "c"], [[1.0], [2.0], [3.0], [1.0], [4.0]], [9, 9, 9, 9, 9])
    kept, again = packing.one_a_unit(rows, 1)
    assert sorted((i, v[0]) for _, i, v in listed(kept)) == [("a", 1.0), ("b", 1.0), ("c", 4.0)]
    assert sorted((i, v[0]) for _, i, v in listed(again)) == [("a", 3.0), ("b", 2.0)]


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    names = [f"u{i}" for i in rng.integers(0, 60, 300)]
    values = np.round(rng.normal(size=(300, 2)), 1)
    hashes = [int(name[1:]) % 40 for name in names]  # some collide
    rows = recipients(names, values.tolist(), hashes)
    kept, again = packing.one_a_unit(rows, 2)
    shuffled = rows.take(rng.permutation(300))
    kept_2, again_2 = packing.one_a_unit(shuffled, 2)
    assert sorted(listed(kept)) == sorted(listed(kept_2))
    assert sorted(listed(again)) == sorted(listed(again_2))
    assert kept.size == len(set(names))
    assert sorted(listed(kept) + listed(again)) == sorted(listed(rows))


def test_nobody_twice_is_quick_and_sorted() -> None:
    rows = random(100)
    kept, again = packing.one_a_unit(rows, 2)
    assert again.size == 0
    assert kept.hash.tolist() == sorted(rows.hash.tolist())
