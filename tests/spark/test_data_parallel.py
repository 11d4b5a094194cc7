"""Level by level over blocks that fit no worker: the very forest of ``tree_parallel``, whatever the limits."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from spark_uplift.errors import ConfigError, DataError
from spark_uplift.spark import blocks, data_parallel, plan, tree_parallel
from spark_uplift.spark import dataset as packing
from spark_uplift.spark.checkpoint import Checkpoint
from tests.spark.forests import digest, forest, to_spark
from tests.spark.test_forest import KINDS

COUNT_ONLY = plan.Limits(slots=2, tasks=3, small_rows=0)
TIGHT = plan.Limits(slots=2, tasks=3, group_bytes=30_000, group_nodes=7, reduce_bytes=6_000, small_rows=0)
EAGER = plan.Limits(slots=2, tasks=4, small_rows=500)


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch) -> Callable[[plan.Limits], None]:
    """Return a function that sets the limits of the passes."""

    def set_limits(limits: plan.Limits) -> None:
        monkeypatch.setattr(plan.Limits, "of", classmethod(lambda cls, slots, size: limits))

    return set_limits


@pytest.fixture(scope="module")
def few_blocks(units):
    return units.repartition(3)


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "BLOCK_ROWS", 300)


@pytest.mark.parametrize("kind", KINDS)
def test_both_strategies_grow_the_same_forest(units, few_blocks, within, kind):
    within(COUNT_ONLY)
    expected = digest(units, **KINDS[kind], strategy="tree_parallel")
    assert digest(few_blocks, **KINDS[kind], strategy="data_parallel") == expected


@pytest.mark.parametrize("limits", [TIGHT, EAGER, plan.Limits.of(2)], ids=["tight", "eager", "as it comes"])
@pytest.mark.parametrize("honest", [False, True])
def test_limits_change_nothing(units, few_blocks, within, limits, honest):
    settings = {"treatmentCol": "arms", "honest": honest, "maxDepth": 6, "minInstancesPerNode": 20}
    within(limits)
    expected = digest(units, **settings, strategy="tree_parallel")
    assert digest(few_blocks, **settings, strategy="data_parallel") == expected


@pytest.mark.parametrize("partitions", [1, 3, 16])
def test_any_number_of_partitions(spark, rows, model, within, partitions):
    within(COUNT_ONLY)
    shuffled = to_spark(spark, rows.sample(frac=1.0, random_state=partitions), partitions)
    assert digest(shuffled, treatmentCol="arms", strategy="data_parallel") == model.digest


def test_it_grows_where_packed_rows_can_not_be_kept(monkeypatch, few_blocks, model, within, caplog):
    def refuse(df):
        raise RuntimeError("not supported on serverless compute")

    monkeypatch.setattr(type(few_blocks), "persist", refuse)
    within(COUNT_ONLY)
    assert digest(few_blocks, treatmentCol="arms", strategy="data_parallel") == model.digest
    assert "packed again for each pass: not supported on serverless compute" in caplog.text


def test_a_wide_table_goes_in_feature_blocks(spark, within):
    """500 features, three arms, each node's histogram in several buckets."""
    rng = np.random.default_rng(2)
    n = 900
    x = rng.normal(size=(n, 500)).round(2)
    arm = rng.integers(0, 3, n)
    data = pd.DataFrame(x, columns=[f"x{i}" for i in range(500)])
    data["id"], data["arm"] = np.arange(n), np.array(["none", "a", "b"], dtype=object)[arm]
    data["y"] = np.round(rng.normal(size=n) + (x[:, 317] > 0) * (arm == 1), 3)
    df = to_spark(spark, data)
    settings: dict[str, Any] = {
        "featureCols": [f"x{i}" for i in range(500)], "treatmentCol": "arm", "labelCol": "y", "maxDepth": 2,
        "featureSubsetStrategy": "all", "numTrees": 2,
    }  # fmt: skip
    within(replace(TIGHT, group_bytes=10 * 2**20, reduce_bytes=90_000))
    trained = forest(**settings, strategy="data_parallel").fit(df)
    assert trained.digest == digest(df, **settings, strategy="tree_parallel")
    assert "x317" in {trained.forest.features[tree.feature[0]].name for tree in trained.forest.trees}


