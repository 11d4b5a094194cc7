"""Whatever dies while a list is scored, each recipient ends up with one row: nothing is lost or doubled.

The table of the last commit is read without Spark: its log says which files count.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cluster.clusters import (
    Driver,
    connect_server,
    free_port,
    kill_busy_executor,
    run_driver,
    standalone,
    started_driver,
    watched,
)
from tests.cluster.kinds import CLUSTER_CONF
from tests.e2e.small import all_rows, good_rows, write_parquet

N = 24_000
FILES = 6
PART = 2_000  # a dozen tasks a step

LOCAL = {"master": "local[2]", "conf": CLUSTER_CONF, "part": PART}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small experiment with a model."""
    made = tmp_path_factory.mktemp("faults")
    write_parquet(all_rows(), made / "rows.parquet")
    run_driver("score_list", str(made), {"master": "local[2]", "conf": CLUSTER_CONF})
    return made


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with standalone(executors=2, cores=1) as url:
        yield url


def make_list(folder: Path, name: str, n: int = N) -> Path:
    """Recipients in several files: the first hundred twice, the last two without an id."""
    path = folder / name
    path.mkdir()
    rows = good_rows(n, seed=31).drop(columns=["arm", "spend"]).astype({"customer": "Int64"})
    rows = pd.concat(
        [rows, rows.head(100), rows.tail(2).assign(customer=pd.array([pd.NA] * 2, "Int64"))],
        ignore_index=True,
    )
    for i, part in enumerate(np.array_split(np.arange(len(rows)), FILES)):
        write_parquet(rows.iloc[part], path / f"part-{i}.parquet")
    return path


def log(warehouse: Path) -> list[Path]:
    return sorted((warehouse / "uplift_scores" / "_delta_log").glob("*.json"))


def live_files(warehouse: Path) -> dict[str, dict[str, Any]]:
    """Files of the table as of its last commit."""
    files: dict[str, dict[str, Any]] = {}
    for commit in log(warehouse):
        for line in commit.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                files[unquote(action["add"]["path"])] = action["add"]
            if "remove" in action:
                files.pop(unquote(action["remove"]["path"]), None)
    return files


def scores(warehouse: Path, path: Path) -> pd.DataFrame:
    tables = [pq.read_table(warehouse / "uplift_scores" / name) for name in live_files(warehouse)]
    found = pa.concat_tables(tables).to_pandas()
    mine = found[found["list_id"].str.startswith(f"{path}@")]
    return mine.sort_values("rank").drop(columns="scored_at").reset_index(drop=True)


def require_whole(found: pd.DataFrame, n: int = N) -> None:
    """One row a recipient, one list, ranks without gaps."""
    assert found["list_id"].nunique() == 1
    assert sorted(map(int, found["unit_id"])) == list(range(1, n + 1))
    assert found["rank"].tolist() == list(range(1, n + 1))
    assert found["best_uplift"].is_monotonic_decreasing


def require_counts(job: dict[str, Any], n: int = N) -> None:
    assert "error" not in job, job
    assert (job["status"], job["rows_in"], job["rows_out"], job["rows_quarantined"]) == (
        "succeeded",
        n + 102,
        n,
        102,
    )


def without_list(found: pd.DataFrame) -> pd.DataFrame:
    return found.drop(columns="list_id")


@pytest.fixture(scope="module")
def expected(folder: Path) -> pd.DataFrame:
    """The scores when nothing goes wrong."""
    path = make_list(folder, "undisturbed")
    require_counts(run_driver("score_list", str(folder), {**LOCAL, "path": str(path)}))
    found = scores(folder / "warehouse", path)
    require_whole(found)
    return without_list(found)


def test_an_executor_killed_while_it_scores(folder: Path, cluster: str, expected, tmp_path: Path) -> None:
    path, ui = make_list(folder, "scoring"), free_port()
    asked = {
        "master": cluster,
        "conf": {**CLUSTER_CONF, **watched(ui, tmp_path)},
        "part": PART,
        "path": str(path),
    }
    with started_driver("score_list", str(folder), asked) as driver:
        driver.wait_for("SCORING")
        kill_busy_executor(cluster, ui)
        require_counts(driver.result())
    pd.testing.assert_frame_equal(without_list(scores(folder / "warehouse", path)), expected)


def data_files(warehouse: Path) -> set[str]:
    return {file.name for file in (warehouse / "uplift_scores").glob("*.parquet")}


