"""The promise on a real cluster: one forest, whatever happens to the machines that grow it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.clusters import (
    events,
    executor_host,
    executor_pids,
    free_port,
    kill_busy_executor,
    run_driver,
    standalone,
    started_driver,
    watched,
)
from tests.cluster.kinds import CLUSTER_CONF, KINDS, STRATEGIES, fit

# What each kind is divided into: partitions, and the seed of the rows' order (0: as they come).
DIVISIONS = {1: {"binary": (1, 0), "continuous, weighted, three arms": (16, 7)}}
DIVISIONS[2] = {
    "binary": (16, 3),
    "continuous, weighted, three arms": (3, 5),
    "honest little bags of clusters": (3, 2),
    "by content": (16, 4),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with standalone(executors=2, cores=1) as url:
        yield url


@pytest.fixture(scope="module")
def asked(cluster: str) -> dict[str, Any]:
    return {"master": cluster, "conf": CLUSTER_CONF}


@pytest.fixture(scope="module", params=DIVISIONS, ids=lambda n: f"{n} executors")
def divided(request: pytest.FixtureRequest, asked: dict[str, Any]) -> tuple[int, dict[str, str]]:
    """All fits of one application, by ``kind/strategy``."""
    fits = {
        f"{kind}/{strategy}": fit(kind, strategy, *division)
        for kind, division in DIVISIONS[request.param].items()
        for strategy in STRATEGIES
    }
    conf = {**CLUSTER_CONF, "spark.cores.max": str(request.param)}
    return request.param, run_driver("fit_digest", {**asked, "conf": conf, "fits": fits})["digests"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_partitions_rows_and_executors_change_nothing(divided, reference, strategy: str) -> None:
    executors, digests = divided
    kinds = DIVISIONS[executors]
    assert {k: digests[f"{k}/{strategy}"] for k in kinds} == {k: reference[k] for k in kinds}


def test_the_kinds_are_different_forests(reference) -> None:
    assert len(set(reference.values())) == len(KINDS) + 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_executor_killed_while_trees_grow(
    cluster, asked, reference, tmp_path: Path, strategy: str
) -> None:
    ui = free_port()
    conf = {**CLUSTER_CONF, **watched(ui, tmp_path)}
    told = {**asked, "conf": conf, "fits": {"large": fit("large", strategy, partitions=4)}}
    with started_driver("fit_digest", told) as driver:
        driver.wait_for("GROWING large")
        before = {pid: executor_host(pid) for pid in executor_pids(cluster)}
        killed = kill_busy_executor(cluster, ui)
        assert driver.process.poll() is None
        assert driver.result()["digest"] == reference["large"]
    assert len(before) == 2
    # Spark's own record: the executor on that host was lost, and at least one task with it.
    lost = [
        event for event in events(tmp_path, "SparkListenerTaskEnd") if _reason(event) == "ExecutorLostFailure"
    ]
    assert before[killed] in {event["Task Info"]["Host"] for event in lost}


def test_speculative_copies_of_tasks(asked, reference, tmp_path: Path) -> None:
    speculation = {
        "spark.speculation": "true",
        "spark.speculation.interval": "5ms",
        "spark.speculation.quantile": "0.01",
        "spark.speculation.multiplier": "0.01",
        "spark.speculation.minTaskRuntime": "0ms",
        "spark.speculation.efficiency.enabled": "false",
    }
    conf = {**CLUSTER_CONF, **watched(free_port(), tmp_path), **speculation}
    fits = {strategy: fit("large", strategy, partitions=5) for strategy in STRATEGIES}
    digests = run_driver("fit_digest", {**asked, "conf": conf, "fits": fits})["digests"]
    assert digests == dict.fromkeys(STRATEGIES, reference["large"])
    copies = [
        event for event in events(tmp_path, "SparkListenerTaskStart") if event["Task Info"]["Speculative"]
    ]
    assert copies


def _reason(event: dict[str, Any]) -> str:
    return str(event["Task End Reason"]["Reason"])