@pytest.mark.parametrize("reduce_bytes", [3_000, 64 * 2**20], ids=["many buckets", "few buckets"])
def test_siblings_that_are_not_counted(units, few_blocks, within, reduce_bytes, monkeypatch):
    """All features at every node: the larger sibling is the parent minus the smaller, where Spark keeps parents."""
    settings = {
        "treatmentCol": "arms",
        "featureSubsetStrategy": "all",
        "maxDepth": 5,
        "minInstancesPerNode": 20,
    }
    expected = digest(units, **settings, strategy="tree_parallel")
    counted: list[int] = []
    lay_out = data_parallel.counting.lay_out

    def noted(trees: Any, nodes: Any, *parts: Any) -> Any:
        counted.append(len(nodes))
        return lay_out(trees, nodes, *parts)

    monkeypatch.setattr(data_parallel.counting, "lay_out", noted)
    totals = []
    for on in (False, True):
        within(replace(COUNT_ONLY, reduce_bytes=reduce_bytes, siblings=on))
        assert digest(few_blocks, **settings, strategy="data_parallel") == expected
        totals.append(sum(counted))
        counted.clear()
    assert totals[1] < 0.7 * totals[0]


def test_bounds_can_be_set(few_blocks, model, monkeypatch):
    used: list[plan.Limits] = []
    grow = data_parallel.grow
    monkeypatch.setattr(data_parallel, "grow", lambda *a: (used.append(a[3]), grow(*a))[1])
    bounded = forest(treatmentCol="arms", strategy="data_parallel").setLimits(
        tasks=3, small_rows=0, siblings=False
    )
    assert bounded.copy().fit(few_blocks).digest == model.digest
    assert used == [replace(plan.Limits.of(2), tasks=3, small_rows=0, siblings=False)]
    faults = r"(?s)'name' .* one of \['slots', 'tasks'.*'rows'.*'tasks' .* an int of 1 or more. Got 0 instead"
    with pytest.raises(ConfigError, match=faults):
        forest().setLimits(rows=1, tasks=0)


def test_progress_goes_up_to_the_whole_forest(few_blocks, within):
    within(EAGER)
    heard: list[tuple[int, int]] = []
    listening = forest(strategy="data_parallel").onProgress(
        lambda done, total, seconds: heard.append((done, total))
    )
    listening.fit(few_blocks)
    assert heard == sorted(heard)
    assert {total for _, total in heard} == {4}
    assert heard[-1][0] <= 4


def test_the_choice_is_logged_with_its_reason(few_blocks, caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="spark_uplift")
    digest(few_blocks)
    assert "strategy tree_parallel (0.0 MiB of packed rows, within the 256 MiB" in caplog.text
    caplog.clear()
    monkeypatch.setattr(plan, "BROADCAST_BYTES", 1000)
    grown = digest(few_blocks)
    assert "strategy data_parallel (0.0 MiB of packed rows, more than the 0 MiB" in caplog.text
    caplog.clear()
    assert digest(few_blocks, strategy="tree_parallel") == grown
    assert "strategy tree_parallel (as set; 0.0 MiB of packed rows; more than the 0 MiB" in caplog.text


# --- resuming