def wait_for_files(driver: Driver, warehouse: Path, before: set[str], rows: int = 1) -> None:
    """Wait until so many rows are in new data files of the table."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert driver.process.poll() is None, driver.stderr[-3000:]
        done = 0
        for name in data_files(warehouse) - before:
            try:
                done += pq.ParquetFile(warehouse / "uplift_scores" / name).metadata.num_rows
            except Exception:  # not written to its end
                continue
        if done >= rows:
            return
        time.sleep(0.005)
    raise TimeoutError(f"No {rows} rows in new data files.")


def test_an_executor_killed_while_it_writes(folder: Path, cluster: str, expected, tmp_path: Path) -> None:
    path, ui, warehouse = make_list(folder, "writing"), free_port(), folder / "warehouse"
    asked = {
        "master": cluster,
        "conf": {**CLUSTER_CONF, **watched(ui, tmp_path)},
        "part": PART,
        "path": str(path),
    }
    before = data_files(warehouse)
    with started_driver("score_list", str(folder), asked) as driver:
        driver.wait_for("WRITING")
        wait_for_files(driver, warehouse, before)
        kill_busy_executor(cluster, ui)
        require_counts(driver.result())
    pd.testing.assert_frame_equal(without_list(scores(warehouse, path)), expected)


def test_a_driver_killed_between_the_data_and_the_commit(folder: Path, expected) -> None:
    path, warehouse = make_list(folder, "uncommitted"), folder / "warehouse"
    asked = {**LOCAL, "path": str(path)}
    before, commits = data_files(warehouse), log(warehouse)
    with started_driver("score_list", str(folder), asked) as driver:
        driver.wait_for("WRITING")
        wait_for_files(driver, warehouse, before, rows=N)
        os.killpg(driver.process.pid, signal.SIGSTOP)
        assert log(warehouse) == commits, "all rows are in files, and the commit was quicker than this test"
        driver.kill()
    assert data_files(warehouse) - before  # what it left
    assert scores(warehouse, path).empty
    require_counts(run_driver("score_list", str(folder), asked))
    pd.testing.assert_frame_equal(without_list(scores(warehouse, path)), expected)


def test_a_driver_killed_while_it_scores_a_list_again(folder: Path, expected) -> None:
    """The scores of the first job stay until those of the next are committed."""
    path, warehouse = make_list(folder, "again"), folder / "warehouse"
    asked = {**LOCAL, "path": str(path)}
    require_counts(run_driver("score_list", str(folder), asked))
    before = data_files(warehouse)
    with started_driver("score_list", str(folder), asked) as driver:
        driver.wait_for("WRITING")
        wait_for_files(driver, warehouse, before)
        driver.kill()
    pd.testing.assert_frame_equal(without_list(scores(warehouse, path)), expected)
    require_counts(run_driver("score_list", str(folder), asked))
    pd.testing.assert_frame_equal(without_list(scores(warehouse, path)), expected)


def test_two_jobs_score_the_same_list_at_once(folder: Path, expected) -> None:
    path, warehouse = make_list(folder, "together"), folder / "warehouse"
    asked = {**LOCAL, "master": "local[1]", "path": str(path)}
    with started_driver("score_list", str(folder), asked) as one, started_driver(
        "score_list", str(folder), asked
    ) as two:  # fmt: skip
        found = [one.result(), two.result()]
    assert any("error" not in job for job in found), found
    for job in found:
        if "error" in job:
            assert "Another job wrote too. Hint: run the job again." in job["error"]
        else:
            require_counts(job)
    pd.testing.assert_frame_equal(without_list(scores(warehouse, path)), expected)


@pytest.mark.parametrize("step", ["scoring", "ranking"])
def test_a_python_worker_that_dies(folder: Path, expected, step: str) -> None:
    """As when the system kills it for its memory; each task's first attempt, so every task runs twice."""
    path = make_list(folder, f"worker-{step}")
    asked = {**LOCAL, "master": "local[2,4]", "path": str(path), "crash": step}
    require_counts(run_driver("score_list", str(folder), asked))
    pd.testing.assert_frame_equal(without_list(scores(folder / "warehouse", path)), expected)


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[Path]:
    """Mount a file system of a few MB; the test is skipped where that is not allowed."""
    at.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"a small disk can't be mounted: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=False)


def test_a_full_disk(folder: Path, expected, tmp_path: Path) -> None:
    path = make_list(folder, "no room")
    with small_disk(tmp_path / "disk", "8m") as disk:
        asked = {**LOCAL, "path": str(path), "warehouse": str(disk / "warehouse")}
        run_driver("score_list", str(folder), {k: v for k, v in asked.items() if k != "path"})
        free = os.statvfs(disk)
        filler = disk / "filler"
        filler.write_bytes(b"\0" * (free.f_bavail * free.f_frsize - 200 * 1024))
        found = run_driver("score_list", str(folder), asked)
        assert "No space left on device" in found["error"]
        assert "Hint: free space, then run the job again" in found["error"]
        assert not live_files(disk / "warehouse")
        filler.unlink()
        require_counts(run_driver("score_list", str(folder), asked))
        pd.testing.assert_frame_equal(
            without_list(scores(disk / "warehouse", path)).drop(columns="model_id"),
            expected.drop(columns="model_id"),
        )


def test_a_list_scored_through_spark_connect(folder: Path, expected) -> None:
    path = make_list(folder, "connect")
    with connect_server(conf={"spark.driver.memory": "1g"}) as url:
        asked = {"part": PART, "path": str(path)}
        require_counts(run_driver("score_list", str(folder), asked, env={"SPARK_REMOTE": url}))
    pd.testing.assert_frame_equal(without_list(scores(folder / "warehouse", path)), expected)
