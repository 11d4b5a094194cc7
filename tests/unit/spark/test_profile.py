"""The first pass over the rows, its tasks and its reducer called by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest

from spark_uplift.core import sampling
from spark_uplift.spark import edge_sample, profile
from spark_uplift.spark.profile import Tally

ROWS = 1000


def table(seed: int = 0) -> pa.Table:
    """Rows as `columns.training_frame` has them: arm, y, w, e, unit, then a number and a category."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(size=ROWS))
    columns = {
        "arm": pa.array(rng.choice(["a", "b"], ROWS)),
        "y": pa.array(rng.normal(size=ROWS)),
        "w": pa.array(rng.random(ROWS)),
        "e": pa.array(rng.random(ROWS) * 0.9 + 0.05),
        "unit": pa.array(rng.integers(-(2**63), 2**63 - 1, ROWS // 2)[np.arange(ROWS) // 2]),
        "f0": pa.array(x, from_pandas=True),
        "f1": pa.array([None if v == "d" else v for v in rng.choice(["a", "b", "c", "d"], ROWS)]),
    }
    return pa.table(columns)


def run(parts: list[pa.Table], weighted: bool, quotas: list[int] | None = None) -> dict:
    """What the driver gets when the rows lie in these parts, read in batches of 64."""
    names, categorical = ["x", "town"], [False, True]
    partial = []
    for i, part in enumerate(parts):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(profile, "_partition", lambda i=i: i)
            patch.setattr(edge_sample, "quota", lambda p: quotas[p] if quotas else edge_sample.SAMPLE_ROWS)
            task = profile._make_task(names, categorical, weighted, weighted, 1, False)
            partial += list(task(iter(part.to_batches(max_chunksize=64))))
    sent = pa.Table.from_batches(partial)
    reduce = profile._make_reducer(categorical, 16, weighted)
    found: dict = {"tally": [], "cuts": []}
    for block in sorted(set(sent.column("block").to_pylist())):
        merged = reduce(sent.filter(pa.array([b == block for b in sent.column("block").to_pylist()])))
        (one,) = [json.loads(text) for text in merged.column("profile").to_pylist()]
        if block < 0:
            found["tally"].append(one["tally"])
        else:
            found["cuts"] = one["cuts"]
    assert len(found["tally"]) == sum(part.num_rows > 0 for part in parts)
    return {"tally": profile._merged(found["tally"]).to_json(), "cuts": found["cuts"]}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sample", [100, 400, 10**5])
def test_neither_the_division_nor_the_order_of_rows_matters(
    monkeypatch: pytest.MonkeyPatch, weighted: bool, sample: int
) -> None:
    monkeypatch.setattr(edge_sample, "SAMPLE_ROWS", sample)
    rows = table()
    whole = run([rows], weighted)
    order = np.random.default_rng(1).permutation(ROWS)
    parts = [rows.take(part) for part in np.split(order, [1, 1, 300, 990])]
    again = run(parts, weighted)
    assert again["cuts"] == whole["cuts"]
    assert len(whole["cuts"][0]) == 15
    assert len(whole["cuts"]) == 1
    assert Tally.from_json(again["tally"]) == Tally.from_json(whole["tally"])


def test_the_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table()
    tally = Tally.from_json(run([rows], True)["tally"])
    y, w, e = (rows.column(name).to_numpy() for name in ("y", "w", "e"))
    assert tally.rows == ROWS
    assert (tally.low, tally.high) == (y.min(), y.max())
    assert not tally.whole
    assert not tally.binary
    assert float(tally.weight_sum) == pytest.approx((w / e).sum(), rel=1e-12)
    assert tally.weight_high == (w / e).max()
    assert tally.given["x"] == ROWS - rows.column("f0").null_count
    assert tally.levels["town"].total() == tally.given["town"]
    assert (tally.bad_labels, tally.bad_weights, tally.bad_propensities, tally.null_units) == (0, 0, 0, 0)


def test_a_task_without_rows_says_nothing() -> None:
    task = profile._make_task(["x"], [False], False, False, 1)
    assert list(task(iter([]))) == []


def test_a_bottom_k_sample_takes_all_of_a_unit() -> None:
    limit, keep = edge_sample.bottom(np.array([9, 5, 7, 5, 1, 5], np.uint64), 3)
    assert limit == 5
    assert keep.tolist() == [False, True, False, True, True, True]
    assert edge_sample.bottom(np.array([9, 5], np.uint64), 3)[0] == edge_sample.EVERYTHING
    assert edge_sample.bottom(np.array([9, 5], np.uint64), 2)[0] == 9


def test_the_sample_is_the_rows_of_the_smallest_hashes() -> None:
    rows = table()
    key = sampling.stream_key(1, sampling.EDGES, 0)
    task = profile._Task(["x", "town"], [False, True], False, False, key, 100)
    for batch in rows.to_batches(max_chunksize=50):
        task.add(batch)
    task.sample.shrink()
    hashes, _, numbers = task.sample.rows(1)
    drawn = np.empty(ROWS, np.uint64)
    sampling._mix(key, rows.column("unit").to_numpy().view(np.uint64), drawn)
    wanted = drawn <= np.sort(drawn)[99]
    assert sorted(hashes.tolist()) == sorted(drawn[wanted].tolist())
    assert task.sample.limit == np.sort(drawn)[99]
    np.testing.assert_array_equal(np.sort(numbers[:, 0]), np.sort(rows.column("f0").to_numpy()[wanted]))


def test_tasks_that_send_less_cut_the_same_bins_or_say_that_they_can_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge_sample, "SAMPLE_ROWS", 200)
    rows = table()
    parts = [rows.slice(first, 100) for first in range(0, ROWS, 100)]
    whole = run([rows], True)
    again = run(parts, True, [60] * 10)
    assert again["cuts"] == whole["cuts"]
    assert run(parts, True, [200] * 9 + [5])["cuts"] is None


def test_later_tasks_send_fewer_rows() -> None:
    sent = [edge_sample.quota(partition) for partition in range(5000)]
    assert sent[:3] == [edge_sample.SAMPLE_ROWS] * 3
    assert sent == sorted(sent, reverse=True)
    tasks = np.arange(1, 5001)
    assert all(
        sent[n - 1] > edge_sample.SAMPLE_ROWS / n + 5 * np.sqrt(edge_sample.SAMPLE_ROWS / n)
        for n in tasks[3:]
    )
    assert sum(sent) < 40 * edge_sample.SAMPLE_ROWS
    assert edge_sample.quota(None) == edge_sample.SAMPLE_ROWS


def test_features_go_in_blocks() -> None:
    for n in (0, 1, 8, 9, 500):
        parts = edge_sample.blocks(n)
        assert [i for part in parts for i in range(n)[part]] == list(range(n))
        assert len(parts) == max(1, -(-n // edge_sample.BLOCK_FEATURES))


def test_exact_sums_do_not_depend_on_the_order() -> None:
    values = np.array([1e16, 1.0, -1e16, 3.0, 1e-300, 5e-324, 0.0, -7.25])
    total = profile.exact_sum(values)
    assert (
        total
        == profile.exact_sum(values[::-1])
        == profile.exact_sum(values[:3]) + profile.exact_sum(values[3:])
    )
    assert float(total) == math.fsum(values)


def test_an_id_is_not_counted_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "LEVEL_LIMIT", 2)
    tally = Tally.from_json(run([table()], False)["tally"])
    assert tally.overflowing == {"town": 1}
    assert tally.levels["town"].total() < ROWS