class KilledError(Exception):
    """What a killed driver is to a test."""


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that has training die after that many kept passes; 0: with the blocks written."""
    save = Checkpoint.save

    def set_steps(steps: int) -> None:
        def dying(self: Checkpoint, step: int, state: dict[str, Any]) -> None:
            save(self, step, state)
            if step == steps:
                raise KilledError("while training")

        monkeypatch.setattr(Checkpoint, "save", dying)

    return set_steps


def states(path: Path) -> list[int]:
    """Return the steps kept for the only forest under a path."""
    import pyarrow.parquet as pq

    (root,) = path.iterdir()
    return sorted(step for step in pq.read_table(root / "state").column("step").to_pylist())


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_training_goes_on_where_it_was_killed(
    few_blocks, model, within, killed_after, monkeypatch, tmp_path, steps
):
    within(COUNT_ONLY)
    settings = {"treatmentCol": "arms", "strategy": "data_parallel", "checkpointPath": str(tmp_path)}
    with monkeypatch.context():
        killed_after(steps)
        with pytest.raises(KilledError, match="while training"):
            digest(few_blocks, **settings)
    monkeypatch.undo()
    assert states(tmp_path) == list(range(steps + 1))
    monkeypatch.setattr(plan.Limits, "of", classmethod(lambda cls, slots, size: COUNT_ONLY))
    counted: list[int] = []
    count = data_parallel._count
    monkeypatch.setattr(data_parallel, "_count", lambda *a: (counted.append(1), count(*a))[1])
    packed: list[int] = []
    write = Checkpoint.write_blocks
    monkeypatch.setattr(Checkpoint, "write_blocks", lambda *a: (packed.append(1), write(*a))[1])
    assert digest(few_blocks, **settings) == model.digest
    assert packed == []
    assert len(counted) == 4 - steps
    assert states(tmp_path) == [0, 1, 2, 3, 4]


def test_waves_of_whole_trees_are_kept_too(few_blocks, model, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="spark_uplift")
    monkeypatch.setattr(tree_parallel, "_WAVE_SECONDS", 1e-9)
    settings = {"treatmentCol": "arms", "strategy": "tree_parallel", "checkpointPath": str(tmp_path)}
    with monkeypatch.context() as patch:
        save = Checkpoint.save

        def dying(self: Checkpoint, step: int, state: dict[str, Any]) -> None:
            save(self, step, state)
            raise KilledError("while training")

        patch.setattr(Checkpoint, "save", dying)
        with pytest.raises(KilledError, match="while training"):
            digest(few_blocks, **settings)
    assert states(tmp_path) == [1]
    assert digest(few_blocks, **settings) == model.digest
    assert states(tmp_path) == [1, 2]
    assert "resuming with 2 trees" in caplog.text


def test_a_finished_training_is_not_done_again(few_blocks, within, monkeypatch, tmp_path):
    within(COUNT_ONLY)
    settings = {"strategy": "data_parallel", "checkpointPath": str(tmp_path), "honest": True, "maxDepth": 2}
    first = digest(few_blocks, **settings)
    assert digest(few_blocks, **settings) == first == digest(few_blocks, honest=True, maxDepth=2)


def test_other_settings_or_rows_have_a_checkpoint_of_their_own(few_blocks, within, tmp_path):
    within(COUNT_ONLY)
    settings = {"strategy": "data_parallel", "checkpointPath": str(tmp_path), "maxDepth": 1}
    first = digest(few_blocks, **settings)
    other = few_blocks.withColumn(
        "visit", F.when(F.col("id") == 1000, 1 - F.col("visit")).otherwise(F.col("visit"))
    )
    again = {digest(few_blocks, **{**settings, "seed": 4}), digest(other, **settings)}
    assert len({first, *again}) == 3
    assert len(list(tmp_path.iterdir())) == 3
    digest(few_blocks, **settings, numTrees=4)
    assert len(list(tmp_path.iterdir())) == 3


def test_damaged_states_and_blocks_are_not_used(
    few_blocks, model, within, killed_after, monkeypatch, tmp_path, caplog
):
    import pyarrow as pa
    import pyarrow.parquet as pq

    within(COUNT_ONLY)
    settings = {"treatmentCol": "arms", "strategy": "data_parallel", "checkpointPath": str(tmp_path)}
    killed_after(2)
    with pytest.raises(KilledError, match="while training"):
        digest(few_blocks, **settings)
    monkeypatch.undo()
    monkeypatch.setattr(plan.Limits, "of", classmethod(lambda cls, slots, size: COUNT_ONLY))
    (root,) = tmp_path.iterdir()
    for part in (root / "state").glob("*.parquet"):
        table = pq.read_table(part)
        if table.column("step").to_pylist() == [2]:
            broken = pa.array([table.column("state")[0].as_py()[:-7]], pa.binary())
            pq.write_table(table.set_column(2, "state", broken), part)
            _forget_checksum(part)
    part = next(iter((root / "blocks").glob("*.parquet")))
    table = pq.read_table(part)
    words = [bytes(len(value)) for value in table.column("words").to_pylist()]
    pq.write_table(table.set_column(1, "words", pa.array(words, pa.binary())), part)
    _forget_checksum(part)
    caplog.set_level(logging.INFO, logger="spark_uplift")
    assert digest(few_blocks, **settings) == model.digest
    assert "the state of step 2" in caplog.text
    assert "are not whole and are packed again" in caplog.text
    assert "resuming after pass 1" in caplog.text


def _forget_checksum(part: Path) -> None:
    """Remove the checksum file of Hadoop's local file system, which would tell of the damage first."""
    part.with_name(f".{part.name}.crc").unlink(missing_ok=True)


def test_rows_that_change_between_the_passes_are_told(spark, rows, within, tmp_path):
    within(COUNT_ONLY)
    path = str(tmp_path / "rows")
    to_spark(spark, rows).write.parquet(path)
    read = spark.read.parquet(path)
    tell = blocks._facts

    def grown_meanwhile(*args: Any, **kwargs: Any) -> Any:
        return replace(tell(*args, **kwargs), rows=1 + len(rows))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_facts", grown_meanwhile)
        with pytest.raises(DataError, match="2000 were counted first, but 2001 were packed"):
            digest(read, strategy="data_parallel")


def test_a_path_that_can_not_be_written_is_told(few_blocks, tmp_path):
    taken = tmp_path / "file"
    taken.write_text(json.dumps({}))
    with pytest.raises(Exception, match=str(taken)):
        digest(few_blocks, strategy="data_parallel", checkpointPath=str(taken / "below"))
